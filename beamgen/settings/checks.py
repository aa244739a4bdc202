"""What the settings of a search may be, each by itself and together."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from beamgen.errors import SettingError
from beamgen.settings.parameter import Problem
from beamgen.settings.setting import WHEN_SAMPLING, Values
from beamgen.settings.table import SETTINGS


def check_settings(values: Values) -> None:
    """Refuse what no search can honour.

    Raises:
        SettingError: one error that lists everything impossible.
    """
    refuse_problems([*wrong_values(values), *_contradictions(values)])


def refuse_problems(problems: Sequence[Problem]) -> None:
    """Say all that is wrong at once.

    Raises:
        SettingError: there is a problem.
    """
    if problems:
        causes, cures = zip(*problems, strict=True)
        raise SettingError("; ".join(causes), "; ".join(dict.fromkeys(cures)))


def check_penalty(num_beams: int, length_penalty: float, longest: int) -> None:
    """Refuse scores that reach the -1e9 with which HF's search marks dead beams, or vanish.

    A summed log-probability may be some -10 a token.

    Args:
        num_beams: greedy search, of one, knows no penalty.
        length_penalty: the exponent.
        longest: of the tokens that scores are divided by.

    Raises:
        SettingError: a search could not tell such scores apart.
    """
    if num_beams == 1:
        return
    power = -length_penalty * math.log10(longest)
    if power + math.log10(10 * longest) > 9 or power < -30:
        raise SettingError(
            f"length_penalty {length_penalty} on {longest} tokens multiplies scores by "
            f"1e{power:.0f}, beyond what a search can tell apart (HF's answers turn arbitrary)",
            "use a length_penalty nearer to 0, or a lower max_new_tokens",
        )


def wrong_values(values: Values, *, drawn: bool | None = None) -> Iterator[Problem]:
    """Cause and cure of each value that is impossible by itself.

    A temperature of 0, which only sampling would heed, is no problem where nothing is drawn.

    Args:
        values: by setting, of all or of those that are known.
        drawn: whether tokens are drawn; by default as ``do_sample`` says.
    """
    drawn = values.get("do_sample") is not False if drawn is None else drawn
    for setting in SETTINGS:
        if setting.name not in values:
            continue
        value = values[setting.name]
        for_draws = setting.heeded == WHEN_SAMPLING and setting.in_hf
        if drawn or not (for_draws and setting.kind.fits(value)):
            yield from setting.kind.problems(setting.name, value)


def _contradictions(values: Values) -> Iterator[Problem]:
    """Cause and cure of settings that cannot hold together."""
    for setting in SETTINGS:
        if setting.conflicts is not None:
            yield from setting.conflicts(values)
