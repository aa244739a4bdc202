"""An encoder-decoder that reads text, tiny and of random weights."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from transformers import AutoTokenizer

from beamgen import export, find_adapter
from beamgen.testing import tiny_model
from support.saved_tokenizers import save


@pytest.fixture(scope="session")
def texts(once: Callable[..., Path]) -> Path:
    """A folder with a T5 that reads text, ``t5``, and its ``package``; treat it as read-only."""

    def checkpoint(folder: Path) -> None:
        save("unigram", folder)
        config = find_adapter("t5").tiny_config()
        config.vocab_size = len(AutoTokenizer.from_pretrained(folder))
        tiny_model(config).save_pretrained(folder)

    saved = once("texts/t5", checkpoint)
    return once("texts/package", lambda to: export(saved, to, parity=False)).parent
