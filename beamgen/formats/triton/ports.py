"""The inputs and outputs of a file, as ONNX Runtime reports them to Triton's backend."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from beamgen.formats.triton.config import Ported

#: How long the prompts are, where they follow one another in ``input_ids``.
PROMPT_LENGTHS = "prompt_lengths"


@dataclass(frozen=True)
class Ports:
    """Inputs and outputs of a file by name, in its order.

    Attributes:
        inputs: those that have to be fed.
        defaults: those that need not be.
        outputs: what comes out.
    """

    inputs: dict[str, Ported]
    defaults: dict[str, Ported]
    outputs: dict[str, Ported]


def ports_of(session: Any) -> Ports:
    """The inputs and outputs of an ONNX Runtime session."""
    return Ports(
        _ported(session.get_inputs()),
        _ported(session.get_overridable_initializers()),
        _ported(session.get_outputs()),
    )


def _ported(values: Iterable[Any]) -> dict[str, Ported]:
    return {
        value.name: (
            value.type.removeprefix("tensor(").removesuffix(")"),
            tuple(size if isinstance(size, int) else -1 for size in value.shape),
        )
        for value in values
    }
