"""Architectures that are refused, each with its reason, before anything is loaded."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

import beamgen
from beamgen import BeamgenError, DecoderAdapter, Refusal, export, refusals, refuse, register
from beamgen.checkpoint.resolve import resolve
from beamgen.cli import main
from beamgen.registry import find_refusal, forgotten_afterwards

#: Those of other packages' code, and of transformers 5 alone.
ELSEWHERE = {"Dream", "llada", "llada_moe"}
NEWER = {"lfm2_moe", "nemotron_h", "qwen3_5", "qwen3_5_text"}
TYPES = [(refusal, name) for refusal in refusals() for name in refusal.model_types]


def _config(folder: Path, **values: object) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps(values), encoding="utf-8")
    return folder


@pytest.mark.transformers_4
def test_those_that_are_refused_are_there() -> None:
    from transformers import CONFIG_MAPPING

    unknown = {name for _, name in TYPES} - set(CONFIG_MAPPING)
    assert unknown == ELSEWHERE | NEWER


def test_each_is_refused_once_and_has_no_adapter() -> None:
    names = [name for _, name in TYPES]
    assert len(names) == len(set(names)) > 90
    assert not {adapter.model_type for adapter in beamgen.adapters()} & set(names)


def test_each_checkpoint_is_refused_with_its_reason(tmp_path: Path) -> None:
    """With no other file than a config."""
    for refusal, name in TYPES:
        folder = _config(tmp_path / "checkpoint", model_type=name)
        with pytest.raises(BeamgenError) as error:
            resolve(folder, None)
        assert error.value.cause == f"no file can be made of a '{name}' model: {refusal.reason}"
        assert error.value.cure == refusal.cure


@pytest.mark.parametrize("asked", [{}, {"adapter": "default"}, {"model_class": "gpt2"}])
def test_whatever_is_asked_for(tmp_path: Path, asked: dict[str, str]) -> None:
    folder = _config(tmp_path / "checkpoint", model_type="xlnet")
    with pytest.raises(BeamgenError, match="no file can be made of a 'xlnet' model"):
        export(folder, tmp_path / "package", **asked)
    assert not (tmp_path / "package").exists()


def test_code_of_its_own_changes_nothing(tmp_path: Path) -> None:
    folder = _config(tmp_path / "x", model_type="llada", auto_map={"AutoModel": "modeling.Any"})
    with pytest.raises(BeamgenError, match="fills masked places"):
        export(folder, trust_remote_code=True)


def test_the_text_model_within_is_named(tmp_path: Path) -> None:
    folder = _config(tmp_path / "x", model_type="llava", text_config={"model_type": "llama"})
    with pytest.raises(BeamgenError, match="the text model within is a 'llama'"):
        export(folder)


def test_a_class_goes_by_its_model_type() -> None:
    with pytest.raises(BeamgenError, match="no file can be made of a 'xlnet' model"):
        beamgen.find_adapter("xlnet")


def test_anybody_may_refuse_and_an_adapter_goes_before() -> None:
    mine = Refusal("mine", "nobody has tried", "try it", ("made_up", "another"))
    with forgotten_afterwards():
        refuse(mine)
        refuse(mine)  # as a reload does
        assert refusals()[-1] == mine

        @register
        class Taken(DecoderAdapter):
            name, model_type, class_names = "taken", "made_up", ("MadeUpForCausalLM",)

            def tiny_config(self):
                raise AssertionError

        assert refusals()[-1].model_types == ("another",)
        assert find_refusal("made_up") is None
        assert beamgen.find_adapter("made_up").name == "taken"
        with pytest.raises(BeamgenError, match="names another, which another refuses"):
            refuse(Refusal("twice", "again", "rename", ("another",)))
    assert find_refusal("another") is None


def test_the_list_shows_them() -> None:
    printed = CliRunner().invoke(main, ["list", "--refused"], catch_exceptions=False)
    listed = json.loads(CliRunner().invoke(main, ["list", "--refused", "--json"]).stdout)
    assert [row["model_types"] for row in listed["refused"]] == [
        list(refusal.model_types) for refusal in refusals()
    ]
    for refusal in refusals():
        assert refusal.kind in printed.stdout


@pytest.mark.parametrize("name", ["bert", "roberta"])
def test_an_encoder_is_no_decoder(name: str, tmp_path: Path) -> None:
    config = beamgen.find_adapter(name).tiny_config()
    config.is_decoder, config.eos_token_id = False, None  # as encoders have it
    config.save_pretrained(tmp_path / "x")
    with pytest.raises(BeamgenError, match="is_decoder") as error:
        export(tmp_path / "x", tmp_path / "package")
    assert "encoder" in error.value.cause
