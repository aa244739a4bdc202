"""Slots: which layers get one, what a LoRA in them computes, and what does not fit."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from support.architectures import ARCHITECTURES
from support.onnx_functions import run

from beamgen import BeamgenError, Lora, Slot, find_adapter
from beamgen.decoder.add_lora import AddLora, AddLoraToTokens
from beamgen.decoder.export import export_decoder
from beamgen.export.teacher_forcing import TeacherForcing
from beamgen.lora.adapter_file import read_adapter, write_adapter
from beamgen.lora.fit import check_fits, misfits
from beamgen.lora.targets import find_slots
from beamgen.runtime.loras import LoadedLoras, slot_tensors
from beamgen.testing import tiny_model

SLOTS = (Slot("h.0.fc", 6, 5), Slot("h.1.fc", 6, 5), Slot("h.0.proj", 5, 6))


def _lora(modules: dict[str, int], seed: int = 0) -> Lora:
    """Random weights of these ranks."""
    random = np.random.default_rng(seed)
    sizes = {slot.module: slot for slot in SLOTS}
    return Lora(
        "somewhere",
        {
            module: (
                random.standard_normal((sizes[module].in_features, rank)).astype(np.float32),
                random.standard_normal((rank, sizes[module].out_features)).astype(np.float32),
            )
            for module, rank in modules.items()
        },
    )


@pytest.mark.parametrize("rank", [0, 1, 9])
@pytest.mark.parametrize("rows", [1, 3])
def test_add_lora_adds_x_a_b(rank: int, rows: int) -> None:
    random = np.random.default_rng(0)
    output, x, a, b = (
        random.standard_normal(shape).astype(np.float32)
        for shape in ((3, 4, 5), (3, 4, 6), (rows, 6, rank), (rows, rank, 5))
    )
    (found,) = run(AddLora, output, x, a, b)
    np.testing.assert_allclose(found, output + x @ a @ b, atol=1e-5)


@pytest.mark.parametrize("tokens", [0, 3])
@pytest.mark.parametrize("rank", [0, 2])
def test_tokens_without_their_rows_get_one_lora(rank: int, tokens: int) -> None:
    """As an expert is fed, to which no token may go."""
    random = np.random.default_rng(0)
    output, x, a, b = (
        random.standard_normal(shape).astype(np.float32)
        for shape in ((tokens, 5), (tokens, 6), (1, 6, rank), (1, rank, 5))
    )
    (found,) = run(AddLoraToTokens, output, x, a, b)
    np.testing.assert_allclose(found, output + x @ a[0] @ b[0], atol=1e-5)


def test_a_layer_that_is_fed_tokens_alone_takes_a_lora(tmp_path: Path) -> None:
    """OPT flattens what its fc1 reads; against HF with A and B added to the weights by hand."""
    adapter = find_adapter("opt")
    model = tiny_model(adapter.tiny_config())
    slots = find_slots(model, ["fc1", "q_proj"])
    ids, random = np.array([[5, 9, 7], [11, 12, 13]]), np.random.default_rng(0)
    loras = {
        slot: (
            random.standard_normal((slot.in_features, 2)).astype(np.float32) / 3,
            random.standard_normal((2, slot.out_features)).astype(np.float32) / 3,
        )
        for slot in slots
    }
    decoder = export_decoder(adapter, model, tmp_path, slots=slots)
    assert [slot.shared for slot in decoder.slots] == [
        slot.module.endswith("fc1") for slot in decoder.slots
    ]
    runner = TeacherForcing(decoder, tmp_path)
    base = runner.logits(ids)
    for slot, pair in loras.items():
        runner._no_lora |= dict(zip(slot.inputs, (each[None] for each in pair), strict=True))
    found = runner.logits(ids)
    merged = tiny_model(adapter.tiny_config())
    with torch.no_grad():
        plain = merged(torch.from_numpy(ids)).logits.numpy()
        for slot, (a, b) in loras.items():
            merged.get_submodule(slot.module).weight += torch.from_numpy((a @ b).T)
        expected = merged(torch.from_numpy(ids)).logits.numpy()
    np.testing.assert_allclose(base, plain, atol=1e-3)
    np.testing.assert_allclose(found, expected, atol=1e-3)
    assert np.abs(expected - plain).max() > 0.1


def test_a_layer_that_is_never_run_takes_no_lora(tmp_path: Path) -> None:
    """BART's decoder alone has cross-attention, without anything to attend to."""
    adapter = find_adapter("bart")
    slots = find_slots(tiny_model(adapter.tiny_config()), ["all-linear"])
    with pytest.raises(
        BeamgenError,
        match=r"never runs model\.decoder\.layers\.0\.encoder_attn"
        r"\.k_proj and 7 other layers",
    ) as refused:
        export_decoder(adapter, tiny_model(adapter.tiny_config()), tmp_path, slots=slots)
    _, _, named = (refused.value.cure or "").partition("--lora-slots ")
    targets = named.partition(", or --lora without")[0].split(",")
    assert targets == ["fc1", "fc2", *(f"self_attn.{each}_proj" for each in ("k", "out", "q", "v"))]
    model = tiny_model(adapter.tiny_config())
    decoder = export_decoder(adapter, model, tmp_path, slots=find_slots(model, targets))
    assert len(decoder.slots) == 12


def test_a_layer_that_no_logit_depends_on_takes_no_lora(tmp_path: Path) -> None:
    """BERT's pooler runs, and an encoder-decoder does not read what it says."""
    adapter = find_adapter("encoder_decoder")
    slots = find_slots(tiny_model(adapter.tiny_config()), ["pooler.dense", "query"])
    with pytest.raises(
        BeamgenError, match=r"no logit depends on encoder\.pooler\.dense:"
    ) as refused:
        export_decoder(adapter, tiny_model(adapter.tiny_config()), tmp_path, slots=slots)
    assert "--lora-slots" in (refused.value.cure or "")


def test_rows_have_no_loras_of_their_own_in_a_shared_slot(tmp_path: Path) -> None:
    """Refused by the layer's name, where one of them changes it."""
    slots = (replace(SLOTS[0], shared=True), SLOTS[1])
    for name, module in (("expert", "h.0.fc"), ("plain", "h.1.fc")):
        write_adapter(_lora({module: 2}), tmp_path / f"{name}.onnx_adapter")
    package = SimpleNamespace(
        manifest=SimpleNamespace(lora_slots=slots, backend="loop"),
        lora_path=lambda name: tmp_path / f"{name}.onnx_adapter",
    )
    loras = LoadedLoras(package)
    assert loras.feeds(["plain", None], 2)["h.1.fc.lora_A.weight"].shape == (2, 6, 2)
    assert loras.feeds("expert", 2)["h.0.fc.lora_A.weight"].shape == (1, 6, 2)
    with pytest.raises(BeamgenError, match=r"h\.0\.fc takes one LoRA for all prompts") as error:
        loras.feeds(["plain", "expert"], 2)
    assert "a call of its own" in error.value.cure
    assert Slot(**slots[0].to_json()) == slots[0]
    assert "shared" not in slots[1].to_json()


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_all_linear_are_all_but_the_head(name: str) -> None:
    """As peft's own ``all-linear`` has it."""
    import peft

    model = tiny_model(find_adapter(name).tiny_config())
    slots = find_slots(model, ["all-linear"])
    config = peft.LoraConfig(r=2, target_modules="all-linear", task_type="CAUSAL_LM")
    adapted = peft.get_peft_model(model, config).get_base_model()
    layers = {
        module_name: module
        for module_name, module in adapted.named_modules()
        if isinstance(module, peft.tuners.lora.LoraLayer)
    }
    assert {slot.module for slot in slots} == set(layers)
    for slot in slots:
        layer = layers[slot.module]
        sizes = layer.lora_A["default"].in_features, layer.lora_B["default"].out_features
        assert (slot.in_features, slot.out_features) == sizes


def test_targets_are_named_as_in_peft() -> None:
    model = tiny_model(find_adapter("gpt2").tiny_config())

    def found(*targets: str) -> list[str]:
        return [slot.module.removeprefix("transformer.h.") for slot in find_slots(model, targets)]

    assert found("c_attn") == ["0.attn.c_attn", "1.attn.c_attn"]
    assert found("mlp.c_proj") == ["0.mlp.c_proj", "1.mlp.c_proj"]
    assert found("transformer.h.1.mlp.c_fc", "c_attn") == [
        "0.attn.c_attn",
        "1.attn.c_attn",
        "1.mlp.c_fc",
    ]
    assert found("lm_head") == ["lm_head"]
    assert len(found("all-linear", "lm_head")) == 1 + len(found("all-linear"))
    with pytest.raises(BeamgenError, match=r"'c_atn' is no linear layer.*\ndid you mean c_attn"):
        find_slots(model, ["c_atn"])
    with pytest.raises(BeamgenError, match=r"'wte' is no linear layer"):
        find_slots(model, ["wte"])


def test_a_lora_of_some_layers_fits() -> None:
    check_fits(_lora({"h.1.fc": 3}), SLOTS)
    check_fits(_lora({"h.1.fc": 3, "h.0.proj": 1}), SLOTS)


def test_what_does_not_fit_is_named() -> None:
    wide = Lora("w", {"h.0.fc": (np.ones((7, 2), np.float32), np.ones((2, 4), np.float32))})
    assert misfits(wide, SLOTS) == [
        "h.0.fc.lora_A.weight takes 7 features, the layer 6",
        "h.0.fc.lora_B.weight gives 4 features, the layer 5",
    ]
    with pytest.raises(BeamgenError, match=r"trained on the package's base model"):
        check_fits(wide, SLOTS)
    other = Lora("o", {"h.0.gate": (np.ones((6, 2), np.float32), np.ones((2, 5), np.float32))})
    with pytest.raises(BeamgenError, match=r"gate.lora_A.weight has no slot.*\n.*all-linear"):
        check_fits(other, SLOTS)
    stranger = Lora("s", {"layers.0.q": other.weights["h.0.gate"]})
    with pytest.raises(BeamgenError, match=r"q.lora_A.weight has no slot.*\ntake a LoRA"):
        check_fits(stranger, SLOTS)
    with pytest.raises(BeamgenError, match=r"\nexport the checkpoint with --lora-slots"):
        check_fits(other, ())


def test_rows_with_their_own_loras_are_filled_up_to_one_rank() -> None:
    one, two = _lora({"h.0.fc": 2}), _lora({"h.0.fc": 5, "h.0.proj": 1}, seed=1)
    a, b = slot_tensors(SLOTS[0], [one, None, two])
    assert a.shape == (3, 6, 5)
    assert b.shape == (3, 5, 5)
    for row, lora in enumerate((one, None, two)):
        expected = 0.0 if lora is None else np.matmul(*lora.weights["h.0.fc"])
        np.testing.assert_allclose(a[row] @ b[row], expected, atol=1e-6)
    assert slot_tensors(SLOTS[1], [one, None, two])[0].shape == (1, 6, 0), "no one changes h.1.fc"
    assert slot_tensors(SLOTS[0], [None])[1].shape == (1, 0, 5)


def test_one_lora_for_all_rows_is_not_copied() -> None:
    """It may be large, and is fed with every call."""
    lora = _lora({"h.0.fc": 2})
    for fed, own in zip(slot_tensors(SLOTS[0], [lora]), lora.weights["h.0.fc"], strict=True):
        assert fed.shape == (1, *own.shape)
        assert np.shares_memory(fed, own)


def test_a_file_gives_back_what_was_written(tmp_path: Path) -> None:
    lora, path = _lora({"h.0.fc": 4, "h.1.fc": 9}), tmp_path / "x.onnx_adapter"
    write_adapter(lora, path)
    found = read_adapter(path)
    assert found.ranks == [4, 9]
    assert found.targets == {"fc": 2}
    for module, pair in lora.weights.items():
        for tensor, expected in zip(found.weights[module], pair, strict=True):
            np.testing.assert_array_equal(tensor, expected)
    assert [path.name for path in tmp_path.iterdir()] == ["x.onnx_adapter"]


def _save(path: Path, **tensors: np.ndarray) -> Path:
    """Any tensors in ONNX Runtime's format; ``__`` stands for a dot."""
    file = onnxruntime.AdapterFormat()
    values = {
        name.replace("__", "."): onnxruntime.OrtValue.ortvalue_from_numpy(tensor)
        for name, tensor in tensors.items()
    }
    file.set_parameters(values)
    file.export_adapter(str(path))
    return path


ONES = np.ones((6, 2), np.float32)


@pytest.mark.parametrize(
    ("tensors", "named"),
    [
        ({"h__lora_A__weight": ONES}, "h.lora_B.weight is missing"),
        ({"h__lora_A__quant__weight": ONES}, "is quantized (olive --quantize_int4)"),
        (
            {"model__layers__0__attn__q_proj__lora_A__MatMul__weight": ONES},
            "named for onnxruntime-genai's model builder",
        ),
        ({"anything": ONES}, "anything is no lora_A.weight or lora_B.weight"),
        ({"h__lora_A__weight": np.ones((2, 6, 2), np.float32)}, "has shape [2, 6, 2]"),
    ],
)
def test_other_tensors_are_refused_by_name(tensors: dict, named: str, tmp_path: Path) -> None:
    path = _save(tmp_path / "x.onnx_adapter", **tensors)
    with pytest.raises(BeamgenError) as caught:
        read_adapter(path)
    assert named in caught.value.cause


@pytest.mark.parametrize("cut", [0, 10, -8])
def test_a_damaged_file(cut: int, tmp_path: Path) -> None:
    path = tmp_path / "x.onnx_adapter"
    write_adapter(_lora({"h.0.fc": 4}), path)
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(BeamgenError, match=r"is no .onnx_adapter file, or damaged"):
        read_adapter(path)


def test_an_onnx_model_is_no_adapter(tmp_path: Path) -> None:
    path = tmp_path / "x.onnx_adapter"
    onnx.save(onnx.helper.make_model(onnx.helper.make_graph([], "g", [], [])), path)
    with pytest.raises(BeamgenError, match=r"is no .onnx_adapter file, or damaged"):
        read_adapter(path)
    with pytest.raises(BeamgenError, match=r"there is no file"):
        read_adapter(tmp_path / "y.onnx_adapter")
