"""What an encoder reads, and what the decoder behind it begins with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from beamgen.errors import PromptError
from beamgen.seq2seq_adapter import Source
from beamgen.settings.config import SearchConfig
from beamgen.settings.parameter import Parameter
from beamgen.settings.prompts import Ids, as_int64, check_ids
from beamgen.settings.setting import IDS, TIMES


def offered(sources: Sequence[Source], config: SearchConfig) -> frozenset[str]:
    """What a file has of that which some settings ask for.

    Args:
        sources: what its encoder reads, none where there is no encoder.
        config: the defaults of its search.
    """
    reads_ids = not sources or sources[0].integer
    has_times = config.no_timestamps_token_id is not None
    return frozenset([*([IDS] if reads_ids else ()), *([TIMES] if has_times else ())])


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

    def __len__(self) -> int:
        """B."""
        return len(self.input_ids)


@dataclass(frozen=True)
class FeatureBatch:
    """What an encoder reads that is no text: one array, such as spectrograms.

    Attributes:
        name: of the file's input, which is HF's, e.g. ``input_features``.
        values: float32 ``[B, ...]``.
    """

    name: str
    values: npt.NDArray[np.float32]

    def __post_init__(self) -> None:
        """Take numbers of any kind.

        Raises:
            PromptError: they are something else.
        """
        values = np.asarray(self.values)
        if values.dtype.kind not in "fiu":
            raise PromptError(f"{self.name} holds {values.dtype}", "pass float32")
        object.__setattr__(self, "values", values.astype(np.float32))

    def feeds(self) -> dict[str, npt.NDArray[np.float32]]:
        """By the name of a file's input, which is HF's."""
        return {self.name: self.values}

    def row(self, row: int) -> FeatureBatch:
        """One row, as a batch."""
        return FeatureBatch(self.name, self.values[row : row + 1])

    def __len__(self) -> int:
        """B."""
        return len(self.values)


#: What an encoder reads, whatever its kind.
AnySource = SourceBatch | FeatureBatch


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


def check_features(source: FeatureBatch, name: str, sizes: Sequence[int]) -> None:
    """Refuse what an encoder of one size would answer with nonsense.

    Args:
        source: what it is to read.
        name: of the file's input.
        sizes: of a row of it.

    Raises:
        PromptError: it is called otherwise, is of another shape, or holds what is no number.
    """
    found = source.values.shape
    if source.name != name or len(found) != 1 + len(sizes) or found[1:] != tuple(sizes):
        listed = ", ".join(["batch", *map(str, sizes)])
        raise PromptError(
            f"{source.name} is of shape {list(found)}, and the encoder reads {name} [{listed}]",
            "use the feature extractor of the checkpoint, which pads to that",
        )
    for row in np.flatnonzero(~np.isfinite(source.values).reshape(len(source), -1).all(axis=1)):
        raise PromptError(
            f"{name} of source {row + 1} holds what is no number", "look at its input"
        )
