"""Settings of the search itself, which no logits processor stands behind."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

from beamgen.settings.kinds import Arrays, Count, Flag, Kind, TokenId, TokenIds, is_finite, is_int
from beamgen.settings.parameter import Problem
from beamgen.settings.setting import REQUIRED, WHEN_SAMPLING, WITH_BEAMS, Setting, Values
from beamgen.settings.stopping import SETTING as STOP_STRINGS

DEFAULT_NUM_BEAMS = 5

#: ``early_stopping`` as the graph's integer input.
EARLY_STOPPING: dict[bool | str, int] = {False: 0, True: 1, "never": 2}


@dataclass(frozen=True)
class _Penalty(Kind):
    """An exponent of any sign."""

    dtype: ClassVar[str] = "float32"
    typed: ClassVar[type] = float

    def problems(self, name: str, value: Any) -> Iterator[Problem]:
        """See ``Kind``."""
        if not is_finite(value):
            cause = f"{name} must be a finite number, not {value!r}"
            yield cause, "1.0 divides scores by the length, 0.0 leaves them as they are"

    def to_hf(self, value: Any) -> float:
        """See ``Kind``."""
        return float(value)


@dataclass(frozen=True)
class _EarlyStopping(Kind):
    """False, True or ``"never"``; 0, 1 or 2 in the graph."""

    choices: ClassVar[tuple[str, ...]] = ("false", "true", "never")

    def problems(self, name: str, value: Any) -> Iterator[Problem]:
        """See ``Kind``."""
        if not any(value is known for known in (True, False)) and value != "never":
            yield f'{name} must be False, True or "never", not {value!r}', "False is HF's default"

    def arrays(self, name: str, value: Any) -> Arrays:
        """See ``Kind``."""
        return super().arrays(name, EARLY_STOPPING[value])


@dataclass(frozen=True)
class _Seed(Kind):
    """A whole number of 63 bits; None takes another one each time, which is 0 in the graph."""

    def problems(self, name: str, value: Any) -> Iterator[Problem]:
        """See ``Kind``."""
        if value is not None and (not is_int(value) or not 0 <= value < 2**63):
            cause = f"{name} must be a whole number from 0 to 2**63 - 1, not {value!r}"
            yield cause, "seed 0 will do"

    def arrays(self, name: str, value: Any) -> Arrays:
        """See ``Kind``."""
        return super().arrays(name, value or 0)


def _more_than_beams(values: Values) -> Iterator[Problem]:
    beams, returned = values["num_beams"], values["num_return_sequences"]
    if not (is_int(beams) and is_int(returned) and 1 <= beams < returned):
        return
    cause = f"num_return_sequences ({returned}) is more than num_beams ({beams})"
    if beams > 1:
        yield cause, f"raise num_beams to {returned}, or ask for {beams} or fewer"
    elif not values["do_sample"]:
        yield cause, f"raise num_beams to {returned}, or set do_sample"


#: In the order in which a graph takes them.
SEARCH_SETTINGS = (
    Setting(
        "max_new_tokens",
        Count(1),
        "tokens generated at most",
        per_row=True,
        option=True,
        examples=(4, 9, 6),
    ),
    Setting(
        "max_length",
        Count(1),
        "prompt, its padding and generated tokens at most",
        in_graph=False,
        option=True,
    ),
    Setting(
        "num_beams",
        Count(1),
        "beams per row; 1 is greedy search, or sampling",
        default=DEFAULT_NUM_BEAMS,
        option=True,
    ),
    Setting(
        "num_return_sequences",
        Count(1),
        "hypotheses returned, at most num_beams; with one beam and do_sample any number",
        default=1,
        option=True,
        conflicts=_more_than_beams,
    ),
    Setting(
        "length_penalty",
        _Penalty(),
        "scores are divided by length ** length_penalty",
        default=1.0,
        per_row=True,
        heeded=WITH_BEAMS,
        option=True,
        examples=(1.0, 0.0, 2.0, -0.5),
    ),
    Setting(
        "early_stopping",
        _EarlyStopping(),
        'when a finished prompt stops being searched: False (0), True (1) or "never" (2)',
        default=False,
        heeded=WITH_BEAMS,
        option=True,
        examples=(False, True, "never"),
    ),
    Setting("eos_token_id", TokenIds(), "ids that end a sequence", default=REQUIRED, option=True),
    Setting(
        "pad_token_id",
        TokenId(),
        "fills finished rows (0 counts as unset, as in HF)",
        default=REQUIRED,
        option=True,
    ),
    Setting(
        "do_sample", Flag(), "draw tokens instead of taking the best", default=False, option=True
    ),
    Setting(
        "seed",
        _Seed(),
        "equal seeds draw equal tokens; one seed s is s, s + 1, ... by row",
        per_row=True,
        heeded=WHEN_SAMPLING,
        in_hf=False,
        option=True,
        examples=(7, 1, 7),
    ),
    Setting("output_scores", Flag(), "1 fills beam_indices and token_log_probs", default=False),
    STOP_STRINGS,
)
