"""Why a search found what it found: its beams, step by step."""

from beamgen.explanation.html import page
from beamgen.explanation.picture import svg
from beamgen.explanation.run import explain
from beamgen.explanation.story import Continuation, Explanation, Hypothesis, Step

__all__ = ["Continuation", "Explanation", "Hypothesis", "Step", "explain", "page", "svg"]
