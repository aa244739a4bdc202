"""What was said when: tokens of times, and the text between them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from beamgen.tokenizer.tokenizer import Tokenizer

#: Of two tokens of times, one after the other, in seconds. HF's ``time_precision``.
TIME_PRECISION = 0.02


@dataclass(frozen=True)
class Segment:
    """A piece of what was said.

    Attributes:
        start: seconds from the beginning of the audio.
        end: seconds.
        text: without tokens of times; None where the package has no tokenizer that loads.
    """

    start: float
    end: float
    text: str | None


def segments_of(
    ids: Sequence[int], first_time: int, tokenizer: Tokenizer | None
) -> tuple[Segment, ...]:
    """The segments of generated ids that hold tokens of times.

    A time that nothing follows and no other precedes begins no segment.

    Args:
        ids: of one window.
        first_time: the id of the time 0.
        tokenizer: the package's.

    Source: ``WhisperTokenizer._compute_offsets``, of one window.
    """
    places = [i for i, token in enumerate(ids) if token >= first_time]
    ends = [i for i in places if i - 1 in places]
    if not ends and len(places) <= 1:
        return ()
    if places[-1] + 1 not in ends:
        ends.append(places[-1] + 1)
    found, begin = [], places[0]
    for end in ends:
        piece = ids[begin:end]
        if len(piece) > 1:
            said = [token for token in piece if token < first_time]
            text = tokenizer.decode(said) if tokenizer is not None else None
            start, stop = (
                round((token - first_time) * TIME_PRECISION, 2) for token in (piece[0], piece[-1])
            )
            found.append(Segment(start, stop, text))
        begin = end
    return tuple(found)
