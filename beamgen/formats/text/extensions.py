"""The library of operators that a graph with a tokenizer needs besides ONNX Runtime."""

from __future__ import annotations

from typing import TYPE_CHECKING

from beamgen.errors import MissingExtraError

if TYPE_CHECKING:
    import onnxruntime

#: Their domain.
DOMAIN = "ai.onnx.contrib"


def register(options: onnxruntime.SessionOptions) -> None:
    """Let sessions with these options find onnxruntime-extensions.

    Raises:
        MissingExtraError: it is not installed.
    """
    try:
        from onnxruntime_extensions import get_library_path
    except ImportError as error:
        raise MissingExtraError("text in the graph", "text", "onnxruntime-extensions") from error
    options.register_custom_ops_library(get_library_path())
