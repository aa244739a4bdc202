"""Names of a file's inputs that more than the search graph knows."""

from __future__ import annotations

#: How long the prompts are, where they follow one another in ``input_ids``.
PROMPT_LENGTHS = "prompt_lengths"
