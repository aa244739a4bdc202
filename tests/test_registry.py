from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from beamgen import BeamgenError, DecoderAdapter, adapters, find_adapter, register


@pytest.mark.parametrize(
    ("asked", "name"),
    [
        ("BioGptModel", "biogpt"),
        ("BioGptForCausalLM", "biogpt"),
        ("biogpt", "biogpt"),
        ("GPT2LMHeadModel", "gpt2"),
        ("GPT2Model", "gpt2"),
        ("gpt2", "gpt2"),
        ("Phi3ForCausalLM", "phi3"),
        ("phi3", "phi3"),
        ("BartForConditionalGeneration", "bart_seq2seq"),
        ("BartForCausalLM", "bart"),
        ("bart", "bart"),
        ("marian", "marian"),
    ],
)
def test_an_adapter_goes_by_class_name_and_model_type(asked: str, name: str) -> None:
    assert find_adapter(asked).name == name


def test_a_model_type_may_have_an_encoder_decoder_and_a_decoder() -> None:
    found = {kind: find_adapter("mbart", encoder_decoder=kind).name for kind in (True, False)}
    assert found == {True: "mbart_seq2seq", False: "mbart"}
    with pytest.raises(BeamgenError, match="no adapter for 'marian' as a decoder alone"):
        find_adapter("marian", encoder_decoder=False)
    with pytest.raises(BeamgenError, match="no adapter for the encoder-decoder 'gpt2'"):
        find_adapter("gpt2", encoder_decoder=True)


@pytest.mark.parametrize(
    ("asked", "meant"),
    [("BioGptMdel", "BioGptModel"), ("gtp2", "gpt2"), ("phi3forcausallm", "Phi3")],
)
def test_a_slip_gets_a_suggestion(asked: str, meant: str) -> None:
    with pytest.raises(BeamgenError) as error:
        find_adapter(asked)
    assert f"no adapter for '{asked}'" in error.value.cause
    assert meant in error.value.cure


def test_nothing_like_it_gets_no_suggestion() -> None:
    with pytest.raises(BeamgenError) as error:
        find_adapter("zzzzzz")
    assert "did you mean" not in error.value.cure
    assert "beamgen list" in error.value.cure


def test_two_adapters_may_not_claim_one_name() -> None:
    before = adapters()

    class Impostor(DecoderAdapter):
        name, model_type, class_names = "impostor", "gpt2", ("ImpostorModel",)

        def tiny_config(self):
            raise AssertionError

    with pytest.raises(BeamgenError, match="both claim gpt2"):
        register(Impostor)
    assert adapters() == before


_PLUGIN = """
from beamgen import DecoderAdapter, register

@register
class MadeUpAdapter(DecoderAdapter):
    name, model_type, class_names = "madeup", "madeup", ("MadeUpForCausalLM",)

    def tiny_config(self):
        from transformers import OPTConfig
        return OPTConfig()
"""


def _distribution(site: Path, name: str, module: str) -> None:
    """An installed distribution with an entry point, as pip leaves one."""
    (site / f"{name}.py").write_text(module)
    info = site / f"{name}-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[beamgen.adapters]\n{name} = {name}\n")


def _environment(site: Path) -> dict[str, str]:
    """This one, with a folder of distributions before what is on the path."""
    path = os.pathsep.join([str(site), os.environ.get("PYTHONPATH", "")])
    return {**os.environ, "PYTHONPATH": path.rstrip(os.pathsep)}


def _list(site: Path) -> dict:
    result = subprocess.run(
        [sys.executable, "-m", "beamgen", "list", "--json"],
        text=True,
        capture_output=True,
        env=_environment(site),
    )
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


def test_an_adapter_of_another_package_is_picked_up(tmp_path: Path) -> None:
    _distribution(tmp_path, "beamgen_madeup", _PLUGIN)
    listed = _list(tmp_path)
    names = {row["name"]: row["module"] for row in listed["adapters"]}
    assert names["madeup"] == "beamgen_madeup"
    assert names["gpt2"] == "model_adapters.gpt2"
    assert listed["broken"] == []


def test_a_broken_plugin_is_named_and_breaks_nothing_else(tmp_path: Path) -> None:
    _distribution(tmp_path, "beamgen_broken", "import no_such_module\n")
    listed = _list(tmp_path)
    assert {"gpt2", "biogpt", "phi3"} <= {row["name"] for row in listed["adapters"]}
    (broken,) = listed["broken"]
    assert broken["distribution"] == "beamgen_broken"
    assert "no_such_module" in broken["reason"]


def test_a_broken_plugin_is_suspected_of_what_is_missing(tmp_path: Path) -> None:
    _distribution(tmp_path, "beamgen_broken", "raise OSError('first line\\nsecond line')\n")
    result = subprocess.run(
        [sys.executable, "-m", "beamgen", "export", "--model-class", "NoSuchForCausalLM"],
        text=True,
        capture_output=True,
        cwd=tmp_path,
        env=_environment(tmp_path),
    )
    assert result.returncode == 1
    (cause,) = (line for line in result.stderr.splitlines() if line.startswith("error: "))
    assert cause.endswith("'beamgen_broken' (beamgen_broken) failed to import: first line")


def test_of_two_claims_to_a_name_one_is_turned_away_and_nothing_else(tmp_path: Path) -> None:
    """Whichever is imported first keeps the name; the other's siblings are not its hostages."""
    _distribution(
        tmp_path, "beamgen_rival", _PLUGIN.replace('"madeup", "madeup"', '"madeup", "gpt2"')
    )
    listed = _list(tmp_path)
    (broken,) = listed["broken"]
    assert "both claim gpt2" in broken["reason"]
    names = {row["name"] for row in listed["adapters"]}
    built_in = {adapter.name for adapter in adapters()}
    assert names in (built_in - {"gpt2"} | {"madeup"}, built_in)


def test_one_broken_module_of_a_plugin_leaves_the_others(tmp_path: Path) -> None:
    _distribution(tmp_path, "beamgen_many", "")
    (tmp_path / "beamgen_many.py").unlink()
    (tmp_path / "beamgen_many").mkdir()
    for module, code in {"__init__": "", "a_broken": "1 / 0", "b_whole": _PLUGIN}.items():
        (tmp_path / "beamgen_many" / f"{module}.py").write_text(code)
    listed = _list(tmp_path)
    assert "madeup" in {row["name"] for row in listed["adapters"]}
    (broken,) = listed["broken"]
    assert broken["reason"] == "beamgen_many.a_broken: division by zero"


def test_a_plugin_may_be_a_folder_of_adapters(tmp_path: Path) -> None:
    """As our own is: each file in it is imported, none is listed anywhere."""
    _distribution(tmp_path, "beamgen_many", "")
    (tmp_path / "beamgen_many.py").unlink()
    (tmp_path / "beamgen_many").mkdir()
    (tmp_path / "beamgen_many" / "__init__.py").touch()
    (tmp_path / "beamgen_many" / "one.py").write_text(_PLUGIN)
    (tmp_path / "beamgen_many" / "two.py").write_text(
        _PLUGIN.replace("madeup", "another").replace("MadeUp", "Another")
    )
    modules = {row["name"]: row["module"] for row in _list(tmp_path)["adapters"]}
    assert (modules["madeup"], modules["another"]) == ("beamgen_many.one", "beamgen_many.two")


def test_registering_one_class_twice_changes_nothing() -> None:
    """As a reload in a notebook does."""
    adapter = type(find_adapter("gpt2"))
    before = [type(known) for known in adapters()]
    assert register(adapter) is adapter
    assert [type(known) for known in adapters()] == before
