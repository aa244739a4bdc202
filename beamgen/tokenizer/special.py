"""Special tokens: what they are called and which they are.

Source: ``SpecialTokensMixin`` of transformers 4.57.6.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from beamgen.tokenizer.config import ADDITIONAL, EXTRA, NAMED, OtherKindError

if TYPE_CHECKING:
    from tokenizers import AddedToken


@dataclass(frozen=True)
class SpecialTokens:
    """The special tokens that a config names.

    Attributes:
        named: by attribute, as HF's ``special_tokens_map_extended`` has them; the
            additional ones are a list.
        of_version_5: templates of version 5 do not see the additional ones.
    """

    named: Mapping[str, str | AddedToken | list[str | AddedToken]]
    of_version_5: bool = False

    @property
    def map(self) -> dict[str, str | list[str]]:
        """HF's ``special_tokens_map``: spellings by attribute."""
        return {
            key: [str(token) for token in value] if isinstance(value, list) else str(value)
            for key, value in self.named.items()
            if not (self.of_version_5 and key == ADDITIONAL)
        }

    @property
    def all(self) -> list[str | AddedToken]:
        """HF's ``all_special_tokens_extended``: each spelling once."""
        found: dict[str, str | AddedToken] = {}
        for value in self.named.values():
            for token in value if isinstance(value, list) else [value]:
                found.setdefault(str(token), token)
        return list(found.values())

    @property
    def additional(self) -> list[str | AddedToken]:
        """Those that have no attribute of their own."""
        tokens = self.named.get(ADDITIONAL)
        return list(tokens) if isinstance(tokens, list) else []

    def spelling(self, name: str) -> str | None:
        """How the token of an attribute is spelled; None where there is none."""
        token = self.named.get(name)
        return None if token is None else str(token)


def special_tokens(values: Mapping[str, Any], *, of_version_5: bool) -> SpecialTokens:
    """The special tokens of a class's arguments.

    Raises:
        OtherKindError: one is no token, which transformers refuses.
    """
    named: dict[str, Any] = {}
    for key in NAMED:
        named[key] = _one(key, values.get(key))
    additional = values.get(ADDITIONAL) or []
    named[ADDITIONAL] = [_one(ADDITIONAL, token) for token in additional]
    extra = values.get(EXTRA) or {}
    for key, value in extra.items():
        named[key] = _one(key, value)
    if of_version_5:
        for key, value in values.items():
            if key.endswith("_token") and key not in named and isinstance(value, str):
                named[key] = value
    return SpecialTokens({key: value for key, value in named.items() if value}, of_version_5)


def _one(key: str, value: Any) -> Any:
    from tokenizers import AddedToken

    if value is not None and not isinstance(value, str | AddedToken):
        raise OtherKindError(f"its {key} is {type(value).__name__}")
    if isinstance(value, AddedToken) and not value.content:
        return None
    return value
