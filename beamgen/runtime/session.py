"""ONNX Runtime sessions over graphs that were changed in memory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import onnx_ir as ir


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
