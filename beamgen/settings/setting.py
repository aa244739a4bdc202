"""A setting in one row: its name, what it may be, what it means, and how a graph takes it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from beamgen.settings.kinds import Kind
from beamgen.settings.parameter import Parameter, Problem
from beamgen.settings.rules import Rules

#: The values of all settings, by name.
Values = Mapping[str, Any]


class _Required:
    """Stands for the default of a setting that has none."""

    def __repr__(self) -> str:
        return "REQUIRED"


REQUIRED = _Required()

#: What of a prompt a setting may look at: tokens that came before, or those an encoder read.
HISTORY, SOURCE = "history", "source"
#: What some settings read, and not every model has: what is said of one that lacks it.
IDS = "its encoder reads no token ids"
TIMES = "its model has no tokens of times"

#: When HF heeds a setting: always, with several beams, or where tokens are drawn.
ALWAYS, WITH_BEAMS, WHEN_SAMPLING = "always", "with several beams", "when sampling"


@dataclass(frozen=True)
class SampleIds:
    """Token ids from which a value is made that makes a difference to some prompts.

    Attributes:
        ordinary: the vocabulary without EOS and pad ids.
        eos: the ids that end a sequence.
        last: the last token of the first prompt.
        some: three ordinary ids.
        rng: draws others.
        vocab_size: V, special tokens among them.
        texts: what each token adds to a text; empty where there is no tokenizer.
    """

    ordinary: npt.NDArray[np.int64]
    eos: tuple[int, ...]
    last: int
    some: tuple[int, int, int]
    rng: np.random.Generator
    vocab_size: int
    texts: Sequence[str] = ()

    def drawn(self, count: int, spared: int = -1) -> list[int]:
        """Ordinary ids, some of them twice, without one that is spared."""
        ids: list[int] = self.rng.choice(np.setdiff1d(self.ordinary, [spared]), count).tolist()
        return ids


@dataclass(frozen=True)
class Setting:
    """All that is known of one setting; everything else about it is derived from this.

    Attributes:
        name: a field of ``SearchConfig``, under HF's name where HF has one.
        kind: what its values are.
        meaning: one line for tables, viewers and help.
        default: of the field; ``REQUIRED`` where there is none.
        off: the value with which it does nothing; the default unless said otherwise.
        per_row: whether each row of a batch may have its own.
        heeded: ``ALWAYS``, ``WITH_BEAMS`` or ``WHEN_SAMPLING``.
        in_graph: whether it is an input of the graph; lengths that count the prompt become
            others first.
        in_hf: whether HF's ``GenerationConfig`` has it.
        option: whether it has a command-line option of its own; ``--set`` takes all.
        examples: values that make a difference on a few tokens: the axis of the parity
            grid, and what requests to try a server with are given.
        sample: makes such a value of token ids, where it is a list of them.
        bans: whether it may leave a beam without any token.
        reads: ``HISTORY``, ``SOURCE`` or both, where it looks at tokens and not at scores alone.
            HF counts padding among them.
        asks: ``IDS`` or ``TIMES``, what a file has to have to take it; None where any does.
        conflicts: what of the values of all settings cannot hold together with this one.
        unlike: what of them ``generate`` does otherwise than it says, by its rules.
    """

    name: str
    kind: Kind
    meaning: str
    default: Any = None
    off: Any = REQUIRED
    per_row: bool = False
    heeded: str = ALWAYS
    in_graph: bool = True
    in_hf: bool = True
    option: bool = False
    examples: tuple[Any, ...] = ()
    sample: Callable[[SampleIds], Any] | None = None
    bans: bool = False
    reads: tuple[str, ...] = ()
    asks: str | None = None
    conflicts: Callable[[Values], Iterable[Problem]] | None = None
    unlike: Callable[[Values, Rules], Iterable[Problem]] | None = None

    @property
    def does_nothing(self) -> Any:
        """The value with which it does nothing."""
        return self.default if self.off is REQUIRED else self.off

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        """The graph inputs that hold it."""
        if not self.in_graph:
            return ()
        return self.kind.parameters(self.name, self.meaning, self.per_row)

    def is_off(self, value: Any) -> bool:
        """Whether a value does nothing. None and an empty list never do; the token id 0 may."""
        return value is None or value == () or bool(value == self.does_nothing)

    def is_heeded(self, values: Values) -> bool:
        """Whether HF looks at it at all, as the other settings are."""
        if self.heeded == WHEN_SAMPLING:
            return bool(values["do_sample"])
        return self.heeded == ALWAYS or values["num_beams"] > 1
