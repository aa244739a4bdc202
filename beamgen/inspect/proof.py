"""Whether a file was proved, and with the transformers that is installed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata
from typing import Any

from beamgen.settings.rules import UNSAID

#: Verdicts that prove a file.
_PROVED = ("exact", "contrib rule", "near-tie")


@dataclass(frozen=True)
class Proof:
    """What a file's last comparison with transformers says on this machine.

    Attributes:
        verdict: of the comparison, or None: there was none.
        cases: how many were compared.
        transformers: the version with which it was compared.
        rules: the release of transformers whose rules of ``generate`` the file follows.
        installed: the version that is installed here, or None.
        holds: whether the file was proved with the version that is installed; None where
            none is, or nothing was compared.
    """

    verdict: str | None
    cases: int | None
    transformers: str | None
    rules: str
    installed: str | None
    holds: bool | None

    def __str__(self) -> str:
        """In one line."""
        if self.verdict is None:
            return "was not compared"
        said = f"{self.verdict} in {self.cases} cases with transformers {self.transformers}"
        if self.installed is None:
            return f"{said}; none is installed here"
        if self.installed == self.transformers:
            return f"{said}, which is installed here"
        return f"{said}; installed here is {self.installed}, with which it was not compared"


def proof_of(provenance: Mapping[str, Any] | None, parity: Mapping[str, Any] | None) -> Proof:
    """Read a manifest's fields and its parity record, either of which may be missing."""
    about, found = provenance or {}, parity or {}
    installed = _installed()
    verdict, version = found.get("verdict"), found.get("transformers")
    known = verdict is not None and installed is not None
    return Proof(
        verdict=verdict,
        cases=found.get("cases"),
        transformers=version,
        rules=str(about.get("rules", UNSAID.release)),
        installed=installed,
        holds=verdict in _PROVED and installed == version if known else None,
    )


def _installed() -> str | None:
    try:
        return metadata.version("transformers")
    except metadata.PackageNotFoundError:
        return None
