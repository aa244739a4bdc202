"""The grids by name, each with the cases that a package's backend can honour."""

from __future__ import annotations

from beamgen.package.folder import Package
from beamgen.parity.contrib.grids import (
    full_contrib_grid,
    quick_contrib_grid,
    settings_contrib_grid,
)
from beamgen.parity.grids.settings import settings_grid
from beamgen.parity.grids.shapes import Grid, Likely, full_grid, quick_grid
from beamgen.parity.report import ParityCase


def _by_backend(loop: Grid, contrib: Grid) -> Grid:
    def grid(package: Package, likely: Likely, seed: int = 0) -> list[ParityCase]:
        chosen = contrib if package.manifest.backend == "contrib" else loop
        return chosen(package, likely, seed)

    return grid


#: What ``beamgen parity --grid`` takes.
GRIDS: dict[str, Grid] = {
    "quick": _by_backend(quick_grid, quick_contrib_grid),
    "full": _by_backend(full_grid, full_contrib_grid),
    "settings": _by_backend(settings_grid, settings_contrib_grid),
}
