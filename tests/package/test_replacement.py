"""One folder takes another's place at once, and a kill at any moment loses neither."""

from __future__ import annotations

import errno
import logging
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from package.test_folders import THING, make_thing
from support import moments

from beamgen import BeamgenError, Package, open_package
from beamgen.disk import replacing, sweep_partials, write_text
from beamgen.package import exchange
from beamgen.package.folders import new_folder
from beamgen.package.workspace import put_back, workspace

WAYS = ["one-step", "two-steps"]
TESTS = Path(__file__).parents[1]


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """As on a file system that exchanges folders, and on one that cannot."""
    if request.param == "two-steps":
        _cannot_exchange(monkeypatch)
    return request.param


def _cannot_exchange(monkeypatch: pytest.MonkeyPatch, number: int = errno.EINVAL) -> None:
    def refuse(one: Path, other: Path) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(exchange, "exchange", refuse)


def _text(thing: Path) -> str:
    """Of both files, which belong together."""
    texts = {(thing / name).read_text() for name in ("which", "other")}
    assert len(texts) == 1, texts
    return texts.pop()


def _names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.usefixtures("way")
def test_the_old_one_is_replaced_and_nothing_else_is_left(tmp_path: Path) -> None:
    for text in ("first", "second", "third"):
        make_thing(tmp_path / "thing", which=text, other=text)
        assert _text(tmp_path / "thing") == text
        assert _names(tmp_path) == ["thing"]


@pytest.mark.parametrize("number", [errno.EINVAL, errno.ENOSYS, errno.EPERM, errno.ENOTSUP])
def test_systems_that_cannot_exchange(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _cannot_exchange(monkeypatch, number)
    make_thing(tmp_path / "thing", which="old", other="old")
    make_thing(tmp_path / "thing", which="new", other="new")
    assert _text(tmp_path / "thing") == "new"


def test_another_error_leaves_all_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_thing(tmp_path / "thing", which="old", other="old")
    _cannot_exchange(monkeypatch, errno.EIO)
    with pytest.raises(BeamgenError, match=r"cannot put the new folder at .*: Input/output error"):
        make_thing(tmp_path / "thing", which="new", other="new")
    assert _text(tmp_path / "thing") == "old"
    assert _names(tmp_path) == ["thing"]


def test_folders_are_exchanged_by_the_system(tmp_path: Path) -> None:
    """This is the one-step way; where it cannot be had, all of the above is two-step."""
    one, other = tmp_path / "one", tmp_path / "other"
    for folder in (one, other):
        folder.mkdir()
        (folder / "name").write_text(folder.name)
    exchange.exchange(one, other)
    assert [(folder / "name").read_text() for folder in (one, other)] == ["other", "one"]
    with pytest.raises(FileNotFoundError):
        exchange.exchange(one, tmp_path / "nothing")


def test_a_second_rename_that_fails_puts_the_old_one_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _cannot_exchange(monkeypatch)
    make_thing(tmp_path / "thing", which="old", other="old")
    rename = Path.rename

    def full(self: Path, target: Path) -> Path:
        if self.name == "new":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", full)
    with pytest.raises(BeamgenError, match="No space left"):
        make_thing(tmp_path / "thing", which="new", other="new")
    assert _text(tmp_path / "thing") == "old"
    assert _names(tmp_path) == ["thing"]


@pytest.mark.usefixtures("way")
def test_two_writers_at_once_both_end_well(tmp_path: Path) -> None:
    thing = tmp_path / "thing"
    make_thing(thing, which="old", other="old")
    with new_folder(thing, THING, force=True) as folder:
        make_thing(thing, which="faster", other="faster")
        assert _text(thing) == "faster"
        for name in ("which", "other"):
            (folder / name).write_text("slower")
        (folder / THING.mark).write_text('{"files": ["which", "other"]}')
    assert _text(thing) == "slower"
    assert _names(tmp_path) == ["thing"]


def test_a_writer_between_another_s_renames(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other moved the old one aside; when it comes with its new one, ours is there."""
    _cannot_exchange(monkeypatch)
    thing = make_thing(tmp_path / "thing", which="old", other="old")
    rename = Path.rename

    def interrupted(self: Path, target: Path) -> Path:
        moved = rename(self, target)
        if target.name == "old":
            monkeypatch.setattr(Path, "rename", rename)
            rename(make_thing(tmp_path / "faster", which="faster", other="faster"), thing)
        return moved

    monkeypatch.setattr(Path, "rename", interrupted)
    make_thing(thing, which="slower", other="slower")
    assert _text(thing) == "slower"
    assert _names(tmp_path) == ["thing"]


_READER = """
import sys
from beamgen.package.workspace import put_back
from pathlib import Path
mark, waits = Path(sys.argv[1], "thing.json"), sys.argv[2] == "two-steps"
print("ready", flush=True)
looks = missing = 0
while not Path(sys.argv[1] + ".stop").exists():
    looks += 1
    if not mark.exists():
        if waits:
            put_back(mark.parent)
        missing += not mark.exists()
print(looks, missing)
"""


def test_a_reader_finds_a_folder_at_any_time(tmp_path: Path, way: str) -> None:
    """Anybody's, where it is one step; else beamgen's, who waits for the second rename."""
    thing = make_thing(tmp_path / "thing", which="0", other="0")
    command = [sys.executable, "-c", _READER, str(thing), way]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as reader:
        assert reader.stdout is not None
        assert reader.stdout.readline() == "ready\n"
        for number in range(200):
            make_thing(thing, which=str(number), other=str(number))
        Path(f"{thing}.stop").touch()
        looks, missing = map(int, reader.stdout.read().split())
    assert missing == 0
    assert looks > 200


@pytest.mark.parametrize(
    "name", [WAYS[0], *(pytest.param(w, marks=pytest.mark.slow) for w in WAYS[1:])]
)
def test_a_kill_at_any_moment(name: str, tmp_path: Path) -> None:
    """At each change of the disk: whole before and after, and no litter after the next run."""
    script = TESTS / "support" / "moments.py"
    subprocess.run([sys.executable, str(script), str(tmp_path), name], check=True)
    killed = sorted(tmp_path.iterdir(), key=lambda path: int(path.name))
    assert len(killed) > 15
    found = []
    for folder in killed:
        put_back(folder / "thing")
        found.append(_text(folder / "thing"))
        make_thing(folder / "thing", which="next", other="next")
        assert _text(folder / "thing") == "next"
        assert _names(folder) == ["thing"]
    assert found == sorted(found, reverse=True), "old up to some moment, then new"
    assert set(found) == {"old", "new"}


def test_what_killed_runs_left_for_other_targets_goes_too(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    _left_by_a_killed_run(tmp_path / "other")
    with workspace(tmp_path / "alive") as alive:
        (tmp_path / ".mine.beamgen-12345678").mkdir()
        (tmp_path / ".mine.beamgen-12345678" / "notes.txt").write_text("somebody's own")
        with caplog.at_level(logging.WARNING, "beamgen"):
            make_thing(tmp_path / "thing")
        left = [alive.folder.name, ".mine.beamgen-12345678", "thing"]
        assert _names(tmp_path) == sorted(left)
    (line,) = caplog.messages
    assert line.startswith(f"removed {tmp_path}/.other.beamgen-")


def _left_by_a_killed_run(target: Path) -> Path:
    folder = target.with_name(f".{target.name}.beamgen-abcdefgh")
    (folder / "new").mkdir(parents=True)
    (folder / "new" / "half").write_text("half")
    (folder / "lock").touch()
    return folder


def test_a_package_comes_back_when_it_is_opened(
    packages: Callable[[str], Package], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = _left_by_a_killed_run(tmp_path / "pk")
    shutil.copytree(packages("gpt2").folder, folder / "old")
    with caplog.at_level(logging.WARNING, "beamgen"):
        opened = open_package(tmp_path / "pk")
    assert opened.manifest == packages("gpt2").manifest
    assert caplog.messages == [f"put {tmp_path}/pk back: a run that was replacing it was killed"]


def test_it_comes_back_before_it_is_said_to_be_missing(tmp_path: Path) -> None:
    """Without ``force`` the next run is told that it is there."""
    before = make_thing(tmp_path / "before", which="old", other="old")
    folder = _left_by_a_killed_run(tmp_path / "thing")
    before.rename(folder / "old")
    with (
        pytest.raises(BeamgenError, match="thing exists"),
        new_folder(tmp_path / "thing", THING, force=False),
    ):
        pass
    assert _text(tmp_path / "thing") == "old"


def test_an_old_one_beside_somebody_s_new_one_is_not_deleted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    before = make_thing(tmp_path / "before", which="old", other="old")
    folder = _left_by_a_killed_run(tmp_path / "thing")
    before.rename(folder / "old")
    (tmp_path / "thing").mkdir()
    with caplog.at_level(logging.WARNING, "beamgen"):
        make_thing(tmp_path / "thing")
    assert _text(folder / "old") == "old"
    assert caplog.messages == [f"{folder}/old holds an older {tmp_path}/thing: look, and remove it"]


@pytest.fixture
def killed_writer(tmp_path: Path) -> Iterator[Path]:
    """A file that a killed process was about to replace."""
    path = tmp_path / "file"
    write_text(path, "old")
    (tmp_path / ".file.partial").write_text("ha")
    yield path
    assert _names(tmp_path) == ["file"]


def test_the_next_writer_of_a_file_takes_what_is_left_of_the_last(killed_writer: Path) -> None:
    assert killed_writer.read_text() == "old"
    write_text(killed_writer, "new")
    assert killed_writer.read_text() == "new"


def test_a_sweep_spares_files_of_the_living(killed_writer: Path) -> None:
    folder = killed_writer.parent
    with replacing(folder / "other") as alive:
        alive.write_text("whole")
        sweep_partials(folder)
        assert _names(folder) == [".other.partial", "file"]
    assert (folder / "other").read_text() == "whole"
    (folder / "other").unlink()


def test_a_block_that_fails_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_text(path, "old")
    with pytest.raises(TypeError), replacing(path) as partial:
        partial.write_text(3)  # type: ignore[arg-type]
    assert path.read_text() == "old"
    assert _names(tmp_path) == ["file"]


_ADD = """
import json, sys
from pathlib import Path
from beamgen.disk import replacing
path = Path(sys.argv[1])
for _ in range(200):
    with replacing(path) as partial:
        partial.write_text(json.dumps(json.loads(path.read_text()) + 1))
"""


def test_who_reads_and_writes_a_file_waits_for_others(tmp_path: Path) -> None:
    path = tmp_path / "count"
    path.write_text("0")
    adding = [subprocess.Popen([sys.executable, "-c", _ADD, str(path)]) for _ in range(3)]
    assert [process.wait() for process in adding] == [0, 0, 0]
    assert path.read_text() == "600"
    assert _names(tmp_path) == ["count"]


def test_the_hook_sees_every_way_to_change_a_disk(tmp_path: Path) -> None:
    """Else a moment would be missed that a kill can hit."""
    seen: list[int] = []
    stop = moments.before_each_change(tmp_path, lambda: seen.append(1))

    def count(work: Callable[[], object]) -> int:
        seen.clear()
        work()
        return len(seen)

    a, b = tmp_path / "a", tmp_path / "b"
    assert count(a.mkdir) == 1
    assert count(lambda: (a / "file").write_text("1")) == 1
    assert count(lambda: os.truncate(a / "file", 0)) == 1
    assert count((a / "file").read_text) == 0
    assert count(b.mkdir) == 1
    assert count(lambda: exchange.exchange(a, b)) == 1
    assert count(lambda: shutil.rmtree(b)) == 2
    assert count(lambda: a.rename(b)) == 1
    assert count(b.rmdir) == 1
    stop()
    assert count(a.mkdir) == 0
