"""A model_type that no adapter knows: what export says of it, and what --adapter default does."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from transformers import AutoConfig, AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

from beamgen import BeamgenError, Generator, adapters, check_parity, export, open_source, register
from beamgen.cli import main
from beamgen.default_adapter import DefaultAdapter
from beamgen.testing import tiny_model


class TomorrowsConfig(LlamaConfig):
    model_type = "tomorrow"


class TomorrowsModel(LlamaForCausalLM):
    config_class = TomorrowsConfig


class StrangersConfig(LlamaConfig):
    """Its logits are scaled by a size that its cache has, too."""

    model_type = "stranger"


class StrangersModel(LlamaForCausalLM):
    config_class = StrangersConfig

    def prepare_inputs_for_generation(self, *args, attention_mask=None, **given):
        """Positions that count twice when it generates: what no adapter can guess."""
        given["attention_mask"] = attention_mask
        inputs = super().prepare_inputs_for_generation(*args, **given)
        inputs["position_ids"] = 2 * inputs["position_ids"]
        return inputs


_SIZES = {"num_hidden_layers": 2, "hidden_size": 64, "num_attention_heads": 4}
_SIZES |= {"intermediate_size": 128, "vocab_size": 96, "max_position_embeddings": 256}
_IDS = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}


for _config, _model in ((TomorrowsConfig, TomorrowsModel), (StrangersConfig, StrangersModel)):
    AutoConfig.register(_config.model_type, _config, exist_ok=True)
    AutoModelForCausalLM.register(_config, _model, exist_ok=True)


def _saved(config, folder: Path) -> Path:
    tiny_model(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def tomorrow(tmp_path_factory: pytest.TempPathFactory) -> Path:
    config = TomorrowsConfig(**_SIZES, **_IDS, num_key_value_heads=2)
    return _saved(config, tmp_path_factory.mktemp("tomorrow") / "checkpoint")


def test_the_refusal_names_a_cure_that_works(tomorrow: Path, tmp_path: Path) -> None:
    with pytest.raises(BeamgenError) as refused:
        export(tomorrow, tmp_path / "package")
    assert refused.value.cause == "no adapter for 'tomorrow'"
    assert refused.value.cure.startswith("pass --adapter default")
    assert "exact in 8 of 8 cases" in refused.value.cure
    assert not list(tmp_path.iterdir())

    typed = ["export", "-m", str(tomorrow), "-o", str(tmp_path / "package"), "--adapter", "default"]
    exported = CliRunner().invoke(main, typed)
    assert exported.exit_code == 0, exported.output
    assert "exact (12 cases: 12 exact" in exported.output


@pytest.mark.slow
def test_what_was_made_is_a_package_like_others(tomorrow: Path, tmp_path: Path) -> None:
    result = export(tomorrow, tmp_path / "package", adapter="default")
    assert result.package.manifest.adapter == "default"
    assert result.adapter.kv_geometry(result.checkpoint.config).num_kv_heads == 2
    assert check_parity(result.package, open_source(result.package)).exit_code == 0
    assert check_parity(result.package, open_source(result.package, str(tomorrow))).exit_code == 0
    ids, search = np.array([[5, 6, 7]]), result.package.manifest.search
    assert Generator(result.package).search_ids(ids, np.ones_like(ids), search).sequences.size


def test_parity_is_the_judge(tmp_path: Path) -> None:
    config = StrangersConfig(**_SIZES, **_IDS)
    checkpoint = _saved(config, tmp_path / "checkpoint")
    with pytest.raises(BeamgenError) as refused:
        export(checkpoint, tmp_path / "package")
    assert refused.value.cause.startswith("no adapter for 'stranger', and the default adapter does")
    assert "of 8" in refused.value.cause
    assert "beamgen new-adapter NAME --from stranger" in refused.value.cure
    assert export(checkpoint, tmp_path / "package", adapter="default").exit_code == 3


def test_what_cannot_be_is_refused_with_its_reason(tmp_path: Path) -> None:
    from transformers import MambaConfig

    config = MambaConfig(num_hidden_layers=2, hidden_size=32, state_size=4, vocab_size=96, **_IDS)
    checkpoint = _saved(config, tmp_path / "checkpoint")
    for options in ({}, {"adapter": "default"}):
        with pytest.raises(BeamgenError, match="no file can be made of a 'mamba' model"):
            export(checkpoint, tmp_path / "package", **options)
    assert not (tmp_path / "package").exists()


def test_a_model_type_that_transformers_does_not_know(tomorrow: Path, tmp_path: Path) -> None:
    config = json.loads((tomorrow / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "model_type": "day_after"}))
    with pytest.raises(BeamgenError) as refused:
        export(tmp_path, tmp_path / "package")
    assert refused.value.cause.startswith("no adapter for 'day_after'; transformers ")
    assert "knows no model_type 'day_after'" in refused.value.cause


@pytest.mark.parametrize(
    ("options", "cause"),
    [
        ({"adapter": "llama"}, "adapter 'llama' was asked for, and only default can be"),
        ({"adapter": "default", "parity": False}, "--no-parity"),
        ({"adapter": "default", "model_class": "llama"}, "--model-class llama and --adapter"),
    ],
)
def test_what_contradicts_it_is_refused(options, cause: str, tomorrow: Path, tmp_path) -> None:
    with pytest.raises(BeamgenError) as refused:
        export(tomorrow, tmp_path / "package", **options)
    assert cause in refused.value.cause


def test_an_architecture_with_an_adapter_may_be_tried_as_well(tmp_path: Path) -> None:
    checkpoint = _saved(LlamaConfig(**_SIZES, **_IDS), tmp_path / "checkpoint")
    assert export(checkpoint, tmp_path / "package", adapter="default").exit_code == 0


def test_its_name_is_its_own() -> None:
    class Impostor(DefaultAdapter):
        model_type = "impostor"

    before = adapters()
    with pytest.raises(BeamgenError, match="the name of the adapter for any model"):
        register(Impostor)
    assert adapters() == before
