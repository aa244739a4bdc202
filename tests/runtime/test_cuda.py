"""The CUDA provider runs the loop file. Unproven where there is no GPU: these tests skip."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from time import perf_counter

import numpy as np
import onnxruntime
import pytest
from onnx import TensorProto, helper
from support.architectures import ARCHITECTURES
from support.pages import read_page, table_below

from beamgen import Generator, Package

CUDA, CPU = "CUDAExecutionProvider", "CPUExecutionProvider"
#: With its default, TF32, products round to ten bits, and no answer is float32's.
EXACT = [(CUDA, {"use_tf32": "0"}), CPU]

SETTINGS = {"num_beams": 5, "num_return_sequences": 5}
#: The second is padded, and its padding sees nothing: 4 entries, of which CUDA's attention by
#: CUTLASS takes multiples of 4 alone.
PROMPTS = [[5, 6, 7, 8], [9, 10]]


def _there_is_a_gpu() -> bool:
    """ONNX Runtime names the provider wherever it was built with it, GPU or not."""
    if CUDA not in onnxruntime.get_available_providers():
        return False
    ports = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in "xy"]
    graph = helper.make_graph([helper.make_node("Abs", ["x"], ["y"])], "g", ports[:1], ports[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 23)], ir_version=10)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=[CUDA, CPU])
    return CUDA in session.get_providers()


pytestmark = pytest.mark.skipif(
    not _there_is_a_gpu(),
    reason="unproven here: that CUDA runs a loop file, with the CPU's tokens "
    "(needs a GPU and onnxruntime-gpu, see docs/cuda.md)",
)


def _on_gpu(package: Package, *, profile: Path | None = None) -> Generator:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    if profile is not None:
        options.enable_profiling, options.profile_file_prefix = True, str(profile)
    session = onnxruntime.InferenceSession(str(package.model), options, providers=EXACT)
    assert session.get_providers()[0] == CUDA
    return Generator(package, session=session)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_cuda_gives_the_tokens_of_the_cpu(
    architecture: str, packages: Callable[[str], Package]
) -> None:
    package = packages(architecture)
    expected, found = (
        generator.generate(PROMPTS, **SETTINGS, max_new_tokens=24)
        for generator in (Generator(package), _on_gpu(package))
    )
    for row, other in zip(expected, found, strict=True):
        assert [g.token_ids for g in other] == [g.token_ids for g in row]
        scores = [[g.score for g in rows] for rows in (other, row)]
        np.testing.assert_allclose(*scores, rtol=1e-3)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_nothing_but_what_the_page_names_stays_on_the_cpu(
    architecture: str, packages: Callable[[str], Package]
) -> None:
    session = _on_gpu(packages(architecture)).session
    rows = table_below(read_page("docs/cuda.md"), "What stays on the CPU")
    named = {name.strip("` ") for row in rows for name in row[0].split(",")}
    left = {
        node.op_type
        for part in session.get_provider_graph_assignment_info()
        for node in part.get_nodes()
        if part.ep_name == CPU
    }
    assert left <= named


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_what_a_step_runs_and_takes(
    architecture: str,
    packages: Callable[[str], Package],
    tmp_path: Path,
    record_property: Callable[[str, object], None],
) -> None:
    """Nodes, copies and ms of a step, by two lengths; none of a layer's work is on the CPU."""
    package = packages(architecture)

    def runs(new: int) -> Counter[tuple[str, str]]:
        generator = _on_gpu(package, profile=tmp_path / f"{new}")
        generator.generate(PROMPTS, **SETTINGS, max_new_tokens=new, eos_token_id=[])
        events = json.loads(Path(generator.session.end_profiling()).read_text(encoding="utf-8"))
        return Counter(
            (event["args"]["provider"], event["args"]["op_name"])
            for event in events
            if event["name"].endswith("_kernel_time")
        )

    short, long = runs(9), runs(25)
    step = {key: (long[key] - short[key]) / 16 for key in long if long[key] > short[key]}
    assert not {"MatMul", "Gemm", "Attention", "LayerNormalization", "TopK"} & {
        operator for provider, operator in step if provider == CPU
    }
    assert step[CUDA, "Attention"] >= 1

    timed = _on_gpu(package)
    seconds = []
    for new in (9, 25, 9, 25):
        begin = perf_counter()
        timed.generate(PROMPTS, **SETTINGS, max_new_tokens=new, eos_token_id=[])
        seconds.append(perf_counter() - begin)
    for provider in (CUDA, CPU):
        nodes = sum(count for (where, _), count in step.items() if where == provider)
        record_property(f"{architecture}: nodes a step, {provider}", nodes)
    for copy in ("MemcpyToHost", "MemcpyFromHost"):
        record_property(f"{architecture}: {copy} a step", step.get((CUDA, copy), 0))
    record_property(f"{architecture}: ms a step", 1e3 * (seconds[3] - seconds[2]) / 16)
