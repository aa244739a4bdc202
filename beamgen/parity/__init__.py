"""Does the file agree with Hugging Face ``generate``, token for token and score for score?

Each case ends in one of three verdicts. *Exact*: same tokens, same scores.
*Near-tie*: the two searches part at a step where HF's own scores of what one kept
and the other dropped lie within the margin of float arithmetic; both answers are
right. *Diverged*: they part anywhere else, or their scores do.
"""

from beamgen.parity.check import check_parity
from beamgen.parity.grids import Grid, full_grid, quick_grid
from beamgen.parity.report import (
    NEAR_TIE_MARGIN,
    SCORE_TOLERANCE,
    CaseResult,
    ParityCase,
    ParityReport,
    Parting,
    Verdict,
)
from beamgen.parity.settings_grid import settings_grid

#: What ``beamgen parity --grid`` takes.
GRIDS: dict[str, Grid] = {"quick": quick_grid, "full": full_grid, "settings": settings_grid}

__all__ = [
    "GRIDS",
    "NEAR_TIE_MARGIN",
    "SCORE_TOLERANCE",
    "CaseResult",
    "Grid",
    "ParityCase",
    "ParityReport",
    "Parting",
    "Verdict",
    "check_parity",
    "full_grid",
    "quick_grid",
    "settings_grid",
]
