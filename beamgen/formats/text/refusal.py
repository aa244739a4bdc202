"""The refusal of a tokenizer, by name and with what it does."""

from __future__ import annotations

from typing import TYPE_CHECKING

from beamgen.errors import SettingError

if TYPE_CHECKING:
    from beamgen.tokenizer.tokenizer import Tokenizer


def refuse(tokenizer: Tokenizer, reason: str) -> SettingError:
    """The error to raise for a tokenizer that no graph can hold."""
    return SettingError(
        f"{tokenizer.name} cannot go into the graph: {reason}",
        "use the package itself, which takes token ids",
    )
