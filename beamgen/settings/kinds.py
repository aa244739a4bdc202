"""What values a setting may have: how they are written, checked, and laid out as arrays."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from beamgen.settings.parameter import Parameter, Problem

Ids = tuple[int, ...]
Arrays = Mapping[str, npt.NDArray[Any]]

#: Where a graph takes a token id, or none.
NO_TOKEN = -1

_LARGEST = float(np.finfo(np.float32).max)
_MOST = 2**31 - 1


class Kind:
    """The values of one setting; the methods here suit those that are one number.

    Attributes:
        dtype: of the graph input.
        axes: of the graph input, unless each row may have its own.
        typed: what a value is on a command line: a whole number, a number or a flag.
        choices: the words that a command line takes instead.
        repeatable: whether an option may be given several times.
    """

    dtype: ClassVar[str] = "int64"
    axes: ClassVar[tuple[str, ...]] = ("1",)
    typed: ClassVar[type] = int
    choices: ClassVar[tuple[str, ...]] = ()
    repeatable: ClassVar[bool] = False

    def canonical(self, value: Any) -> Any:
        """The one form of a value that HF writes in several.

        Raises:
            SettingError: it is nothing of the kind.
        """
        return value

    def problems(self, name: str, value: Any) -> Iterable[Problem]:
        """Cause and cure of what is impossible about a value in its canonical form."""
        return ()

    def fits(self, value: Any) -> bool:
        """Whether a graph can hold a value that no search looks at, be it an impossible one."""
        return value is None or is_finite(value)

    def token_ids(self, value: Any) -> Ids:
        """The token ids that a value names."""
        return ()

    def parameters(self, name: str, meaning: str, per_row: bool) -> tuple[Parameter, ...]:
        """The graph inputs that hold a value."""
        axes = ("batch",) if per_row else self.axes
        return (Parameter(name, self.dtype, axes, meaning),)

    def arrays(self, name: str, value: Any) -> Arrays:
        """What these inputs are fed."""
        nothing: Any = () if value is None else value
        return {name: np.atleast_1d(np.asarray(nothing, self.dtype))}

    def of_rows(self, name: str, values: Sequence[Any]) -> Arrays | None:
        """What these inputs are fed for rows of a batch; None where each is a list by row."""
        return None

    def to_hf(self, value: Any) -> Any:
        """The value as HF's ``GenerationConfig`` takes it."""
        return value


@dataclass(frozen=True)
class Count(Kind):
    """A whole number of at least ``low``; None where a setting may be left open."""

    low: int

    def problems(self, name: str, value: Any) -> Iterator[Problem]:
        """See ``Kind``."""
        if value is None or (is_int(value) and self.low <= value <= _MOST):
            return
        if is_int(value) and value > _MOST:
            yield f"{name} {value} is more than a file can count", f"set {name} to at most {_MOST}"
            return
        cause = f"{name} must be a whole number of at least {self.low}, not {value!r}"
        yield cause, f"set {name} to {self.low} or more"

    def fits(self, value: Any) -> bool:
        """See ``Kind``."""
        return value is None or (is_int(value) and abs(value) <= _MOST)


@dataclass(frozen=True)
class OptionalCount(Count):
    """A whole number of at least ``low`` or None; a list of one or none in the graph."""

    axes: ClassVar[tuple[str, ...]] = ("n",)


@dataclass(frozen=True)
class Number(Kind):
    """A number within bounds that float32 can hold.

    Attributes:
        low, high: the bounds, which belong to it unless they are ``open``.
        open: bounds that do not belong to it: ``"low"``, ``"high"`` or nothing.
        cure: what to do about another value.
    """

    low: float
    high: float
    cure: str
    open: str = ""

    dtype: ClassVar[str] = "float32"
    typed: ClassVar[type] = float

    def problems(self, name: str, value: Any) -> Iterator[Problem]:
        """See ``Kind``."""
        if not is_finite(value) or not self._holds(value):
            yield f"{name} must be a number {self}, not {value!r}", self.cure

    def to_hf(self, value: Any) -> float:
        """See ``Kind``: HF refuses whole numbers."""
        return float(value)

    def _holds(self, value: float) -> bool:
        above = value > self.low if self.open == "low" else value >= self.low
        return above and (value < self.high if self.open == "high" else value <= self.high)

    def __str__(self) -> str:
        """For messages: ``above 0 and at most 1``."""
        low = f"above {self.low:g}" if self.open == "low" else f"of at least {self.low:g}"
        if self.high == math.inf:
            return low
        return f"{low} and {'below' if self.open == 'high' else 'at most'} {self.high:g}"


@dataclass(frozen=True)
class Flag(Kind):
    """True or False; 1 or 0 in the graph."""

    typed: ClassVar[type] = bool

    def problems(self, name: str, value: Any) -> Iterator[Problem]:
        """See ``Kind``."""
        if not isinstance(value, bool):
            yield f"{name} must be True or False, not {value!r}", f"--set {name}=true turns it on"


@dataclass(frozen=True)
class TokenId(Kind):
    """One token id."""

    def problems(self, name: str, value: Any) -> Iterator[Problem]:
        """See ``Kind``."""
        return id_problems(name, self.token_ids(value))

    def token_ids(self, value: Any) -> Ids:
        """See ``Kind``."""
        return (value,)


@dataclass(frozen=True)
class OptionalTokenId(TokenId):
    """One token id or None, which is -1 in the graph."""

    def token_ids(self, value: Any) -> Ids:
        """See ``Kind``."""
        return () if value is None else (value,)

    def arrays(self, name: str, value: Any) -> Arrays:
        """See ``Kind``."""
        return super().arrays(name, NO_TOKEN if value is None else value)


@dataclass(frozen=True)
class TokenIds(Kind):
    """A list of token ids, which HF also writes as one number."""

    axes: ClassVar[tuple[str, ...]] = ("n",)
    repeatable: ClassVar[bool] = True

    def canonical(self, value: Any) -> Any:
        """See ``Kind``."""
        return as_ids(value)

    def problems(self, name: str, value: Any) -> Iterator[Problem]:
        """See ``Kind``."""
        return id_problems(name, value)

    def token_ids(self, value: Any) -> Ids:
        """See ``Kind``."""
        ids: Ids = value
        return ids

    def to_hf(self, value: Any) -> list[int] | None:
        """See ``Kind``."""
        return list(value) or None


def as_ids(value: Any) -> Any:
    """A tuple of one or several ids; what is no id is refused with all else that is wrong."""
    if value is None:
        return None
    if isinstance(value, Iterable) and not isinstance(value, str):
        return tuple(value)
    return (value,)


def id_problems(name: str, ids: Iterable[Any]) -> Iterator[Problem]:
    """What is no token id."""
    for token in ids:
        if not is_int(token) or not 0 <= token < 2**31:
            cause = f"{name}: token ids must be whole numbers of at least 0, not {token!r}"
            yield cause, "use ids of the checkpoint's vocabulary"


def is_int(value: object) -> bool:
    """A whole number; True and False are none."""
    return isinstance(value, int | np.integer) and not isinstance(value, bool)


def is_finite(value: object) -> bool:
    """A number that float32, which the file computes in, can hold."""
    if isinstance(value, bool) or not isinstance(value, int | float | np.integer | np.floating):
        return False
    number: Any = value
    return bool(-_LARGEST <= number <= _LARGEST)
