"""optimum's exporter and torch's alone write the same bytes, so that either may be used."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from support.architectures import ARCHITECTURES

from beamgen import find_adapter
from beamgen.decoder import trace
from beamgen.decoder.contrib_step import ContribStep
from beamgen.decoder.loop_step import LoopStep
from beamgen.decoder.single_step import SingleStep
from beamgen.decoder.traced_step import TracedStep
from beamgen.lora.targets import ALL_LINEAR, find_slots
from beamgen.testing import tiny_model

pytestmark = pytest.mark.transformers_4  # optimum-onnx 0.1 runs with no other


def _step(name: str, make_step: type[TracedStep], with_slots: bool) -> TracedStep:
    adapter = find_adapter(name)
    model = tiny_model(adapter.tiny_config())
    slots = find_slots(model, [ALL_LINEAR]) if with_slots else ()
    return make_step(adapter, model, slots).eval()


@pytest.mark.parametrize("with_slots", [False, True], ids=["plain", "slots"])
@pytest.mark.parametrize("make_step", [LoopStep, ContribStep, SingleStep])
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_both_exporters_write_the_same_bytes(
    name: str, make_step: type[TracedStep], with_slots: bool, tmp_path: Path
) -> None:
    assert importlib.util.find_spec("optimum.exporters.onnx.config"), (
        "or torch is compared to torch"
    )
    trace.trace(_step(name, make_step, with_slots), tmp_path / "optimum.onnx")
    with trace.quiet(), torch.no_grad():
        trace.trace_with_torch(_step(name, make_step, with_slots), tmp_path / "torch.onnx")
    written = (tmp_path / "torch.onnx").read_bytes()
    assert written == (tmp_path / "optimum.onnx").read_bytes()
    assert len(written) > 100_000, "the weights are in it"


def test_optimum_is_the_exporter_where_it_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from beamgen.decoder import optimum_trace

    used: list[str] = []

    def spy(name: str) -> Callable[..., None]:
        return lambda *_: used.append(name)

    monkeypatch.setattr(optimum_trace, "trace_with_optimum", spy("optimum"))
    monkeypatch.setattr(trace, "trace_with_torch", spy("torch"))
    step = _step("gpt2", LoopStep, with_slots=False)
    trace.trace(step, tmp_path / "a.onnx")
    monkeypatch.setitem(sys.modules, "beamgen.decoder.optimum_trace", None)
    trace.trace(step, tmp_path / "b.onnx")
    assert used == ["optimum", "torch"]
