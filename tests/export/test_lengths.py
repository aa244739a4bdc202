"""What a config does beyond a window or a boundary is proved when a checkpoint is exported."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.architectures import INSTALLED
from transformers import GPT2Config, PretrainedConfig

from beamgen import export, find_adapter
from beamgen.checkpoint.small_config import SMALL_LENGTH, lengths, small_config
from beamgen.decoder import step_cache
from beamgen.decoder.rotary import LongRotary
from beamgen.parity.grids.shapes import LONG_PROMPT
from beamgen.registry import is_encoder_decoder
from beamgen.testing import tiny_model

DECODERS = [each for each in INSTALLED if not is_encoder_decoder(each)]
SMALL = "a small random model"
REAL = 4096


def _windows(name: str, window: int) -> PretrainedConfig:
    """A tiny config whose first layer alone has a window."""
    config = find_adapter(name).tiny_config()
    config.sliding_window, config.max_position_embeddings = window, 2 * REAL
    config.layer_types = ["sliding_attention", "full_attention"]
    if "use_sliding_window" in vars(config):
        config.use_sliding_window = True
    return config


def _long_rope(boundary: int) -> PretrainedConfig:
    tiny = find_adapter("llama").tiny_config()
    scaling = {
        "rope_type": "longrope",
        "factor": 4.0,
        "original_max_position_embeddings": boundary,
        "short_factor": [1.0 + 0.1 * band for band in range(8)],
        "long_factor": [2.0 + 0.5 * band for band in range(8)],
    }
    changes = {"max_position_embeddings": 2 * REAL, "rope_scaling": scaling}
    return type(tiny).from_dict({**tiny.to_dict(), **changes})


def _saved(config: PretrainedConfig, folder: Path) -> Path:
    tiny_model(config).save_pretrained(folder)
    return folder


def _no_window(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(step_cache.StepCache, "within", lambda cache, window, bias: bias)


def _no_choice_of_factors(monkeypatch: pytest.MonkeyPatch) -> None:
    def short(rotary, x, position_ids):
        rotary._own.inv_freq = rotary._short
        return rotary._own(x, position_ids)

    monkeypatch.setattr(LongRotary, "forward", short)


#: What a checkpoint's config has at a length that no prompt of a grid reaches, and how an engine
#: would lose it. OLMo 3's and Gemma 2's windows are of every other layer, as they publish them.
MUTANTS = {
    "qwen2": (_windows("qwen2", REAL), _no_window),
    "llama, longrope": (_long_rope(REAL), _no_choice_of_factors),
    "olmo3": (_windows("olmo3", REAL), _no_window),
    "gemma2": (_windows("gemma2", REAL), _no_window),
}
_SLOW = ("llama, longrope", "olmo3", "gemma2")


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=[pytest.mark.slow] if name in _SLOW else []) for name in MUTANTS],
)
def test_a_length_that_no_prompt_reaches_is_proved_on_a_small_model(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file's own answers stay exact without it: nothing else could see that it is gone."""
    config, mutate = MUTANTS[name]
    checkpoint = _saved(config, tmp_path / "checkpoint")
    whole = export(checkpoint, tmp_path / "whole").parity
    assert whole is not None
    assert whole.exit_code == 0
    assert len(whole.results) == 20
    mutate(monkeypatch)
    report = export(checkpoint, tmp_path / "without").parity
    assert report is not None
    assert report.exit_code == 3
    verdicts = {result.case.name: result.verdict.agrees for result in report.results}
    wrong = {name for name, agrees in verdicts.items() if not agrees}
    assert {name.startswith(SMALL) for name in wrong} == {True}, wrong


@pytest.mark.slow
@pytest.mark.parametrize(("name", "reached"), [("qwen2", 64), ("olmo3", 64), ("gemma2", 64)])
def test_windows_of_64_are_refused_where_they_are_gone(
    name: str, reached: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The grid once had no prompt of more than 11 tokens, and called such files exact."""
    checkpoint = _saved(_windows(name, reached), tmp_path / "checkpoint")
    whole = export(checkpoint, tmp_path / "whole").parity
    assert whole is not None
    assert whole.exit_code == 0
    _no_window(monkeypatch)
    without = export(checkpoint, tmp_path / "without").parity
    assert without is not None
    assert without.exit_code == 3


@pytest.mark.slow
def test_a_boundary_of_64_is_refused_where_it_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint = _saved(_long_rope(64), tmp_path / "checkpoint")
    whole = export(checkpoint, tmp_path / "whole").parity
    assert whole is not None
    assert whole.exit_code == 0
    _no_choice_of_factors(monkeypatch)
    without = export(checkpoint, tmp_path / "without").parity
    assert without is not None
    assert without.exit_code == 3


def test_a_length_that_a_prompt_reaches_is_seen_on_the_model_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint = _saved(_windows("qwen2", 64), tmp_path / "checkpoint")
    _no_window(monkeypatch)
    report = export(checkpoint, tmp_path / "without").parity
    assert report is not None
    wrong = {result.case.name for result in report.results if not result.verdict.agrees}
    assert wrong == {"batch 1, long", "batch 4 padded, long", "long prompt"}
    assert len(report.results) == 12


@pytest.mark.slow
def test_contrib_is_proved_beyond_its_lengths_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint = _saved(_long_rope(REAL), tmp_path / "checkpoint")
    options = {"backend": "contrib", "settings": {"num_beams": 4}}
    whole = export(checkpoint, tmp_path / "whole", **options).parity
    assert whole is not None
    assert whole.exit_code == 0
    _no_choice_of_factors(monkeypatch)
    assert export(checkpoint, tmp_path / "without", **options).parity.exit_code == 3


def test_a_config_without_windows_has_nothing_to_prove() -> None:
    assert lengths(GPT2Config()) == {}
    off = _windows("qwen2", REAL)
    off.use_sliding_window = False
    assert lengths(off) == {}


def test_lengths_are_found_wherever_a_config_has_them() -> None:
    config = _long_rope(REAL)
    where = "rope_parameters" if hasattr(type(config), "rope_scaling") else "rope_scaling"
    assert lengths(config) == {f"{where}.original_max_position_embeddings": REAL}


@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated:DeprecationWarning")
@pytest.mark.parametrize("adapter", DECODERS, ids=lambda adapter: adapter.name)
def test_a_config_of_real_size_becomes_small(adapter) -> None:
    """The class's defaults are of the size that people use; some tens of its layers stay two."""
    tiny = adapter.tiny_config()
    given: dict[str, object] = {"is_decoder": True} if "is_decoder" in vars(tiny) else {}
    if "num_key_value_heads" in vars(tiny):  # Nemotron's class leaves it open, which HF refuses
        given["num_key_value_heads"] = 8
    small = small_config(type(tiny)(**given), tiny)
    model = tiny_model(small)
    assert sum(parameter.numel() for parameter in model.parameters()) < 400_000
    geometry = adapter.kv_geometry(small)
    assert small.num_hidden_layers <= 4
    if geometry.states:  # both kinds of layers are left
        assert 0 < geometry.num_layers < small.num_hidden_layers
    else:
        assert geometry.num_layers == small.num_hidden_layers
    assert all(size == SMALL_LENGTH for size in lengths(small).values())
    assert SMALL_LENGTH < LONG_PROMPT


def test_the_kinds_of_layers_and_heads_are_kept() -> None:
    from transformers import Gemma3TextConfig

    tiny = find_adapter("gemma3").tiny_config()
    kinds = ["sliding_attention"] * 5 + ["full_attention"]
    config = Gemma3TextConfig(
        num_hidden_layers=12,
        num_key_value_heads=4,
        num_attention_heads=8,
        layer_types=kinds * 2,
        rope_scaling={"rope_type": "linear", "factor": 8.0},
        attn_logit_softcapping=30.0,
    )
    small = small_config(config, tiny)
    assert small.layer_types == ["sliding_attention", "full_attention"]
    assert (small.num_attention_heads, small.num_key_value_heads) == (4, 2)
    assert small.rope_scaling == config.rope_scaling
    assert small.attn_logit_softcapping == 30.0
    one = small_config(Gemma3TextConfig(num_attention_heads=8, num_key_value_heads=1), tiny)
    every = small_config(Gemma3TextConfig(num_attention_heads=8, num_key_value_heads=8), tiny)
    assert (one.num_key_value_heads, every.num_key_value_heads) == (1, 4)
