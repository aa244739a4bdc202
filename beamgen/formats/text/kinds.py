"""The class of each code point: letter, number or space, as the installed tokenizers has it."""

from __future__ import annotations

import functools
from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from beamgen.formats.text.units import ADDED, LETTER, NUMBER, OTHER, PAGE, SPACE, TOKEN

_CLASSES = {LETTER: r"\p{L}", NUMBER: r"\p{N}", SPACE: r"\s"}
# Planes 4 to 13 are unassigned, 15 and 16 private: no letters, numbers or spaces there.
_ASSIGNED = (range(0xD800), range(0xE000, 0x40000), range(0xE0000, 0xF0000))


@functools.cache
def class_pages(digits: bool = False) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.uint8]]:
    """Where each page's classes begin, and the classes; see ``units.classes``.

    They are those of the installed ``tokenizers``, whose Unicode is not Python's.

    Args:
        digits: of ``Digits``, whose Unicode is not that of the regular expressions:
            numbers, and all others.
    """
    kinds = (_digits() if digits else _classes()).reshape(-1, PAGE)
    pages, index = np.unique(kinds, axis=0, return_inverse=True)
    tokens = np.full((1, PAGE), TOKEN, np.uint8)
    begins = np.append(index.reshape(-1), len(pages)).astype(np.int64) * PAGE
    return begins, np.concatenate([pages.astype(np.uint8), tokens]).reshape(-1)


@functools.cache
def _every() -> tuple[npt.NDArray[np.uint32], str]:
    """All code points that may be of a class, and the text they are."""
    points = np.concatenate([np.array(points, np.uint32) for points in _ASSIGNED])
    return points, points.tobytes().decode("utf-32-le")


def _digits() -> npt.NDArray[np.uint8]:
    """Whether each code point is a number to ``Digits``, uint8 ``[ADDED]``."""
    from tokenizers.pre_tokenizers import Digits

    points, text = _every()
    found = np.full(ADDED, OTHER, np.uint8)
    # the first character, NUL, is none, and from there they take turns
    for _, (begin, end) in Digits(individual_digits=False).pre_tokenize_str(text)[1::2]:
        found[points[begin:end]] = NUMBER
    return found


@functools.cache
def _classes() -> npt.NDArray[np.uint8]:
    """The class of each code point to regular expressions, uint8 ``[ADDED]``."""
    from tokenizers import Regex
    from tokenizers.pre_tokenizers import Split

    points, text = _every()
    runs = Split(Regex("|".join(f"{kind}+" for kind in _CLASSES.values())), "isolated")
    pieces = runs.pre_tokenize_str(text)
    found = np.full(ADDED, OTHER, np.uint8)
    firsts = "".join(piece[0] for piece, _ in pieces)
    of_first = {kind: set(_matches(pattern, firsts)) for kind, pattern in _CLASSES.items()}
    for number, (_, (begin, end)) in enumerate(pieces):
        for kind, members in of_first.items():
            if number in members:
                found[points[begin:end]] = kind
    return found


def _matches(pattern: str, text: str) -> Iterable[int]:
    """Places of the characters that match."""
    from tokenizers import Regex
    from tokenizers.pre_tokenizers import Split

    gaps = Split(Regex(pattern), "removed").pre_tokenize_str(text)
    unmatched = {place for _, (begin, end) in gaps for place in range(begin, end)}
    return (place for place in range(len(text)) if place not in unmatched)
