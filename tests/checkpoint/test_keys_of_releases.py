"""Keys that one release of transformers saves and another reads by another name, or not at all."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from support.odd_checkpoints import edit_config
from transformers import GPTNeoXConfig, LlamaConfig, PretrainedConfig

from beamgen import BeamgenError, find_adapter, open_checkpoint
from beamgen.checkpoint.config_keys import unread_keys
from beamgen.testing import tiny_model

Save = Callable[..., Path]


@pytest.fixture
def save(tmp_path: Path) -> Save:
    def made(name: str, drop: tuple[str, ...] = (), **changes: Any) -> Path:
        tiny_model(find_adapter(name).tiny_config()).save_pretrained(tmp_path)
        return edit_config(tmp_path, drop, **changes)

    return made


def _unread(config: PretrainedConfig, **stored: Any) -> list[str]:
    return unread_keys(
        stored, type(config).from_dict(dict(stored)), lambda built: torch.nn.Module()
    )


def _refused(folder: Path) -> BeamgenError:
    with pytest.raises(BeamgenError) as error:
        open_checkpoint(folder).load_model()
    return error.value


def test_an_old_name_counts_as_read_only_where_the_class_takes_it() -> None:
    """Pythia's config.json has both; 5 makes ``rope_parameters`` of them, for GPT-NeoX alone."""
    old = {"rotary_pct": 0.5, "rotary_emb_base": 5000}
    assert _unread(GPTNeoXConfig(), **old) == []
    assert _unread(LlamaConfig(), **old) == ["rotary_emb_base", "rotary_pct"]


@pytest.mark.parametrize(
    ("name", "key", "meant", "other"),
    [
        ("bert", "position_embedding_type", "absolute", "relative_key"),
        ("granitemoe", "position_embedding_type", "rope", "nope"),
    ],
)
@pytest.mark.transformers_5
def test_what_a_class_does_anyway_may_be_said(
    save: Save, name: str, key: str, meant: str, other: str
) -> None:
    """Every BERT on the hub says it; 5 has no other kind."""
    folder = save(name, **{key: meant})
    open_checkpoint(folder).load_model()
    assert f"does not read {key} of" in _refused(edit_config(folder, **{key: other})).cause


@pytest.mark.transformers_4
def test_what_5_saves_of_gpt_oss_is_what_4_57_computes_with(save: Save) -> None:
    folder = save("gpt_oss", swiglu_alpha=1.702, swiglu_limit=7.0)
    open_checkpoint(folder).load_model()
    assert "swiglu_limit" in _refused(edit_config(folder, swiglu_limit=5.0)).cause


@pytest.mark.transformers_4
def test_5_counts_experts_and_names_layers_twice(save: Save) -> None:
    every = ["full_attention"] * 2
    folder = save("qwen3_moe", num_local_experts=4, layer_types=every)
    open_checkpoint(folder).load_model()
    assert "num_local_experts" in _refused(edit_config(folder, num_local_experts=8)).cause
    windows = {"num_local_experts": 4, "use_sliding_window": True, "sliding_window": 8}
    assert "layer_types" in _refused(edit_config(folder, **windows)).cause
    some = {"use_sliding_window": False, "layer_types": ["sliding_attention", "full_attention"]}
    assert "layer_types" in _refused(edit_config(folder, **some)).cause


@pytest.mark.transformers_5
def test_a_null_that_5_takes_for_yarn_is_refused_and_the_cure_works(save: Save) -> None:
    """4.57 saves ``"rope_scaling": null`` where nothing is scaled; 5 has YaRN by default."""
    folder = save("gpt_oss", drop=("rope_parameters",), rope_scaling=None, rope_theta=5000.0)
    error = _refused(folder)
    assert error.cause.endswith("rope_scaling is null, for which the transformers that is "
                                "installed takes yarn")  # fmt: skip
    assert '"rope_parameters": {"rope_type": "default", "rope_theta": 5000.0}' in error.cure
    plain = {"rope_type": "default", "rope_theta": 5000.0}
    edit_config(folder, drop=("rope_scaling", "rope_theta"), rope_parameters=plain)
    assert open_checkpoint(folder).load_model().config.rope_parameters == plain


@pytest.mark.transformers_4
def test_an_architecture_of_5_says_where_it_can_be_read(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "minimax_m2", "vocab_size": 96}')
    with pytest.raises(BeamgenError) as error:
        open_checkpoint(tmp_path)
    assert "is a 'minimax_m2' checkpoint, and the transformers that is installed" in (
        error.value.cause
    )
    assert "'transformers==5.24.*'" in error.value.cure
