"""PEFT folders of one architecture, and packages with slots that hold them."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

from beamgen import (
    Package,
    export,
    open_package,
)
from support.peft_folders import save_lora

#: Of the packages; an EOS that comes.
SETTINGS = {"num_beams": 4, "max_new_tokens": 10, "eos_token_id": 2}
PROMPTS = [[5, 6, 7, 8], [9], [10, 11]]

#: Of other ranks, one on some layers alone.
LORAS = {
    "a": {"r": 4, "seed": 1},
    "b": {"r": 9, "lora_alpha": 30, "use_rslora": True, "seed": 2},
    "some": {
        "r": 2,
        "target_modules": ["c_attn", "o_proj", "fc1", "wi", "EncDecAttention.v"],
        "layers_to_transform": [1],
    },
}
#: Of their weights, where scores that are not scaled would be beyond float32.
STD = {"t5": 0.1}


@pytest.fixture(scope="session")
def loras(
    once: Callable[..., Path], checkpoints: Callable[[str], Path]
) -> Callable[[str], dict[str, Path]]:
    """``loras("gpt2")``: PEFT folders by name."""

    def make(name: str) -> dict[str, Path]:
        def write(folder: Path) -> None:
            for lora, config in LORAS.items():
                save_lora(checkpoints(name), folder / lora, std=STD.get(name, 0.3), **config)

        folder = once(f"loras/{name}", write)
        return {lora: folder / lora for lora in LORAS}

    return make


@pytest.fixture(scope="session")
def slotted(
    once: Callable[..., Path],
    checkpoints: Callable[[str], Path],
    loras: Callable[[str], dict[str, Path]],
) -> Callable[..., Package]:
    """``slotted("gpt2", "contrib")``: a package with the LoRAs; treat it as read-only."""

    @cache
    def make(name: str, backend: str = "loop") -> Package:
        def write(folder: Path) -> None:
            export(
                checkpoints(name),
                folder,
                parity=False,
                backend=backend,
                settings=SETTINGS,
                lora=list(loras(name).values()),
                lora_slots=[],
            )

        return open_package(once(f"slotted/{name}-{backend}", write))

    return make
