"""Checks of what was written: Triton takes it, and joined requests get the package's answers."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from beamgen.errors import one_line
from beamgen.formats.format import Check
from beamgen.formats.triton.plan import Plan
from beamgen.formats.triton.ports import Ports
from beamgen.formats.triton.requests import Request, join
from beamgen.formats.triton.rules import broken_rules


def parse(text: str) -> Any:
    """``config.pbtxt`` as Triton's protobuf reads it.

    Raises:
        ImportError: tritonclient is not installed.
        google.protobuf.text_format.ParseError: it is no model configuration.
    """
    from google.protobuf import text_format
    from tritonclient.grpc import model_config_pb2

    return text_format.Parse(text, model_config_pb2.ModelConfig())


def check_config(text: str, name: str, ports: Ports) -> Check:
    """Read ``config.pbtxt`` with Triton's protobuf and hold it against the file."""
    what = "config.pbtxt fits model.onnx by the rules of Triton's ONNX Runtime backend"
    try:
        parsed = parse(text)
    except ImportError as error:
        return Check(
            f"{what}: the package '{error.name}' is not installed (pip install 'beamgen[triton]')",
            None,
        )
    except Exception as error:  # protobuf raises types of its own
        return Check(f"{what}: it cannot be parsed: {one_line(error)}", False)
    broken = broken_rules(parsed, name, ports)
    by = f"parsed with tritonclient {metadata.version('tritonclient')}"
    return Check(f"{what}, {by}" + (f": {'; '.join(broken)}" if broken else ""), not broken)


def check_joined(session: Any, requests: Sequence[Request], plan: Plan) -> Check:
    """Run requests as one batch, as Triton's backend does, and split the answers."""
    import onnxruntime

    lengths = sorted({request.given["input_ids"].shape[1] for request in requests})
    what = (
        f"{len(requests)} requests with settings of their own, prompts of "
        f"{', '.join(map(str, lengths))} tokens, in one run of ONNX Runtime "
        f"{onnxruntime.__version__} get what each gets alone"
    )
    names = [output.name for output in session.get_outputs()]
    answers = dict(zip(names, session.run(names, join(requests, plan)), strict=True))
    for row, request in enumerate(requests):
        wrong = request.differs({name: array[row : row + 1] for name, array in answers.items()})
        if wrong:
            return Check(f"{what}: {wrong} of request {row} is another", False)
    return Check(what, True)


def load(path: Path) -> Any:
    """An ONNX Runtime session, which is how Triton would open it."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
