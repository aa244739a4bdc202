"""An encoder and its decoder in one file: what the loops read, and that it is HF's search."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import onnx
import onnx_ir as ir
import pytest
from support.seq2seq_grid import each_with_each
from transformers import PretrainedConfig

from beamgen import (
    GRIDS,
    DecoderAdapter,
    Package,
    adapters,
    check_parity,
    export,
    find_adapter,
    open_source,
)
from beamgen.decoder import seq2seq_step
from beamgen.decoder.export import export_decoder
from beamgen.decoder.passes.quantize import quantize
from beamgen.errors import AdapterError
from beamgen.parity.report import Verdict
from beamgen.quantization.record import BYTES
from beamgen.registry import is_encoder_decoder
from beamgen.search.loop import build_loop
from beamgen.settings.config import SearchConfig
from beamgen.settings.rules import installed_rules
from beamgen.testing import tiny_model

ENCODER_DECODERS = [each for each in adapters() if is_encoder_decoder(each) and each.needs is None]
LAYERS = 2


def test_what_cross_attention_is_asked_for_is_never_dropped(monkeypatch, tmp_path) -> None:
    """A window, which no model of today has there."""
    read = seq2seq_step.asked_by
    monkeypatch.setattr(
        seq2seq_step, "asked_by", lambda *given, **named: replace(read(*given, **named), window=5)
    )
    adapter = find_adapter("bart_seq2seq")
    with pytest.raises(AdapterError, match="more of cross-attention than a scale"):
        export_decoder(adapter, tiny_model(adapter.tiny_config()), tmp_path, seq2seq_step.loop_step)


def _graphs(graph: onnx.GraphProto) -> Iterator[onnx.GraphProto]:
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.GRAPH:
                yield from _graphs(attribute.g)


#: Of every way in which layers cross: over the interface, by themselves, written out.
KINDS = [
    "t5",
    *(pytest.param(n, marks=pytest.mark.slow) for n in ("encoder_decoder", "led")),
]


@pytest.fixture(scope="module", params=KINDS)
def loop(
    request, packages: Callable[[str], Package]
) -> tuple[onnx.ModelProto, list[onnx.GraphProto]]:
    """A file, and all graphs within its outer loop."""
    model = onnx.load(packages(request.param).model)
    (outer,) = (node for node in model.graph.node if node.op_type == "Loop")
    return model, list(_graphs(outer.attribute[0].g))


def test_the_loops_read_keys_and_values_of_the_source_and_its_mask(loop) -> None:
    model, graphs = loop
    encoded = {
        name for node in model.graph.node for name in node.output if name.startswith("encoder/")
    }
    read = {name for graph in graphs for node in graph.node for name in node.input} & encoded
    assert len(read) == 2 * LAYERS + 1, read


def test_no_step_computes_again_what_the_source_alone_decides(loop) -> None:
    """Each node within the loops that reads a value of the encoder reads something else, too."""
    model, graphs = loop
    fixed = {name for node in model.graph.node for name in node.output}
    fixed |= {value.name for value in [*model.graph.input, *model.graph.initializer]}
    fixed |= {tensor.name for graph in graphs for tensor in graph.initializer}
    repeated = [
        node.name
        for graph in graphs
        for node in graph.node
        if any(name.startswith("encoder/") for name in node.input)
        and all(name in fixed for name in node.input if name)
    ]
    assert repeated == []


def test_the_encoders_weights_stand_before_the_loops(packages) -> None:
    model = onnx.load(packages("t5").model)
    (outer,) = (node for node in model.graph.node if node.op_type == "Loop")
    graphs = list(_graphs(outer.attribute[0].g))

    def large(graph: onnx.GraphProto) -> list[str]:
        """Matrices: vectors of one content are one vector, be they the encoder's or not."""
        matrices = [t.name for t in graph.initializer if len(t.dims) == 2]
        return [name for name in matrices if name.startswith("model.encoder.")]

    # of each layer four projections and two products of the feed-forward part, and the bias
    assert len(large(model.graph)) == LAYERS * 6 + 1
    assert [name for graph in graphs for name in large(graph)] == []


def test_a_lora_in_the_encoder_acts_before_the_loops(slotted: Callable[..., Package]) -> None:
    """And so do those of the products that make keys and values of what it gives."""
    package = slotted("t5")
    model = onnx.load(package.model)
    (outer,) = (node for node in model.graph.node if node.op_type == "Loop")
    inside = [node for graph in _graphs(outer.attribute[0].g) for node in graph.node]
    slots = {slot.inputs[0]: slot.module for slot in package.manifest.lora_slots}

    def filled(nodes: Iterable[onnx.NodeProto]) -> set[str]:
        return {slots[name] for node in nodes for name in node.input if name in slots}

    once, in_steps = filled(model.graph.node), filled(inside)
    assert once | in_steps == set(slots.values())
    assert once.isdisjoint(in_steps)
    crossing = {
        name for name in slots.values() if name.endswith(("EncDecAttention.k", "EncDecAttention.v"))
    }
    assert once == {name for name in slots.values() if name.startswith("encoder.")} | crossing
    assert len(crossing) == 2 * LAYERS


@pytest.mark.parametrize(
    "precision",
    ["int8", *(pytest.param(name, marks=pytest.mark.slow) for name in ("w16", "fp16", "int4"))],
)
def test_a_rounded_table_is_stored_once(precision: str, tmp_path: Path) -> None:
    """Encoder, decoder and head read one tensor; small ones may stand in a body and before it."""
    adapter = find_adapter("t5")
    config = adapter.tiny_config()
    config.vocab_size = 3000
    decoder = export_decoder(adapter, tiny_model(config), tmp_path, every_expert=True)
    record = quantize(decoder.model, precision, "u8" if precision in BYTES else "auto")
    assert "shared.weight" in record.quantized
    search = SearchConfig((1,), 0)
    built = build_loop(decoder, search, installed_rules(), start=(0,))
    tensors = [value for graph in built.graphs() for value in graph.initializers.values()]
    tables = [value for value in tensors if value.name.startswith("model.shared.weight.")]
    large = [value for value in tables if value.const_value.nbytes > 3000 * 4]
    rows = {"w16": [64, 64], "fp16": [2 * 64], "int8": [64], "int4": [64]}[precision]
    assert [value.const_value.nbytes for value in large if "scales" not in value.name] == [
        3000 * row for row in rows
    ]
    floats = [value for value in tensors if value.dtype == ir.DataType.FLOAT]
    assert all(
        len(value.shape) < 2 or value.shape[0] < 100 or "scales" in value.name for value in floats
    )
    # each of the encoder's products reads rounded weights, and what the cross-attention reads
    lifted = {node.op_type for node in built.graph if node.name.startswith("encoder/")}
    assert (precision == "fp16") == ("MatMulInteger" not in lifted and "MatMulNBits" not in lifted)


def _hold(adapter: DecoderAdapter, config: PretrainedConfig, grids, seed: int, to: Path) -> None:
    """Every case of some grids is exact, but for one near-tie at most; each with its number."""
    tiny_model(config, seed).save_pretrained(to / "checkpoint")
    made = export(to / "checkpoint", to / "package", parity=False, settings={"num_beams": 4})
    for grid, cases in grids:
        report = check_parity(made.package, open_source(made.package), grid=grid, seed=seed)
        assert len(report.results) == cases
        wrong = [each for each in report.results if each.verdict is not Verdict.EXACT]
        told = [(each.case.title, each.partings) for each in wrong]
        assert {each.verdict for each in wrong} <= {Verdict.NEAR_TIE}, told
        assert len(wrong) <= 1, told


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*will take features only")
@pytest.mark.parametrize("adapter", ENCODER_DECODERS, ids=lambda adapter: adapter.name)
def test_every_search_is_hfs(adapter, tmp_path: Path) -> None:
    """243 searches that differ in what decides them, settings in pairs, and longer prompts."""
    grids = ((each_with_each, 243), (GRIDS["settings"], 140), (GRIDS["full"], 96))
    _hold(adapter, adapter.tiny_config(), grids, 0, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(1, 6))
@pytest.mark.parametrize("name", ["t5", "bart_seq2seq", "m2m_100"])
def test_so_it_is_for_other_weights_and_prompts(name: str, seed: int, tmp_path: Path) -> None:
    adapter = find_adapter(name)
    grids = ((each_with_each, 243), (GRIDS["settings"], 140))
    _hold(adapter, adapter.tiny_config(), grids, seed, tmp_path)


@pytest.mark.slow
def test_experts_leave_out_what_is_too_much_for_them(tmp_path: Path) -> None:
    """Of a source, and of a decoder's prompt; the tiny config's have room for all tokens."""
    adapter = find_adapter("switch_transformers")
    config = adapter.tiny_config()
    config.expert_capacity = 2
    _hold(adapter, config, ((each_with_each, 243), (GRIDS["settings"], 140)), 0, tmp_path)
