"""LoRAs are converted into a package and removed from it."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from support.lora_packages import PROMPTS

from beamgen import (
    BeamgenError,
    Generator,
    Package,
    convert_lora,
    open_package,
    remove_lora,
)


def test_conversion_replaces_only_when_told_and_removal_leaves_no_trace(
    slotted: Callable[..., Package], loras: Callable[[str], dict[str, Path]], tmp_path: Path
) -> None:
    package = open_package(shutil.copytree(slotted("gpt2").folder, tmp_path / "p"))
    with pytest.raises(BeamgenError, match=r"has a LoRA called 'a'\npass --force"):
        convert_lora(package, loras("gpt2")["a"], parity=False)
    before = package.loras["a"].read_bytes()
    done = convert_lora(package, loras("gpt2")["b"], name="a", force=True, parity=False)
    assert done.package.loras["a"].read_bytes() != before
    again = open_package(package.folder)  # its hashes are right
    assert again.manifest.loras["a"]["source"] == str(loras("gpt2")["b"])
    assert Generator(again).generate(PROMPTS, lora="a") == Generator(again).generate(
        PROMPTS, lora="b"
    )
    left = remove_lora(again, "a")
    assert list(open_package(left.folder).loras) == ["b", "some"]
    with pytest.raises(BeamgenError, match=r"no LoRA called 'a'"):
        remove_lora(left, "a")
    with pytest.raises(BeamgenError, match=r"'a/b' cannot name a LoRA"):
        convert_lora(left, loras("gpt2")["a"], name="a/b")


def test_a_failed_conversion_is_undone(
    slotted: Callable[..., Package],
    loras: Callable[[str], dict[str, Path]],
    tmp_path: Path,
) -> None:
    """Ctrl-C while it is compared: what was there is there again, and else nothing is."""
    package = open_package(shutil.copytree(slotted("gpt2").folder, tmp_path / "p"))
    before = {path: path.read_bytes() for path in package.folder.rglob("*") if path.is_file()}

    def interrupt(line: str) -> None:
        if line.startswith("parity"):
            raise KeyboardInterrupt

    for name, force in (("a", True), ("new", False)):
        with pytest.raises(KeyboardInterrupt):
            convert_lora(package, loras("gpt2")["b"], name=name, force=force, progress=interrupt)
        after = {path: path.read_bytes() for path in package.folder.rglob("*") if path.is_file()}
        assert after == before


def test_two_changes_from_one_opened_package_both_count(
    slotted: Callable[..., Package], loras: Callable[[str], dict[str, Path]], tmp_path: Path
) -> None:
    stale = open_package(shutil.copytree(slotted("gpt2").folder, tmp_path / "p"))
    generator = Generator(stale)
    first = generator.generate(PROMPTS, lora="a")
    remove_lora(stale, "a")
    convert_lora(stale, loras("gpt2")["b"], name="a", parity=False)
    convert_lora(stale, loras("gpt2")["a"], name="c", parity=False)
    again = open_package(stale.folder)
    assert set(again.manifest.loras) == {"a", "b", "c", "some"}
    assert generator.generate(PROMPTS, lora="a") == generator.generate(PROMPTS, lora="b") != first
    again.loras["c"].unlink()  # by hand
    assert list(open_package(remove_lora(again, "c").folder).loras) == ["a", "b", "some"]
