"""ONNX Runtime sessions over graphs that were changed in memory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import onnx_ir as ir

from beamgen.lora.adapter_file import read_adapter
from beamgen.lora.slots import Floats, slot_feeds
from beamgen.package import Package


def session_of(model: ir.Model, folder: Path) -> Any:
    """A session over a graph whose external data, if any, lies in ``folder``."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.add_session_config_entry(
        "session.model_external_initializers_file_folder_path", str(folder)
    )
    return onnxruntime.InferenceSession(
        ir.to_proto(model).SerializeToString(), options, providers=["CPUExecutionProvider"]
    )


def lora_tensors(package: Package, lora: str | None) -> dict[str, Floats]:
    """What a graph's slots are fed for a LoRA of the package, or for none."""
    chosen = None if lora is None else read_adapter(package.lora_path(lora))
    return slot_feeds([chosen], package.manifest.lora_slots)
