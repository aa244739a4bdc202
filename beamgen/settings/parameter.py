"""An input of a graph that holds a setting, and what may be wrong with a value."""

from __future__ import annotations

from dataclasses import dataclass

#: Cause and cure of something impossible.
Problem = tuple[str, str]


@dataclass(frozen=True)
class Parameter:
    """One input of a graph that holds a setting.

    Attributes:
        name: the graph input's name, which is HF's where HF has one.
        dtype: ``int64``, ``int32`` or ``float32``.
        axes: what its axes count: a number; ``batch``, where a length-1 value holds
            for all rows; anything else is a length of the caller's choice.
        meaning: one line for tables and viewers.
    """

    name: str
    dtype: str
    axes: tuple[str, ...]
    meaning: str

    @property
    def per_row(self) -> bool:
        """Whether each row of a batch may have its own."""
        return self.axes == ("batch",)


@dataclass(frozen=True)
class Required:
    """The inputs of a graph that get no default, so that every caller has to feed them.

    Attributes:
        parameters: names of parameters.
        slots: whether the LoRA slots are among them.
    """

    parameters: frozenset[str] = frozenset()
    slots: bool = False


NOTHING_REQUIRED = Required()
