"""What an encoder reads, and what the decoder behind it begins with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from beamgen.errors import PromptError
from beamgen.settings.parameter import Parameter
from beamgen.settings.prompts import Ids, as_int64, check_ids

#: What a decoder behind an encoder begins with: one row for all of a batch, or one for each.
DECODER_PROMPT = Parameter(
    "decoder_input_ids",
    "int64",
    ("prompt_rows", "prompt_len"),
    "what the decoder begins with; one row holds for all",
)


@dataclass(frozen=True)
class SourceBatch:
    """What an encoder reads.

    Attributes:
        input_ids: int64 ``[B, source]``.
        attention_mask: int64 ``[B, source]``, 0 on padding.
    """

    input_ids: Ids
    attention_mask: Ids

    def __post_init__(self) -> None:
        """Take whole numbers of any kind.

        Raises:
            PromptError: they are something else.
        """
        for name, values in list(vars(self).items()):
            object.__setattr__(self, name, as_int64(values))

    def feeds(self) -> dict[str, Ids]:
        """By the names of a file's inputs, which are HF's."""
        return {"input_ids": self.input_ids, "attention_mask": self.attention_mask}

    def row(self, row: int) -> SourceBatch:
        """One row, as a batch."""
        return SourceBatch(self.input_ids[row : row + 1], self.attention_mask[row : row + 1])


def right_pad(batch: Sequence[Sequence[int]], pad_token_id: int, length: int = 0) -> SourceBatch:
    """Unequal sources padded to the longest, or to ``length`` where that is more.

    Raises:
        PromptError: a source has no tokens.
    """
    for row, source in enumerate(batch):
        if not len(source):
            raise PromptError(
                f"source {row + 1} of {len(batch)} is empty",
                "give it a token at least: most tokenizers end every text with an EOS",
            )
    longest = max(length, *(len(source) for source in batch))
    input_ids = np.full((len(batch), longest), pad_token_id, np.int64)
    attention_mask = np.zeros((len(batch), longest), np.int64)
    for row, source in enumerate(batch):
        input_ids[row, : len(source)] = source
        attention_mask[row, : len(source)] = 1
    return SourceBatch(input_ids, attention_mask)


def check_source(source: SourceBatch, vocab_size: int, max_positions: int | None) -> None:
    """Refuse what an encoder would answer with nonsense.

    Raises:
        PromptError: shapes differ, a row is masked altogether, a source is longer than the
            encoder has positions for, or holds ids outside the vocabulary.
    """
    ids, mask = source.input_ids, source.attention_mask
    if ids.ndim != 2 or ids.shape != mask.shape or not ids.size:
        raise PromptError(
            f"input_ids {ids.shape} and attention_mask {mask.shape} must be of the same shape "
            "[batch, source_len], neither of them 0",
            "pad the sources to one length",
        )
    if not np.isin(mask, (0, 1)).all():
        raise PromptError(
            "attention_mask holds other values than 0 and 1", "1 marks text, 0 padding"
        )
    for row in np.flatnonzero(~mask.any(axis=1)):
        raise PromptError(f"source {row + 1} is masked altogether", "give it at least one token")
    if max_positions is not None and ids.shape[1] > max_positions:
        raise PromptError(
            f"a source has {ids.shape[1]} tokens, and the encoder {max_positions} positions",
            f"shorten it to {max_positions} tokens, or divide the text",
        )
    check_ids("input_ids", ids, vocab_size)
