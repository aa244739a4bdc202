"""What a command may replace: its own folder, and nothing that is read or somebody else's."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from beamgen import BeamgenError, Package, export, open_package, package_as, quantize
from beamgen.package.folders import Kind, check_replaceable, holds, new_folder, note_files

THING = Kind("thing", "thing.json")


def make_thing(target: Path, **files: str) -> Path:
    """A folder of that kind, which replaces one that is there."""
    with new_folder(target, THING, force=True) as folder:
        for name, text in files.items():
            (folder / name).write_text(text)
        (folder / THING.mark).write_text("{}")
        note_files(folder, THING)
    return target


def everything(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.fixture
def package(packages: Callable[[str], Package], tmp_path: Path) -> Path:
    """A package of one's own."""
    return Path(shutil.copytree(packages("gpt2").folder, tmp_path / "pk"))


def _refused(work: Callable[[], object], folder: Path) -> str:
    """The cause, nothing having changed."""
    before = everything(folder)
    with pytest.raises(BeamgenError) as error:
        work()
    assert everything(folder) == before
    assert len(str(error.value).splitlines()) == 2
    return error.value.cause


@pytest.mark.parametrize("spelling", ["inside", "dots", "linked", "linked weights", "home"])
def test_an_export_does_not_replace_the_folder_that_holds_its_checkpoint(
    spelling: str,
    package: Path,
    checkpoints: Callable[[str], Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    inside = shutil.copytree(checkpoints("gpt2"), package / "ck")
    given = {
        "inside": inside,
        "dots": package / "ck" / ".." / ".." / "pk" / "ck",
        "linked": tmp_path / "link",
        "linked weights": tmp_path / "linked",
        "home": "~/pk/ck",
    }[spelling]
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "link").symlink_to(inside)
    (tmp_path / "linked").mkdir()
    for path in inside.iterdir():
        (tmp_path / "linked" / path.name).symlink_to(path)
    cause = _refused(lambda: export(given, package, force=True, parity=False), tmp_path)
    assert f"is read, and lies in {package}, which would be replaced" in cause


def test_nor_one_that_holds_a_lora_or_a_text(
    package: Path, checkpoints: Callable[[str], Path], tmp_path: Path
) -> None:
    def text_inside() -> object:
        return export(
            checkpoints("gpt2"), package, force=True, precision="int8",
            quality_text=package / "text.txt",
        )  # fmt: skip

    (package / "text.txt").write_text("1 2 3\n")
    assert "text.txt is read" in _refused(text_inside, tmp_path)
    (package / "text.txt").unlink()
    (package / "lora").mkdir()
    (package / "lora" / "adapter_config.json").write_text("{}")
    cause = _refused(
        lambda: export(checkpoints("gpt2"), package, force=True, lora=[package / "lora"]), tmp_path
    )
    assert "lora is read" in cause


def test_nor_a_package_that_is_quantized(package: Path, tmp_path: Path) -> None:
    opened = open_package(package)
    assert "is the package" in _refused(lambda: quantize(opened, package, force=True), tmp_path)
    (tmp_path / "link").symlink_to(package)
    cause = _refused(lambda: quantize(opened, tmp_path / "link" / ".", force=True), tmp_path)
    assert "is the package" in cause


@pytest.mark.parametrize(
    "name", ["notes.md", "adapters/by-hand.onnx_adapter", "deep/er/photo.jpg", ".env"]
)
def test_files_that_the_manifest_does_not_list_are_kept(
    name: str, package: Path, checkpoints: Callable[[str], Path], tmp_path: Path
) -> None:
    (package / name).parent.mkdir(parents=True, exist_ok=True)
    (package / name).write_text("mine")
    cause = _refused(
        lambda: export(checkpoints("gpt2"), package, force=True, parity=False), tmp_path
    )
    assert cause == f"{package} holds files that are not of the beamgen package: {name}"


def test_links_and_pipes_are_files_too(tmp_path: Path) -> None:
    thing = make_thing(tmp_path / "thing", a="1")
    (thing / "link").symlink_to(tmp_path)
    os.mkfifo(thing / "pipe")
    with pytest.raises(BeamgenError, match="not of the thing: link, pipe"):
        check_replaceable(thing, THING, force=True)


def test_many_are_counted(tmp_path: Path) -> None:
    thing = make_thing(tmp_path / "thing")
    for number in range(5):
        (thing / f"mine-{number}").touch()
    with pytest.raises(BeamgenError, match="mine-0, mine-1, mine-2 and 2 more"):
        check_replaceable(thing, THING, force=True)


def test_what_desktops_leave_is_nobody_s(tmp_path: Path) -> None:
    thing = make_thing(tmp_path / "thing", a="1")
    for name in (".DS_Store", "Thumbs.db", "desktop.ini", ".directory", "._a"):
        (thing / name).touch()
    (thing / "empty").mkdir()
    make_thing(thing, b="2")
    assert sorted(path.name for path in thing.iterdir()) == ["b", "thing.json"]


@pytest.mark.parametrize("record", ["{", "[]", "{}", '{"files": 3}', '{"a": 1, "a": 2}'])
def test_a_folder_whose_record_is_damaged_is_kept(record: str, tmp_path: Path) -> None:
    thing = make_thing(tmp_path / "thing", a="1")
    (thing / THING.mark).write_text(record)
    with pytest.raises(BeamgenError, match=r"thing.json .*, so it will not be replaced"):
        check_replaceable(thing, THING, force=True)


def test_formats_are_held_to_the_same(demos: Callable[[str], Package], tmp_path: Path) -> None:
    def write() -> object:
        return package_as(demos("gpt2"), "triton", site, force=True, batching="simple")

    site = tmp_path / "site"
    write()
    assert json.loads((site / "beamgen-triton.json").read_text())["files"] == [
        "1/model.onnx", "beamgen-triton.json", "config.pbtxt",
    ]  # fmt: skip
    write()
    (site / "2").mkdir()
    (site / "2" / "model.onnx").write_text("of somebody's")
    assert "not of the Triton model: 2/model.onnx" in _refused(write, tmp_path)


def test_the_folder_one_stands_in_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    thing = make_thing(tmp_path / "thing")
    (thing / "deep").mkdir()
    for place in (thing, thing / "deep"):
        monkeypatch.chdir(place)
        with pytest.raises(BeamgenError, match="current folder"):
            check_replaceable(thing, THING, force=True)


def test_a_path_is_within_a_folder_however_it_is_spelled(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "c").symlink_to("a")
    (tmp_path / "loop").symlink_to("loop")
    assert holds(tmp_path / "c", tmp_path / "a" / "b")
    assert holds(tmp_path / "a", tmp_path / "c" / "b" / "nothing")
    assert holds(tmp_path / "a", tmp_path / "c" / "..") is False
    assert holds(tmp_path / "a", tmp_path / "loop") is False
    assert holds(tmp_path / "nothing", tmp_path) is False
