"""Keys of config.json that the model is not built by: told, unless they are bookkeeping."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from support.odd_checkpoints import edit_config
from transformers import AutoModelForCausalLM

from beamgen import (
    BeamgenError,
    check_parity,
    find_adapter,
    open_checkpoint,
    open_package,
    open_source,
)
from beamgen.checkpoint.checkpoint import read_checkpoint
from beamgen.checkpoint.config_keys import unread_keys
from beamgen.checkpoint.files import find_checkpoint
from beamgen.cli import main
from beamgen.testing import tiny_model

#: What configs on the hub say besides what their classes take, as it stands there.
FOREIGN: list[tuple[str, dict[str, Any]]] = [
    (
        "gpt2",  # openai-community/gpt2
        {"n_ctx": 256, "summary_type": "cls_index", "summary_use_proj": True,
         "task_specific_params": {"text-generation": {"do_sample": True, "max_length": 50}}},
    ),
    (
        "gpt2",  # distilgpt2, DialoGPT
        {"_num_labels": 1, "id2label": {"0": "LABEL_0"}, "label2id": {"LABEL_0": 0}, "n_ctx": 256,
         "output_past": True, "finetuning_task": "lm", "use_bfloat16": True, "xla_device": True,
         "task_specific_params": {"conversational": {"max_length": 1000}}},
    ),
    (
        "gpt2",  # models of one language
        {"author": "someone", "created_date": "2021-04-28", "license": "CC-BY-NC-SA 4.0",
         "tokenizer_class": "BertTokenizer", "gradient_checkpointing": False, "n_inner": None},
    ),
    (
        "phi3",  # microsoft/Phi-3-mini-4k-instruct
        {"attention_bias": False, "auto_map": {"AutoConfig": "configuration_phi3.Phi3Config"},
         "_name_or_path": "Phi-3-mini-4k-instruct", "torch_dtype": "bfloat16",
         "embd_pdrop": 0.0, "resid_pdrop": 0.0, "sliding_window": 2047},
    ),
    (
        "phi3",  # microsoft/Phi-4-mini-instruct
        {"full_attn_mod": 1, "interpolate_factor": 1, "lm_head_bias": False, "mlp_bias": False,
         "attention_bias": False, "partial_rotary_factor": 0.75},
    ),
    (
        "phi3",  # what tools for training leave
        {"unsloth_version": "2025.1", "unsloth_fixed": True, "pretraining_tp": 1, "seq_len": 99,
         "neftune_noise_alpha": 5, "_attn_implementation_autoset": True, "head_dim": 16},
    ),
    ("biogpt", {"fp16": True, "max_seq_length": 99, "model_max_length": 99, "seed": 7}),
]  # fmt: skip


@pytest.fixture
def copy(checkpoints: Callable[[str], Path], tmp_path: Path) -> Callable[[str], Path]:
    return lambda name: Path(shutil.copytree(checkpoints(name), tmp_path / name))


@pytest.mark.parametrize(("name", "keys"), FOREIGN)
def test_what_configs_on_the_hub_say_besides(
    copy: Callable[[str], Path], name: str, keys: dict[str, Any]
) -> None:
    open_checkpoint(edit_config(copy(name), **keys)).load_model()


@pytest.mark.filterwarnings("ignore:.rope_scaling. is deprecated:FutureWarning")
@pytest.mark.parametrize(
    ("name", "key", "value"),
    [
        ("gpt2", "alibi", True),
        ("gpt2", "position_embedding_type", "rotary"),
        ("gpt2", "layer_norm_eps", 1e-3),
        ("gpt2", "hidden_act", "relu"),
        ("gpt2", "sliding_window", 8),
        ("gpt2", "rope_theta", 500.0),
        ("gpt2", "rope_parameters", {"rope_theta": 500.0}),
        ("phi3", "attention_bias", True),
        ("phi3", "logit_scale", 0.5),
        ("phi3", "attn_logit_softcapping", 50.0),
        ("phi3", "layer_types", ["full_attention", "sliding_attention"]),
        ("phi3", "some_setting_of_tomorrow", {"a": 2}),
        ("biogpt", "logits_scaling", 8.0),
        ("biogpt", "activation_function", "relu"),
    ],
)
def test_a_setting_that_is_not_read_is_told(
    copy: Callable[[str], Path], name: str, key: str, value: Any
) -> None:
    with pytest.raises(BeamgenError) as error:
        open_checkpoint(edit_config(copy(name), **{key: value})).load_model()
    before_5 = "does not read rope_theta of" in error.value.cause  # what it is told as
    told = "rope_theta" if key == "rope_parameters" and before_5 else key
    assert f"does not read {told} of config.json" in error.value.cause
    assert f"--ignore-unread {told}" in error.value.cure


@pytest.mark.parametrize("value", [None, False, 0, 1, 0.0, 1.0, "", [], {}])
def test_a_value_that_switches_nothing_is_not_told(copy: Callable[[str], Path], value: Any) -> None:
    open_checkpoint(edit_config(copy("gpt2"), some_setting=value)).load_model()


def test_keys_within_rope_scaling_are_told() -> None:
    from transformers import LlamaConfig

    scaling = {"rope_type": "linear", "factor": 4.0, "beta_fast": 32}
    config = LlamaConfig(
        num_hidden_layers=1, hidden_size=64, intermediate_size=8, vocab_size=8,
        num_attention_heads=4, rope_scaling=scaling,
    )  # fmt: skip
    stored = {"hidden_size": 64, "rope_scaling": scaling}
    where = "rope_parameters" if hasattr(LlamaConfig, "rope_scaling") else "rope_scaling"
    assert unread_keys(stored, config, tiny_model) == [f"{where}.beta_fast"]


@pytest.mark.filterwarnings("ignore:.rope_scaling. is deprecated:FutureWarning")
def test_keys_of_a_config_within_the_config_are_told() -> None:
    """Of that for text, and of that for images only where the model looks into it."""
    from transformers import Gemma3Config, Gemma3TextConfig

    sizes = {
        "hidden_size": 64, "num_attention_heads": 4, "intermediate_size": 8, "num_hidden_layers": 2,
    }  # fmt: skip
    text = {
        "vocab_size": 8, "head_dim": 16, "layer_types": ["sliding_attention", "full_attention"],
        "logit_scale": 0.5, "some_switch": False,
    }  # fmt: skip
    stored = {
        "text_config": {**sizes, **text},
        "vision_config": {**sizes, "image_size": 28, "patch_size": 14, "use_head": True},
    }
    config = Gemma3Config.from_dict(deepcopy(stored))
    whole = ["text_config.logit_scale", "vision_config.use_head"]
    assert unread_keys(stored, config, tiny_model) == whole
    of_text = unread_keys(stored, config, lambda config: tiny_model(config.get_text_config()))
    assert of_text == whole[:1]
    assert type(config.text_config) is Gemma3TextConfig  # and its class is as it was
    assert "__getattribute__" not in vars(Gemma3TextConfig)


def test_a_key_within_attn_config_is_told_where_hf_does_not_read_it(tmp_path: Path) -> None:
    """MPT's llm-foundry has rotary positions; HF's class gives the same logits with or without."""
    model = tiny_model(find_adapter("mpt").tiny_config())
    model.save_pretrained(tmp_path)
    ids = torch.tensor([[5, 9, 7]])

    def logits(**inner: Any) -> torch.Tensor:
        edit_config(tmp_path, attn_config={"clip_qkv": 0.1, **inner})
        theirs = AutoModelForCausalLM.from_pretrained(tmp_path, attn_implementation="eager")
        with torch.no_grad():
            return theirs.eval()(ids).logits

    assert torch.equal(logits(), logits(rope=True))
    assert not torch.equal(logits(), logits(softmax_scale=0.5))
    open_checkpoint(tmp_path).load_model()
    edit_config(tmp_path, attn_config={"clip_qkv": 0.1, "softmax_scale": 0.5, "rope": 2})
    with pytest.raises(BeamgenError, match=r"does not read attn_config\.rope of") as error:
        open_checkpoint(tmp_path).load_model()
    assert "--ignore-unread attn_config.rope" in error.value.cure
    read_checkpoint(find_checkpoint(tmp_path), ["attn_config.rope"]).load_model()


def test_every_key_is_told_at_once_and_the_cure_works(
    copy: Callable[[str], Path], tmp_path: Path
) -> None:
    folder, target = edit_config(copy("gpt2"), alibi=True, mup_scale=4.0), tmp_path / "package"
    command = ["export", "-m", str(folder), "-o", str(target)]
    refused = CliRunner().invoke(main, command)
    assert refused.exit_code == 1
    assert not target.exists()
    cure = "--ignore-unread alibi --ignore-unread mup_scale"
    assert cure in " ".join(refused.output.split())
    done = CliRunner().invoke(main, [*command, *cure.split()])
    assert done.exit_code == 0, done.output
    package = open_package(target)
    assert package.manifest.source["ignored"] == ["alibi", "mup_scale"]
    assert check_parity(package, open_source(package)).exit_code == 0
    assert check_parity(package, open_source(package, str(folder))).exit_code == 0


def test_a_pattern_ignores_several(copy: Callable[[str], Path]) -> None:
    folder = edit_config(copy("gpt2"), mup_scale=4.0, mup_base=8)
    read_checkpoint(find_checkpoint(folder), ["mup_*"]).load_model()


@pytest.mark.transformers_4  # 5 saves no such field
def test_what_the_class_derives_and_saves_is_read() -> None:
    """BART's ``num_hidden_layers`` is its encoder's, and stands in every file."""
    adapter = find_adapter("bart")
    config = adapter.tiny_config()
    stored = config.to_dict()
    assert stored["num_hidden_layers"] == 2
    assert unread_keys(stored, config, lambda config: tiny_model(config)) == []
    other = {**stored, "num_hidden_layers": 3}
    assert unread_keys(other, config, lambda config: tiny_model(config)) == ["num_hidden_layers"]


def test_a_value_of_the_wrong_kind_is_told(copy: Callable[[str], Path]) -> None:
    """By the config's class of transformers 5, by the model that does not run before."""
    folder = edit_config(copy("gpt2"), layer_norm_epsilon="1e-5")
    with pytest.raises(BeamgenError, match=r"does not run: layer_norm|'layer_norm_epsilon': Type"):
        open_checkpoint(folder).load_model()


def test_a_kernel_that_a_config_names_need_not_be_there(copy: Callable[[str], Path]) -> None:
    folder = edit_config(copy("gpt2"), _attn_implementation="flash_attention_2")
    assert open_checkpoint(folder).load_model().config._attn_implementation == "sdpa"
