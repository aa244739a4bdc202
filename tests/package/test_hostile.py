"""Packages made to do harm: each is refused in two lines, and nothing else is read."""

from __future__ import annotations

import copy
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import onnx
import pytest
from click.testing import CliRunner

from beamgen import BeamgenError, Generator, Package, describe, open_package, read_lora
from beamgen.cli import main

#: For each field; of those that it may hold a few are fine, and then the rest has to cope.
WRONG: list[Any] = [
    None, True, 0, -1, 2**70, 1.5, float("nan"), float("inf"), "", "x", "../x", "\ud800",
    [], [None], ["x"], [[]], {}, {"x": 1}, {"verdict": 3}, {"../x": {"sha256": "", "bytes": 0}},
]  # fmt: skip


@pytest.fixture
def package(packages: Callable[[str], Package], tmp_path: Path) -> Path:
    """A package of one's own, beside a file that is none of its business."""
    (tmp_path / "secret").write_text("nobody else's")
    return Path(shutil.copytree(packages("gpt2").folder, tmp_path / "pk"))


@pytest.fixture
def with_lora(slotted: Callable[..., Package], tmp_path: Path) -> Path:
    return Path(shutil.copytree(slotted("gpt2").folder, tmp_path / "slotted"))


def _refused(folder: Path, **options: bool) -> str:
    with pytest.raises(BeamgenError) as error:
        open_package(folder, **options)
    lines = str(error.value).splitlines()
    assert len(lines) == 2
    assert max(map(len, lines)) < 600
    return error.value.cause


def _refusal(work: Callable[[], object]) -> list[str]:
    """What is said to it, which is two lines or nothing."""
    try:
        work()
    except BeamgenError as error:
        lines = str(error).splitlines()
    else:
        return []
    assert len(lines) == 2
    return lines


def _edit(folder: Path, **changes: Any) -> None:
    path = folder / "beamgen.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def _places(values: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where something stands in a JSON value; of a list the first item."""
    if path:
        yield path
    if isinstance(values, dict):
        for name in values:
            yield from _places(values[name], (*path, name))
    elif isinstance(values, list) and values:
        yield from _places(values[0], (*path, 0))


def _with(values: Any, path: tuple[Any, ...], value: Any) -> Any:
    changed = copy.deepcopy(values)
    place = changed
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    return changed


def test_any_value_in_any_field(with_lora: Path) -> None:
    """Refused in two lines, or the package works with it, or says in two lines why not."""
    manifest = with_lora / "beamgen.json"
    values = json.loads(manifest.read_text())
    session = Generator(with_lora).session
    refused = tried = 0

    def use() -> None:
        opened = open_package(with_lora, verify=False)
        str(opened.manifest.precision)
        Generator(opened, session=session).generate([[5, 6]], max_new_tokens=1, lora="a")

    for place in _places(values):
        for wrong in WRONG:
            tried += 1
            manifest.write_text(json.dumps(_with(values, place, wrong)))
            refused += bool(_refusal(use))
    assert tried > 1000
    assert refused > tried / 2


@pytest.mark.parametrize("field", ["adapter", "source", "limits", "search", "files", "precision"])
def test_a_field_that_is_missing(field: str, package: Path) -> None:
    values = json.loads((package / "beamgen.json").read_text())
    del values[field]
    (package / "beamgen.json").write_text(json.dumps(values))
    assert _refused(package).endswith(f"beamgen.json is damaged: it has no {field}")


@pytest.mark.parametrize(
    "name",
    ["../secret", "/etc/hostname", "a/../../secret", "..", ".", "", "C:\\secret", "\\\\host\\x",
     "a\\..\\..\\secret", "a\0b", "a\nb"],
)  # fmt: skip
def test_files_elsewhere_are_not_looked_at(name: str, package: Path) -> None:
    _edit(package, files={name: {"sha256": "0" * 64, "bytes": 13}})
    for verify in (True, False):
        cause = _refused(package, verify=verify)
        assert "which is no place in the folder" in cause


def test_links_out_of_the_folder_are_not_followed(package: Path) -> None:
    (package / "config.json").unlink()
    (package / "config.json").symlink_to("../secret")
    assert "config.json is a link out of the folder" in _refused(package)
    shutil.move(package / "beamgen.json", package.parent / "elsewhere")
    (package / "adapters").symlink_to("..")
    _edit_files(package.parent / "elsewhere", "adapters/secret")
    (package / "beamgen.json").symlink_to("../elsewhere")
    assert "adapters/secret is a link out of the folder" in _refused(package)


def _edit_files(manifest: Path, name: str) -> None:
    values = json.loads(manifest.read_text())
    values["files"][name] = {"sha256": "0" * 64, "bytes": 13}
    manifest.write_text(json.dumps(values))


def test_links_within_the_folder_and_those_of_the_hub_s_cache_are_followed(
    package: Path, tmp_path: Path
) -> None:
    cached = tmp_path / "models--me--gpt2" / "snapshots" / "0123" / "onnx"
    blobs = tmp_path / "models--me--gpt2" / "blobs"
    cached.mkdir(parents=True)
    blobs.mkdir()
    for path in package.iterdir():
        shutil.copyfile(path, blobs / f"of-{path.name}")
        (cached / path.name).symlink_to(f"../../../blobs/of-{path.name}")
    assert open_package(cached).manifest == open_package(package).manifest
    (package / "..data").mkdir()
    shutil.move(package / "config.json", package / "..data" / "config.json")
    (package / "config.json").symlink_to("..data/config.json")
    open_package(package)


def test_links_that_lead_in_circles(package: Path, tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to("loop")
    assert "is not a folder" in _refused(tmp_path / "loop")
    (package / "config.json").unlink()
    (package / "config.json").symlink_to("config.json")
    assert "config.json is missing" in _refused(package)
    (package / "adapters").symlink_to("adapters")
    assert open_package(package, verify=False).loras == {}
    (package / "beamgen.json").unlink()
    (package / "beamgen.json").symlink_to("beamgen.json")
    assert "holds no beamgen.json" in _refused(package)


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        (b"[" * 10**6, "nested too deep"),
        (b'{"a":' * 10**6, "nested too deep"),
        (b'{"schema_version": 1' + b"0" * 5000 + b"}", "integer string conversion"),
        (b" " * (17 << 20), "it is larger than 16 MiB"),
        (b'{"schema_version": 1, "files": {}, "files": {}}', "'files' stands in it twice"),
        (b'{"schema_version": "\xff\xfe"}', "can't decode byte 0xff"),
        ("{}".encode("utf-16"), "can't decode byte"),
        (b"\0" * 100, "Expecting value"),
        (b'{"schema_version": 1e999}', "schema version inf"),
        (b'{"schema_version": [[]]}', "schema version [[]]"),
        (b'{"adapter": "\\ud800"}', "surrogates not allowed"),
    ],
)
def test_bombs(text: bytes, cause: str, package: Path) -> None:
    (package / "beamgen.json").write_bytes(text)
    assert cause in _refused(package)


@pytest.mark.parametrize("name", ["model.onnx", "config.json", "beamgen.json"])
@pytest.mark.parametrize("odd", ["pipe", "device", "folder", "socket"])
def test_what_is_no_regular_file_is_not_opened(odd: str, name: str, package: Path) -> None:
    """A pipe would never end, a device neither."""
    (package / name).unlink()
    if odd == "pipe":
        os.mkfifo(package / name)
    elif odd == "device":
        (package / name).symlink_to("/dev/zero")
    elif odd == "folder":
        (package / name).mkdir()
    else:
        os.mknod(package / name, 0o140600)
    expected = "holds no beamgen.json" if name == "beamgen.json" else f"{name} is no regular file"
    for verify in (True, False):
        assert expected in _refused(package, verify=verify)
    result = CliRunner().invoke(main, ["generate", "-m", str(package), "--ids", "5", "--no-verify"])
    assert (result.exit_code, "internal error" in result.stderr) == (1, False)


_AS_NOBODY = """
import os, sys
from beamgen import BeamgenError, open_package
if os.getuid() == 0:
    os.setgid(65534)
    os.setuid(65534)
for verify in (True, False):
    try:
        open_package(sys.argv[1], verify=verify)
        print("opened")
    except BeamgenError as error:
        print(error.cause)
"""


@pytest.mark.parametrize(
    ("name", "causes"),
    [
        ("model.onnx", ["model.onnx may not be read", "opened"]),
        ("beamgen.json", ["cannot read {folder}/beamgen.json: Permission denied"] * 2),
        (".", ["cannot read {folder}/beamgen.json: Permission denied"] * 2),
    ],
)
def test_files_without_permission_to_read(
    name: str, causes: list[str], packages: Callable[[str], Package]
) -> None:
    """Root may read all, so that another user has to be asked; pytest's folders are its own."""
    with tempfile.TemporaryDirectory() as home:
        Path(home).chmod(0o755)
        package = Path(shutil.copytree(packages("gpt2").folder, Path(home, "pk")))
        package.chmod(0o755)
        (package / name).chmod(0)
        command = [sys.executable, "-c", _AS_NOBODY, str(package)]
        done = subprocess.run(command, capture_output=True, text=True)
        package.chmod(0o755)
    lines = done.stdout.splitlines()
    for line, cause in zip(lines, causes, strict=True):
        assert cause.format(folder=package) in line, done.stderr


def _damaged(content: bytes) -> Iterator[bytes]:
    """A file that was cut, overwritten or never was one."""
    draw = random.Random(0)
    yield from (b"", b"\0" * 1000, draw.randbytes(1000), b"{}", content + b"\xff")
    for _ in range(6):
        yield content[: draw.randrange(len(content))]
    for _ in range(6):
        changed = bytearray(content)
        for _ in range(3):
            changed[draw.randrange(len(content))] = draw.randrange(256)
        yield bytes(changed)


def test_graphs_that_are_damaged(package: Path) -> None:
    """Told by the package; and by who reads them as they are, unless a mere weight changed."""
    path = package / "model.onnx"
    for content in _damaged(path.read_bytes()):
        path.write_bytes(content)
        assert "model.onnx" in _refused(package)
        _refusal(lambda: Generator(package, verify=False))
        _refusal(lambda: describe(package, providers=False))


def test_loras_that_are_damaged(with_lora: Path) -> None:
    path = open_package(with_lora).loras["a"]
    for content in _damaged(path.read_bytes()):
        path.write_bytes(content)
        assert "a.onnx_adapter" in _refused(with_lora)
        _refusal(lambda: read_lora(path))


def test_a_lora_that_is_a_pipe(with_lora: Path) -> None:
    path = open_package(with_lora).loras["a"]
    path.unlink()
    os.mkfifo(path)
    assert "a.onnx_adapter is no regular file" in _refused(with_lora, verify=False)
    (with_lora / "adapters" / "unlisted.onnx_adapter").symlink_to("a.onnx_adapter")
    with pytest.raises(BeamgenError):
        read_lora(with_lora / "adapters" / "unlisted.onnx_adapter")


@pytest.mark.slow
def test_metadata_that_lies(packages: Callable[[str], Package], tmp_path: Path) -> None:
    """What a graph carries of its origin is read without its folder."""
    whole = onnx.load(packages("gpt2").model)
    (text,) = [each.value for each in whole.metadata_props if each.key == "beamgen.manifest"]
    values = json.loads(text)
    nothing = onnx.helper.make_graph([], "nothing", [], [])
    path = tmp_path / "model.onnx"
    for place in _places(values):
        for wrong in WRONG:
            model = onnx.helper.make_model(nothing)
            lie = json.dumps(_with(values, place, wrong))
            onnx.helper.set_model_props(model, {"beamgen.manifest": lie})
            onnx.save(model, path)
            result = CliRunner().invoke(main, ["inspect", "-m", str(path), "--no-load"])
            assert "internal error" not in result.stderr, (place, wrong)
            assert result.exit_code in (0, 1)
