"""Stop strings as Hugging Face ``generate`` is given them: its own criterion, over token texts."""

from __future__ import annotations

from typing import Any

from beamgen.settings.config import SearchConfig
from beamgen.settings.stop_strings import StopStrings


def stopping(config: SearchConfig) -> dict[str, Any]:
    """What ``generate`` is given besides the settings."""
    if config.stop_strings is None:
        return {}
    from transformers import StoppingCriteriaList, StopStringCriteria

    criterion = StopStringCriteria(_Texts(config.stop_strings), list(config.stop_strings.strings))
    return {"stopping_criteria": StoppingCriteriaList([criterion])}


class _Texts:
    """What HF's criterion asks of a tokenizer, answered by what each token adds to a text."""

    def __init__(self, stops: StopStrings) -> None:
        self._texts = stops.texts

    def get_vocab(self) -> dict[str, int]:
        """A name for each id."""
        return {str(token): token for token in range(len(self._texts))}

    def __call__(self, text: str, **_: Any) -> dict[str, list[int]]:
        """No ids stand for the text before a token."""
        self._before = text
        return {"input_ids": []}

    def convert_tokens_to_string(self, names: list[str]) -> str:
        """The text of a token within a text."""
        (name,) = names
        return self._before + self._texts[int(name)]
