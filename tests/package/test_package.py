from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

import pytest

from beamgen import BeamgenError, Generator, Package, export, open_package, quantize, stamp_parity
from beamgen.errors import BeamgenWarning
from beamgen.export import save
from beamgen.package.folder import new_package_folder


@pytest.fixture
def package(packages: Callable[[str], Package], tmp_path: Path) -> Package:
    """A package of one's own, to be damaged."""
    return open_package(shutil.copytree(packages("gpt2").folder, tmp_path / "package"))


def _refused(folder: Path, **options) -> str:
    with pytest.raises(BeamgenError) as error:
        open_package(folder, **options)
    assert error.value.cure
    return error.value.cause


def _edit(folder: Path, **changes) -> None:
    path = folder / "beamgen.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def _listing(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def _fail_half_way(target: Path, *, force: bool) -> None:
    with new_package_folder(target, force=force) as folder:
        (folder / "model.onnx").write_bytes(b"half")
        raise RuntimeError("half way")


def test_every_file_is_in_the_manifest(package: Package) -> None:
    files = set(_listing(package.folder)) - {"beamgen.json"}
    assert set(package.manifest.files) == files == {
        "model.onnx", "config.json", "generation_config.json",
    }  # fmt: skip


def test_the_manifest_tells_where_it_came_from(package: Package) -> None:
    manifest = package.manifest
    assert (manifest.adapter, manifest.backend, manifest.dtype) == ("gpt2", "loop", "float32")
    assert [row["name"] for row in manifest.inputs][:3] == [
        "input_ids", "attention_mask", "max_new_tokens",
    ]  # fmt: skip
    assert all(row["meaning"] for row in manifest.inputs)
    assert [row["shape"] for row in manifest.outputs] == [
        ["batch", "num_return_sequences", "total_len"],
        ["batch", "num_return_sequences"],
        ["batch", "num_return_sequences"],
        ["batch", "num_return_sequences", "scored_len"],
        ["batch", "num_return_sequences", "scored_len"],
    ]
    assert manifest.versions["transformers"] == metadata.version("transformers")


def test_no_package_at_all(tmp_path: Path) -> None:
    assert "is not a folder" in _refused(tmp_path / "nothing")
    assert "holds no beamgen.json" in _refused(tmp_path)


def test_all_damage_is_listed_at_once(package: Package) -> None:
    (package.folder / "config.json").unlink()
    content = bytearray(package.model.read_bytes())
    content[-100] ^= 1
    package.model.write_bytes(content)
    with (package.folder / "generation_config.json").open("a") as stream:
        stream.write(" ")
    cause = _refused(package.folder)
    assert "config.json is missing" in cause
    assert "model.onnx was changed" in cause
    assert "generation_config.json has" in cause
    assert open_package(package.folder, verify=False).manifest == package.manifest


@pytest.mark.parametrize(
    ("schema", "cure"), [(0, "export the checkpoint again"), (2, "upgrade beamgen")]
)
def test_another_schema_version(package: Package, schema: int, cure: str) -> None:
    _edit(package.folder, schema_version=schema)
    with pytest.raises(BeamgenError) as error:
        open_package(package.folder)
    assert f"schema version {schema}; this beamgen reads 1" in error.value.cause
    assert cure in error.value.cure


@pytest.mark.parametrize("text", ["", "{", "[]", '{"schema_version": 1}', "null"])
def test_a_damaged_manifest(package: Package, text: str) -> None:
    (package.folder / "beamgen.json").write_text(text)
    assert "beamgen.json is damaged" in _refused(package.folder)


def test_a_verdict_is_stamped_without_breaking_the_hashes(package: Package) -> None:
    stamp_parity(package, {"verdict": "exact"})
    assert open_package(package.folder).manifest.parity == {"verdict": "exact"}


def test_a_failure_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="half way"):
        _fail_half_way(tmp_path / "new", force=False)
    assert _listing(tmp_path) == []


def test_a_failure_leaves_the_old_package_as_it_was(package: Package, tmp_path: Path) -> None:
    before = {path.name: path.read_bytes() for path in package.folder.iterdir()}
    with pytest.raises(RuntimeError, match="half way"):
        _fail_half_way(package.folder, force=True)
    assert {path.name: path.read_bytes() for path in package.folder.iterdir()} == before
    assert _listing(tmp_path) == ["package"]


def test_an_existing_package_is_replaced_only_when_asked(
    package: Package, checkpoints: Callable[[str], Path], tmp_path: Path
) -> None:
    with pytest.raises(BeamgenError, match="exists"):
        export(checkpoints("gpt2"), package.folder, parity=False)
    (package.folder / "adapters").mkdir()
    (package.folder / "adapters" / ".DS_Store").write_text("of a desktop")
    export(checkpoints("gpt2"), package.folder, parity=False, force=True, settings={"num_beams": 2})
    replaced = open_package(package.folder)
    assert replaced.manifest.search.num_beams == 2
    assert "adapters" not in _listing(package.folder)
    assert _listing(tmp_path) == ["package"]


def test_what_is_no_package_is_never_replaced(
    checkpoints: Callable[[str], Path], tmp_path: Path
) -> None:
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.txt").write_text("years of work")
    for force in (False, True):
        with pytest.raises(BeamgenError, match="is not a beamgen package"):
            export(checkpoints("gpt2"), tmp_path / "thesis", parity=False, force=force)
    assert _listing(tmp_path / "thesis") == ["chapter.txt"]


def test_the_current_folder_is_not_replaced(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(BeamgenError, match="current folder"):
        export(None, ".", model_class="gpt2")


def test_a_folder_that_onnxruntime_cannot_name(
    package: Package, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its own loader says so in words that lead elsewhere; the cure works."""
    odd = tmp_path / os.fsdecode(b"odd-\xff")
    shutil.copytree(package.folder, odd)
    for refused in (lambda: Generator(odd), lambda: export(output=odd / "new", parity=False)):
        with pytest.raises(BeamgenError, match=r"odd-.udcff\S* is not UTF-8") as error:
            refused()
        assert "rename it" in error.value.cure
    assert not (odd / "new").exists()
    monkeypatch.chdir(odd)
    assert Generator(Path()).generate([[5, 9]])
    monkeypatch.chdir(tmp_path)
    assert Generator(odd.rename("even")).generate([[5, 9]])


def test_an_export_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(BeamgenError, match="cannot write beside"):
        export(None, tmp_path / "file" / "package", model_class="gpt2")


# tied and untied heads
@pytest.mark.parametrize("architecture", ["gpt2", pytest.param("phi3", marks=pytest.mark.slow)])
def test_weights_in_external_data_are_those_of_the_single_file(
    architecture: str,
    checkpoints: Callable[[str], Path],
    packages: Callable[[str], Package],
    tmp_path: Path,
) -> None:
    made = export(checkpoints(architecture), tmp_path / "package", external_data=True)
    assert made.exit_code == 0
    assert set(made.package.manifest.files) >= {"model.onnx", "model.onnx.data"}
    single = packages(architecture)
    assert made.package.model.stat().st_size < single.model.stat().st_size
    found = [Generator(package).generate([[5, 6, 7, 8]])[0] for package in (made.package, single)]
    assert found[0] == found[1]


def test_large_weights_stand_apart_unless_one_file_is_asked_for(
    checkpoints: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert save.MAPPED_BYTES == 200_000_000
    monkeypatch.setattr(save, "MAPPED_BYTES", 10_000)
    source = checkpoints("gpt2")
    apart = export(source, tmp_path / "apart", parity=False).package
    assert "model.onnx.data" in apart.manifest.files
    one = export(source, tmp_path / "one", external_data=False, parity=False).package
    assert "model.onnx.data" not in one.manifest.files
    found = [Generator(package).generate([[5, 6, 7, 8]])[0] for package in (apart, one)]
    assert found[0] == found[1]


def test_one_file_that_cannot_be_is_told(
    checkpoints: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(save, "EXTERNAL_DATA_BYTES", 10_000)
    with pytest.warns(BeamgenWarning, match="one file holds at most 2 GB"):
        made = export(checkpoints("gpt2"), tmp_path / "p", external_data=False, parity=False)
    assert "model.onnx.data" in made.package.manifest.files


@pytest.mark.parametrize(
    ("bound", "asked", "apart"),
    [
        (200_000_000, None, False),
        (200_000_000, True, True),
        (10_000, None, True),
        (10_000, False, False),
    ],
)
def test_another_precision_keeps_what_was_asked_of_the_weights(
    bound: int,
    asked: bool | None,
    apart: bool,
    checkpoints: Callable[[str], Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(save, "MAPPED_BYTES", bound)
    made = export(checkpoints("gpt2"), tmp_path / "made", external_data=asked, parity=False)
    again = quantize(made.package, tmp_path / "again", precision="fp16", parity=False)
    for package in (made.package, again.package):
        assert ("model.onnx.data" in package.manifest.files) is apart


@pytest.mark.parametrize("link", [os.link, os.symlink])
def test_weights_that_are_linked_are_refused_and_a_copy_works(
    link: Callable[[Path, Path], None], checkpoints: Callable[[str], Path], tmp_path: Path
) -> None:
    """ONNX Runtime takes them for an attack."""
    made = export(checkpoints("gpt2"), tmp_path / "made", external_data=True, parity=False)
    expected = Generator(made.package).generate([[5, 6]])
    linked = tmp_path / "it's linked"
    linked.mkdir()
    for file in made.package.folder.iterdir():
        link(file, linked / file.name)
    with pytest.raises(BeamgenError, match="is a link, or has a second name") as error:
        Generator(linked, verify=False)
    command = error.value.cure.partition(": ")[2].replace("COPY", "copy")
    subprocess.run(command, shell=True, check=True, cwd=tmp_path)
    assert Generator(tmp_path / "copy").generate([[5, 6]]) == expected
