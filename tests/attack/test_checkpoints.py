"""Hostile files where a checkpoint or a LoRA should be: refused in two lines, nothing left."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
from support.attack import Attack
from support.hostile_checkpoints import FILES, MARK, WEIGHTS, header_of, write_header

from beamgen import Package

#: What ``make test`` runs: one of each kind. All of them come with ``make slow``.
QUICK = {
    "no bytes", "body cut by one", "header of 2**64 - 1", "header is deep", "offsets overlap",
    "offsets of 2**64", "dtype unknown", "metadata of TensorFlow", "no tensors", "flags",
    "fp8", "a scalar tensor",
    "an LFS pointer", "a pickle with code", "torch's file with code", "weights are a pipe",
    "weights link to themselves", "a shard with an absolute path", "a shard that is a number",
    "an index that is deep", "config.json: UTF-16", "config.json: a deep table",
    "config.json: a number of 100,000 digits", "config.json: methods", "config.json: a pipe",
    "generation_config.json: null", "generation_config.json: a pipe",
    "generation_config.json: a link to nothing",
}  # fmt: skip
#: Those of a weights file alone, for LoRAs.
OF_WEIGHTS = list(FILES)[: list(FILES).index("an archive") + 1]
ADAPTER = "adapter_model.safetensors"


def marked(names: Iterable[str]) -> list[Any]:
    return [n if n in QUICK else pytest.param(n, marks=pytest.mark.slow) for n in names]


@pytest.mark.parametrize("name", marked(FILES))
def test_a_hostile_checkpoint(
    name: str, attack: Attack, checkpoints: Callable[[str], Path], tmp_path: Path
) -> None:
    shutil.copytree(checkpoints("gpt2"), tmp_path / "ck")
    FILES[name](tmp_path / "ck")
    attack("files of a checkpoint", tmp_path, "export", "-m", "ck", "-o", "out", "--no-parity")
    assert not (tmp_path / MARK).exists(), "code of the checkpoint has run"


def snapshot(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.mark.parametrize("name", marked(OF_WEIGHTS))
def test_a_hostile_lora(name: str, attack: Attack, lora: Path, slots: Path, tmp_path: Path) -> None:
    """Checked and converted; a package that does not take it is as it was."""
    shutil.copytree(lora, tmp_path / "lora")
    shutil.copytree(slots, tmp_path / "package")
    file, other = tmp_path / "lora" / ADAPTER, tmp_path / "lora" / WEIGHTS
    file.rename(other)
    FILES[name](tmp_path / "lora")
    if os.path.lexists(other):
        other.rename(file)
    attack("files of a LoRA", tmp_path, "lora", "check", "lora", "-m", "package")
    before = snapshot(tmp_path / "package")
    done = attack(
        "files of a LoRA", tmp_path, "lora", "convert", "lora", "-m", "package", "--no-parity"
    )
    assert done.code == 0 or snapshot(tmp_path / "package") == before


def test_a_good_checkpoint_and_lora_pass(
    attack: Attack, checkpoints: Callable[[str], Path], lora: Path, slots: Path, tmp_path: Path
) -> None:
    """So that a refusal is one of what was changed; the header's own writer changes nothing."""
    shutil.copytree(checkpoints("gpt2"), tmp_path / "ck")
    write_header(tmp_path / "ck", *header_of(tmp_path / "ck"))
    done = attack("good ones", tmp_path, "export", "-m", "ck", "-o", "out", "--no-parity", "--json")
    assert (done.code, done.left) == (0, ["out"])
    assert json.loads(done.stdout)["adapter"] == "gpt2"
    assert attack("good ones", tmp_path, "lora", "check", lora, "-m", slots).code == 0


def test_a_pickle_runs_where_nothing_forbids_it(tmp_path: Path) -> None:
    """The mark is left by the code of these files, so that its absence says something."""
    import pickle

    (tmp_path / "ck").mkdir()
    (tmp_path / "ck" / WEIGHTS).write_bytes(b"")
    FILES["a pickle with code"](tmp_path / "ck")
    pickle.loads((tmp_path / "ck" / "pytorch_model.bin").read_bytes())
    assert (tmp_path / MARK).exists()


def test_a_command_that_hangs_or_crashes_is_seen(
    attack: Attack, packages: Callable[[str], Package], tmp_path: Path
) -> None:
    os.mkfifo(tmp_path / "prompts")
    with pytest.raises(AssertionError, match="it crashed or hung"):
        attack(
            "a hang", tmp_path, "generate", "-m", packages("gpt2").folder, "-f", "prompts",
            seconds=2,
        )  # fmt: skip
    attack.endings.pop("a hang")
