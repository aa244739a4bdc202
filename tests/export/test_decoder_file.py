"""A decoder that this project did not export: built into a search, or refused with every reason."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import safetensors.numpy
from click.testing import CliRunner
from onnx import TensorProto, helper
from support.handmade_decoders import gpt2, saved
from transformers import AutoConfig, AutoModelForCausalLM, GPT2Config, GPT2LMHeadModel

from beamgen import (
    BeamgenError,
    Generator,
    Package,
    check_parity,
    describe,
    export,
    open_source,
    package_as,
    quantize,
)
from beamgen.cli import main
from beamgen.parity.grids.shapes import quick_grid
from beamgen.parity.report import Verdict
from beamgen.testing import tiny_model


class UnknownConfig(GPT2Config):
    model_type = "gpt-of-tomorrow"


class UnknownModel(GPT2LMHeadModel):
    config_class = UnknownConfig


AutoConfig.register(UnknownConfig.model_type, UnknownConfig, exist_ok=True)
AutoModelForCausalLM.register(UnknownConfig, UnknownModel, exist_ok=True)


@pytest.fixture(scope="module")
def handmade(checkpoints: Callable[[str], Path]) -> onnx.ModelProto:
    """A GPT-2 step in the face that most exporters write."""
    return _gpt2(checkpoints("gpt2"))


@pytest.fixture(scope="module")
def built(
    checkpoints: Callable[[str], Path], handmade: onnx.ModelProto, tmp_path_factory
) -> Package:
    """The package around it; read-only."""
    folder = tmp_path_factory.mktemp("decoder")
    file = saved(handmade, folder / "step.onnx")
    return export(checkpoints("gpt2"), folder / "package", decoder=file, parity=False).package


def _gpt2(checkpoint: Path, **options) -> onnx.ModelProto:
    tensors = safetensors.numpy.load_file(checkpoint / "model.safetensors")
    return gpt2(tensors, json.loads((checkpoint / "config.json").read_text()), **options)


def _exact(package: Package, checkpoint: Path) -> bool:
    report = check_parity(package, open_source(package, str(checkpoint)), grid=quick_grid)
    return report.verdict is Verdict.EXACT and len(report.results) >= 10


def test_a_handmade_decoder_searches_like_generate(built, checkpoints) -> None:
    assert _exact(built, checkpoints("gpt2"))


@pytest.mark.parametrize(
    "options",
    [{"face": "tree"}, {"last_only": True, "opset": 24}],
    ids=["tree", "last logits, opset 24"],
)
def test_other_faces_give_the_same_search(options, built, checkpoints, tmp_path) -> None:
    file = saved(_gpt2(checkpoints("gpt2"), **options), tmp_path / "step.onnx")
    other = export(checkpoints("gpt2"), tmp_path / "package", decoder=file, parity=False).package
    prompts = [[5, 6, 7, 8, 9], [11], list(range(3, 40))]
    ours, theirs = (
        Generator(package).generate(prompts, max_new_tokens=12, num_return_sequences=3)
        for package in (built, other)
    )
    for row, other_row in zip(ours, theirs, strict=True):
        assert [found.token_ids for found in row] == [found.token_ids for found in other_row]
        np.testing.assert_allclose(
            [found.score for found in row], [found.score for found in other_row], atol=1e-4
        )


@pytest.mark.transformers_4  # optimum-onnx runs beside nothing later
@pytest.mark.parametrize("name", ["gpt2", pytest.param("llama", marks=pytest.mark.slow)])
def test_what_optimum_exports_searches_like_generate(name, checkpoints, tmp_path) -> None:
    from optimum.exporters.onnx import main_export

    main_export(
        str(checkpoints(name)),
        str(tmp_path / "optimum"),
        task="text-generation-with-past",
        do_validation=False,
    )
    file = tmp_path / "optimum" / "model.onnx"
    result = export(checkpoints(name), tmp_path / "package", decoder=file, parity=False)
    assert _exact(result.package, checkpoints(name))


def test_the_file_tells_the_sizes_where_no_adapter_knows_the_model(tmp_path) -> None:
    config = UnknownConfig(n_layer=3, n_embd=24, n_head=2, vocab_size=70, n_positions=160)
    config.update({"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0})
    checkpoint = tmp_path / "checkpoint"
    tiny_model(config).save_pretrained(checkpoint)
    file = saved(_gpt2(checkpoint), tmp_path / "step.onnx")
    package = export(checkpoint, tmp_path / "package", decoder=file, parity=False).package
    manifest = package.manifest
    assert manifest.adapter == "default"
    assert (manifest.cache.num_layers, manifest.cache.num_kv_heads) == (3, 2)
    assert (manifest.cache.head_dim, manifest.vocab_size) == (12, 70)
    assert _exact(package, checkpoint)


def test_the_package_tells_where_its_decoder_came_from(built) -> None:
    record = describe(built.folder, providers=False).provenance["source"]["decoder"]
    file = Path(record["file"])
    assert record["sha256"] == hashlib.sha256(file.read_bytes()).hexdigest()
    shown = CliRunner().invoke(main, ["inspect", "-m", str(built.folder), "--no-load"])
    assert f"decoder: {file}, SHA-256 {record['sha256']}" in shown.output


def _input(model: onnx.ModelProto, name: str) -> onnx.ValueInfoProto:
    return next(v for v in [*model.graph.input, *model.graph.output] if v.name == name)


def _without(model: onnx.ModelProto, name: str) -> None:
    for values in (model.graph.input, model.graph.output):
        for place in [n for n, value in enumerate(values) if value.name == name]:
            del values[place]


def _fixed(model: onnx.ModelProto, name: str, axis: int, size: int) -> None:
    _input(model, name).type.tensor_type.shape.dim[axis].dim_value = size


def _typed(model: onnx.ModelProto, name: str, dtype: int) -> None:
    _input(model, name).type.tensor_type.elem_type = dtype


def _also_takes(model: onnx.ModelProto, name: str) -> None:
    model.graph.input.append(helper.make_tensor_value_info(name, TensorProto.BOOL, [1]))


def _node(model: onnx.ModelProto, op_type: str, domain: str = "") -> None:
    model.graph.node.append(helper.make_node(op_type, ["logits"], ["extra"], domain=domain))


def _branch(model: onnx.ModelProto) -> None:
    side = helper.make_graph(
        [helper.make_node("Constant", [], ["c"], value_int=1)],
        "side",
        [],
        [helper.make_tensor_value_info("c", TensorProto.INT64, [])],
    )
    model.graph.node.append(
        helper.make_node("If", ["c0"], ["extra"], then_branch=side, else_branch=side)
    )


def _elsewhere(model: onnx.ModelProto, location: str) -> None:
    weight = model.graph.initializer[0]
    onnx.external_data_helper.set_external_data(weight, location)
    weight.ClearField("raw_data")
    weight.data_location = TensorProto.EXTERNAL


#: What is done to a decoder, and what its refusal says.
VIOLATIONS = {
    "a cache is not taken": (
        lambda m: _without(m, "past_key_values.1.value"),
        "no input past_key_values.1.value (float32 [batch, 4, past, 16])",
    ),
    "a cache is not given": (
        lambda m: _without(m, "present.0.key"),
        "no output present.0.key (float32 [batch, 4, attended, 16])",
    ),
    "no mask": (
        lambda m: _without(m, "attention_mask"),
        "no input attention_mask (int64 [batch, attended])",
    ),
    "no logits": (
        lambda m: _without(m, "logits"),
        "no output logits (float32 [batch, new, 96])",
    ),
    "half precision": (
        lambda m: _typed(m, "past_key_values.0.key", TensorProto.FLOAT16),
        "input past_key_values.0.key is float16, not float32",
    ),
    "small ids": (
        lambda m: _typed(m, "input_ids", TensorProto.INT32),
        "input input_ids is int32, not int64",
    ),
    "one row": (
        lambda m: _fixed(m, "input_ids", 0, 1),
        "input input_ids has a fixed size of 1 on axis 0 (batch)",
    ),
    "one token": (
        lambda m: _fixed(m, "input_ids", 1, 1),
        "input input_ids has a fixed size of 1 on axis 1 (new)",
    ),
    "a fixed cache": (
        lambda m: _fixed(m, "past_key_values.1.key", 2, 64),
        "input past_key_values.1.key has a fixed size of 64 on axis 2 (past)",
    ),
    "other heads": (
        lambda m: _fixed(m, "present.1.key", 1, 2),
        "output present.1.key has 2 on axis 1, not 4",
    ),
    "another vocabulary": (
        lambda m: _fixed(m, "logits", 2, 50257),
        "output logits has 50257 on axis 2, not 96",
    ),
    "another rank": (
        lambda m: _input(m, "position_ids").type.tensor_type.shape.dim.pop(),
        "input position_ids has 1 axes, not 2 (int64 [batch, new])",
    ),
    "merged": (
        lambda m: _also_takes(m, "use_cache_branch"),
        "input use_cache_branch: the file is two decoders in one ('merged')",
    ),
    "an unknown input": (
        lambda m: _also_takes(m, "mood"),
        "nothing is known to feed to mood",
    ),
    "an old opset": (
        lambda m: setattr(m.opset_import[0], "version", 9),
        "it is of opset 9, not of 11 to 25",
    ),
    "an unknown domain": (
        lambda m: _node(m, "Magic", "acme"),
        "operators Magic of the domain acme are not known",
    ),
    "an unknown operator": (
        lambda m: _node(m, "Magic"),
        "operators Magic of the domain ai.onnx are not known",
    ),
    "a mask that is read otherwise": (
        lambda m: _node(m, "GroupQueryAttention", "com.microsoft"),
        "GroupQueryAttention reads the padding before a prompt as text",
    ),
    "control flow": (_branch, "control flow (If) cannot stand in a search"),
    "external data that is gone": (
        lambda m: _elsewhere(m, "weights.bin"),
        "its external data weights.bin is missing",
    ),
    "external data elsewhere": (
        lambda m: _elsewhere(m, "../weights.bin"),
        "external data ../weights.bin lies outside of its folder",
    ),
}


@pytest.mark.parametrize("kind", VIOLATIONS)
def test_each_violation_is_named(kind, handmade, checkpoints, tmp_path) -> None:
    change, said = VIOLATIONS[kind]
    file = saved(handmade, tmp_path / "step.onnx", change)
    with pytest.raises(BeamgenError) as refusal:
        export(checkpoints("gpt2"), tmp_path / "package", decoder=file)
    assert said in refusal.value.cause.split(": ", 1)[1].split("; ")
    assert not (tmp_path / "package").exists()


def test_all_violations_are_listed_at_once(handmade, checkpoints, tmp_path) -> None:
    kinds = ["a cache is not given", "one row", "another vocabulary", "an unknown domain"]

    def change(model: onnx.ModelProto) -> None:
        for kind in kinds:
            VIOLATIONS[kind][0](model)

    file = saved(handmade, tmp_path / "step.onnx", change)
    with pytest.raises(BeamgenError) as refusal:
        export(checkpoints("gpt2"), tmp_path / "package", decoder=file)
    assert sorted(refusal.value.cause.split(": ", 1)[1].split("; ")) == sorted(
        VIOLATIONS[kind][1] for kind in kinds
    )


def test_a_decoder_of_other_weights_is_told_from_the_checkpoint(checkpoints, tmp_path) -> None:
    tensors = safetensors.numpy.load_file(checkpoints("gpt2") / "model.safetensors")
    name = next(name for name in tensors if name.endswith("h.1.mlp.c_fc.weight"))
    tensors[name] = tensors[name][::-1].copy()
    config = json.loads((checkpoints("gpt2") / "config.json").read_text())
    file = saved(gpt2(tensors, config), tmp_path / "step.onnx")
    result = export(checkpoints("gpt2"), tmp_path / "package", decoder=file)
    assert result.exit_code == 3


@pytest.mark.parametrize(
    ("what", "said"),
    [("garbage.onnx", "is no ONNX model"), ("missing.onnx", "No such file"), (".", "is a folder")],
)
def test_what_is_no_decoder_file_is_refused(what, said, checkpoints, tmp_path) -> None:
    (tmp_path / "garbage.onnx").write_bytes(b"not a model")
    with pytest.raises(BeamgenError, match=said):
        export(checkpoints("gpt2"), tmp_path / "package", decoder=tmp_path / what)


@pytest.mark.parametrize(
    "options",
    [
        {"backend": "contrib"},
        {"precision": "int8"},
        {"lora_slots": ["all-linear"]},
        {"lora": ["some-lora"]},
    ],
    ids=str,
)
def test_what_a_decoder_file_cannot_do_is_refused(options, checkpoints, tmp_path) -> None:
    with pytest.raises(BeamgenError, match="--decoder was given with"):
        export(checkpoints("gpt2"), tmp_path / "package", decoder="step.onnx", **options)


def test_what_would_trace_the_checkpoint_is_refused(built, tmp_path) -> None:
    with pytest.raises(BeamgenError, match="traces the checkpoint"):
        quantize(built, tmp_path / "int8")
    with pytest.raises(BeamgenError, match="traces the checkpoint"):
        package_as(built, "genai", tmp_path / "genai")
