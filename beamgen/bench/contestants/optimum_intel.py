"""optimum-intel's ``OVModel``: HF's search over a stateful OpenVINO decoder."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from beamgen.bench.contestant import Contestant, Preparation, Search
from beamgen.bench.hf_search import hf_search
from beamgen.bench.workload import Task
from beamgen.bench.workspace import Workspace

#: What keeps OpenVINO from computing, and from caching, in fewer bits than it was given.
EXACT = {"INFERENCE_PRECISION_HINT": "f32", "KV_CACHE_PRECISION": "f32"}


def _model_class(workspace: Workspace) -> Any:
    from optimum.intel import OVModelForCausalLM, OVModelForSeq2SeqLM

    return OVModelForSeq2SeqLM if workspace.has_encoder else OVModelForCausalLM


def _prepare(bits: int | None) -> Preparation:
    def prepare(workspace: Workspace, folder: Path) -> None:
        from optimum.intel import OVWeightQuantizationConfig

        options: dict[str, Any] = {"load_in_8bit": False}
        if bits is not None:
            options = {"quantization_config": OVWeightQuantizationConfig(bits=bits)}
        if workspace.has_encoder:
            # with a state, its export of encoder-decoders fails in OpenVINO 2026.4
            options["stateful"] = False
        model = _model_class(workspace).from_pretrained(
            workspace.checkpoint,
            export=True,
            compile=False,
            trust_remote_code=workspace.trust_remote_code,
            **options,
        )
        model.save_pretrained(folder)

    return prepare


def _load(files: str, settings: dict[str, str]) -> Callable[[Workspace, Task], Search]:
    def load(workspace: Workspace, task: Task) -> Search:
        model = _model_class(workspace).from_pretrained(
            workspace.files(files),
            trust_remote_code=workspace.trust_remote_code,
            ov_config={"INFERENCE_NUM_THREADS": str(task.threads), **settings},
        )
        return hf_search(model, task, workspace)

    return load


def _contestant(name: str, files: str, precision: str, settings: dict[str, str]) -> Contestant:
    return Contestant(
        name=name,
        load=_load(files, settings),
        needs=(files,),
        requires=("optimum-intel", "openvino", "nncf", "torch"),
        transformers="4.57",
        precision=precision,
        encoders=True,
    )


PREPARATIONS: dict[str, Preparation] = {
    "openvino": _prepare(None),
    "openvino-int8": _prepare(8),
}
CONTESTANTS = (
    _contestant("optimum-intel", "openvino", "float32", EXACT),
    _contestant("optimum-intel-default", "openvino", "default", {}),
    _contestant("optimum-intel-int8", "openvino-int8", "int8", {}),
)
