"""Which execution providers of the ONNX Runtime that is installed load a file."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from beamgen.errors import MissingExtraError, one_line
from beamgen.formats.text import extensions
from beamgen.inspect.description import Provider


def runtime_version() -> str:
    """Of the ONNX Runtime that is installed."""
    import onnxruntime

    return str(onnxruntime.__version__)


def try_providers(file: Path, extended: bool) -> list[Provider]:
    """Load a file with each of them.

    Args:
        file: the model.
        extended: whether it has operators of onnxruntime-extensions.
    """
    import onnxruntime

    return [_provider(file, name, extended) for name in onnxruntime.get_available_providers()]


def _provider(file: Path, name: str, extended: bool) -> Provider:
    """Load the file with it; what it leaves, the CPU takes."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    try:
        if extended:
            extensions.register(options)
        session = onnxruntime.InferenceSession(
            str(file),
            options,
            providers=list(dict.fromkeys([name, "CPUExecutionProvider"])),
            enable_fallback=0,  # it would be told on stdout
        )
    except MissingExtraError as error:
        return Provider(name, False, reason=f"{error.cause}: {error.cure}")
    except Exception as error:  # ONNX Runtime raises types of its own
        return Provider(name, False, reason=one_line(error))
    if name not in session.get_providers():
        return Provider(name, False, reason="ONNX Runtime left it out: its libraries do not load")
    counts: Counter[str] = Counter()
    for part in session.get_provider_graph_assignment_info():
        counts[part.ep_name] += len(part.get_nodes())
    return Provider(name, True, counts[name], counts.total())
