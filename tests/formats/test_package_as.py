"""What all formats share: where they write, what they replace, and how checks fit a package."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import onnxruntime
import pytest

from beamgen import BeamgenError, Package, export, package_as
from beamgen.formats.web.graph import web_graph

#: Formats that need nothing from a network, with a file that programs of theirs look for.
FOREIGN = {"triton": "config.pbtxt", "genai": "genai_config.json", "web": "page.json"}


@pytest.mark.parametrize("name", FOREIGN)
def test_a_folder_of_somebody_elses_is_not_replaced(
    name: str, demos: Callable[[str], Package], tmp_path: Path
) -> None:
    target = tmp_path / "foreign"
    target.mkdir()
    (target / FOREIGN[name]).write_text("{}")
    with pytest.raises(BeamgenError, match="exists and is not a"):
        package_as(demos("gpt2"), name, target, force=True)
    assert [path.name for path in target.iterdir()] == [FOREIGN[name]]


def test_a_folder_of_another_format_is_not_replaced(
    demos: Callable[[str], Package], tmp_path: Path
) -> None:
    package_as(demos("gpt2"), "triton", tmp_path / "gpt2", batching="simple")
    with pytest.raises(BeamgenError, match="exists and is not a"):
        package_as(demos("gpt2"), "genai", tmp_path / "gpt2", force=True)
    with pytest.raises(BeamgenError, match="pass --force to replace it"):
        package_as(demos("gpt2"), "triton", tmp_path / "gpt2", batching="simple")
    done = package_as(demos("gpt2"), "triton", tmp_path / "gpt2", batching="simple", force=True)
    mark = json.loads((tmp_path / "gpt2" / "beamgen-triton.json").read_text())
    assert mark["source"]["model"] == "gpt2"
    assert mark["checks"] == [vars(check) for check in done.checks]


@pytest.mark.parametrize("name", ["text", *FOREIGN])
def test_nothing_is_written_into_the_package(name: str, demos: Callable[[str], Package]) -> None:
    folder = demos("gpt2").folder
    before = sorted(folder.rglob("*"))
    for target in (folder, folder / "further" / "there"):
        with pytest.raises(BeamgenError, match="lies in the package itself"):
            package_as(demos("gpt2"), name, target, force=True)
    assert sorted(folder.rglob("*")) == before


def test_it_is_called_after_the_package(
    demos: Callable[[str], Package], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    name = demos("gpt2").folder.name
    done = package_as(demos("gpt2"), "triton", batching="simple")
    assert done.folder == Path("model_repository", name)
    assert (tmp_path / done.folder / "1" / "model.onnx").is_file()


def test_settings_of_a_format_that_fixes_none(demos: Callable[[str], Package]) -> None:
    with pytest.raises(BeamgenError, match="the web format fixes no num_beams"):
        package_as(demos("gpt2"), "web", settings={"num_beams": 3})


@pytest.mark.slow
def test_checks_fit_the_packages_least_length(tmp_path: Path) -> None:
    package = export(
        model_class="GPT2LMHeadModel",
        output=tmp_path / "package",
        parity=False,
        settings={"min_new_tokens": 20, "num_beams": 4},
    ).package
    for batching in ("dynamic", "ragged", "simple"):
        done = package_as(package, "triton", tmp_path / batching, batching=batching)
        assert [check.what for check in done.checks if check.passed is False] == []
    done = package_as(package, "text", tmp_path / "text")
    assert all(check.passed for check in done.checks)


def test_weights_in_external_data_reach_every_format(tmp_path: Path) -> None:
    made = export(
        model_class="GPT2LMHeadModel",
        output=tmp_path / "package",
        parity=False,
        external_data=True,
    )
    options = {"triton": {"batching": "dynamic"}, "text": {}}
    for name in options:
        done = package_as(made.package, name, tmp_path / name, **options[name])
        assert done.checks
        assert all(check.passed is not False for check in done.checks)
        assert len([*done.folder.rglob("model.onnx.data")]) == 1
    # a page fetches one file
    onnxruntime.InferenceSession(web_graph(made.package))
