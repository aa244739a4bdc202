"""Tokens and probabilities as a drawn tree shows them.

``formats/web/page/format.js`` shows the same in a browser; a test holds the two together.
"""

from __future__ import annotations

import math
from collections.abc import Collection

from beamgen.explain.beams import Continuation
from beamgen.formats.web.page_parts import constants


def spelled(continuation: Continuation, eos_token_ids: Collection[int]) -> str:
    """A token with what the eye would miss made visible; a sign for the end."""
    shared = constants()
    if continuation.token in eos_token_ids:
        return str(shared["END"])
    visible = "".join(shared["VISIBLE"].get(char, char) for char in continuation.text)
    return visible or str(shared["NO_TEXT"])


def percent(log_prob: float) -> str:
    """A probability given as its logarithm."""
    value = 100 * math.exp(min(log_prob, 700))
    if value < 0.1:
        return "<0.1%"
    if 99.9 < value < 100:
        return ">99.9%"
    return f"{value:.1f}%" if value < 9.95 or value > 99 else f"{math.floor(value + 0.5)}%"
