"""What lies beside a model and is not the model's stays there: keys, data, notes."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from package.test_folders import everything

from beamgen import Package, export, find_adapter, open_package, package_as, quantize
from beamgen.formats.genai.format import _copy_companions

SECRETS = ("api_key.txt", "train.txt", "trainer_state.json", ".env", "notes.md", "key.model")


def _strew(folder: Path) -> Path:
    for name in SECRETS:
        (folder / name).write_text("a secret")
    return folder


def _secrets(folder: Path) -> list[str]:
    return [name for name, content in everything(folder).items() if b"a secret" in content]


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Package:
    """Of a checkpoint among such files."""
    folder = tmp_path_factory.mktemp("secrets")
    demo = find_adapter("gpt2").demo
    assert demo is not None
    checkpoint = _strew(Path(shutil.copytree(demo, folder / "checkpoint")))
    return export(checkpoint, folder / "package", parity=False).package


def test_a_package_holds_the_model_s_files_and_the_tokenizer_s(exported: Package) -> None:
    assert sorted(everything(exported.folder)) == [
        "beamgen.json", "config.json", "generation_config.json", "merges.txt", "model.onnx",
        "special_tokens_map.json", "tokenizer.json", "tokenizer_config.json", "vocab.json",
    ]  # fmt: skip


def test_a_quantized_one_too(exported: Package, tmp_path: Path) -> None:
    done = quantize(exported, tmp_path / "int8", precision="fp16", parity=False)
    assert everything(done.package.folder).keys() == everything(exported.folder).keys()


@pytest.mark.parametrize(("format", "options"), [("text", {}), ("triton", {"batching": "simple"})])
def test_nor_does_a_format_take_what_was_put_into_a_package(
    format: str,
    options: dict[str, str],
    exported: Package,
    slotted: Callable[..., Package],
    tmp_path: Path,
) -> None:
    source = exported if format == "text" else slotted("gpt2")
    folder = Path(shutil.copytree(source.folder, tmp_path / "package"))
    (folder / "adapters").mkdir(exist_ok=True)
    _strew(folder), _strew(folder / "adapters")
    done = package_as(open_package(folder), format, tmp_path / "out", **options)
    assert _secrets(done.folder) == []


def test_genai_s_folder_leaves_what_an_older_package_took_along(
    exported: Package, slotted: Callable[..., Package], tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(slotted("gpt2").folder, tmp_path / "package"))
    for path in exported.folder.glob("*.json"):
        if path.name != "beamgen.json":
            shutil.copyfile(path, folder / path.name)
    _strew(folder), _strew(folder / "adapters")
    (folder / "LICENSE").write_text("a licence")
    package = open_package(folder, verify=False)
    entry = {"sha256": "", "bytes": 0}
    package.manifest.files.update(dict.fromkeys((*SECRETS, "LICENSE"), entry))
    (tmp_path / "genai").mkdir()
    assert _copy_companions(package, tmp_path / "genai")
    assert sorted(everything(tmp_path / "genai")) == [
        "LICENSE", "adapters/a.onnx_adapter", "adapters/b.onnx_adapter",
        "adapters/some.onnx_adapter", "config.json", "generation_config.json",
        "special_tokens_map.json", "tokenizer.json", "tokenizer_config.json", "vocab.json",
    ]  # fmt: skip
