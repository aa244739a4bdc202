"""A decoder in float16 arithmetic keeps its types, and nearly its answers.

On the CPU, which has no products of float16: ONNX Runtime casts around them. What a GPU makes of
such a file is not shown here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import pytest
from support.architectures import ARCHITECTURES
from support.half_decoder import compute_in_half

from beamgen import Generator, Package, find_adapter
from beamgen.checkpoint.checkpoint import demo_checkpoint
from beamgen.decoder.export import export_decoder
from beamgen.export.teacher_forcing import TeacherForcing
from beamgen.export.texts import texts_of
from beamgen.quantization.record import Wanted
from beamgen.search.loop import build_loop

HALF, WHOLE = onnx.TensorProto.FLOAT16, onnx.TensorProto.FLOAT


def _graphs(graph: onnx.GraphProto) -> Iterator[onnx.GraphProto]:
    yield graph
    for attribute in (attribute for node in graph.node for attribute in node.attribute):
        if attribute.HasField("g"):
            yield from _graphs(attribute.g)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_file_that_computes_in_float16(
    architecture: str,
    demos: Callable[[str], Package],
    tmp_path: Path,
    record_property: Callable[[str, object], None],
) -> None:
    adapter, package = find_adapter(architecture), demos(architecture)
    checkpoint = demo_checkpoint(adapter)
    whole, half = (
        export_decoder(adapter, checkpoint.load_merged(), _folder(tmp_path / name))
        for name in ("whole", "half")
    )
    compute_in_half(half)
    assert half.cache_dtype == ir.DataType.FLOAT16

    model = ir.to_proto(build_loop(half, package.manifest.search, package.manifest.rules))
    onnx.checker.check_model(model)
    inferred = onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True)
    types = {
        value.name: value.type.tensor_type.elem_type
        for graph in _graphs(inferred.graph)
        for value in [*graph.input, *graph.output, *graph.value_info]
    }
    caches = [name for name in types if name.startswith(("chunks/prompt.", "steps/past."))]
    assert len(caches) == 4 * half.geometry.num_layers
    assert {types[name] for name in caches} == {HALF}
    assert types["sequences_scores"] == WHOLE
    weights = [
        tensor
        for graph in _graphs(model.graph)
        for tensor in graph.initializer
        if tensor.data_type in (HALF, WHOLE) and np.prod(tensor.dims) > 1000
    ]
    assert {tensor.data_type for tensor in weights} == {HALF}

    texts = texts_of(Wanted("fp16"), checkpoint, adapter)
    assert texts is not None
    differences, alike = [], []
    runners = TeacherForcing(whole, tmp_path / "whole"), TeacherForcing(half, tmp_path / "half")
    for row in texts.rows[:64]:
        expected, found = (runner.logits(np.array([row])) for runner in runners)
        assert found.dtype == np.float32
        differences.append(np.abs(found - expected).max())
        alike.append((found.argmax(-1) == expected.argmax(-1)).mean())

    file = tmp_path / "model.onnx"
    onnx.save(model, file)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    best = []
    generators = Generator(package), Generator(package, session=session)
    for number, row in enumerate(texts.rows[:60]):
        settings = {"num_beams": 1 + number % 5, "max_new_tokens": 8 + number % 25}
        prompts = [list(row[: 1 + number % 12]), list(row[:5])]
        expected, found = (generator.generate(prompts, **settings) for generator in generators)
        best += [a[0].token_ids == b[0].token_ids for a, b in zip(expected, found, strict=True)]
    record_property("best hypotheses equal", f"{sum(best)} of {len(best)}")
    record_property("largest difference of a logit", float(max(differences)))
    record_property("likeliest token equal", float(np.mean(alike)))
    assert max(differences) < 0.1
    assert sum(best) >= 0.95 * len(best)


def _folder(path: Path) -> Path:
    path.mkdir()
    return path
