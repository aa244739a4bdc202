"""A BPE model: ids of characters and bytes, and which pairs merge into what."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from beamgen.formats.text.refusal import refuse
from beamgen.formats.text.steps import Splitting, byte_characters, byte_of

if TYPE_CHECKING:
    from beamgen.tokenizer.tokenizer import Tokenizer

Ids = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Ranks:
    """Lowest ranks of merges: of pairs, ``left * size + right``, and the rank of each."""

    pairs: Ids
    ranks: Ids


@dataclass(frozen=True)
class Merges:
    """The vocabulary and its merges, a pair being ``left * size + right``.

    Attributes:
        size: one more than the highest id.
        byte_ids: of each byte, ``[256]``.
        characters: code points that have an id, and
        character_ids: that id; both are empty where symbols are bytes.
        pairs: that merge, and
        ranked: ``rank * size + new id`` of each.
        joints: pairs of first symbols that some merge joins.
        ahead: of a symbol, and the first symbol of the text in what follows it.
        behind: of the last symbol of the text in what stands before, and a symbol.
    """

    size: int
    byte_ids: Ids
    characters: Ids
    character_ids: Ids
    pairs: Ids
    ranked: Ids
    joints: Ids
    ahead: Ranks
    behind: Ranks


def read_merges(
    tokenizer: Tokenizer,
    model: Mapping[str, Any],
    splitting: Splitting,
    added: Collection[str],
) -> Merges:
    """Read ``model`` of a tokenizer's JSON.

    Raises:
        SettingError: it has a setting that the graph does not know.
    """
    for name in ("dropout", "continuing_subword_prefix", "end_of_word_suffix"):
        if model.get(name):
            raise refuse(tokenizer, f"its model has {name} {model[name]!r}")
    vocab: dict[str, int] = model["vocab"]
    if model.get("ignore_merges"):
        _check_reached(tokenizer, vocab, added)
    if not splitting.byte_level and not model.get("byte_fallback"):
        raise refuse(tokenizer, "its model has no byte_fallback")
    if splitting.byte_level and model.get("byte_fallback"):
        raise refuse(tokenizer, "its model has byte_fallback and bytes as characters")
    of_byte = (
        {byte: character for character, byte in byte_characters().items()}
        if splitting.byte_level
        else {byte: f"<0x{byte:02X}>" for byte in range(256)}
    )
    missing = [byte for byte, token in of_byte.items() if token not in vocab]
    if missing:
        raise refuse(tokenizer, f"its vocabulary has no token for the byte 0x{missing[0]:02X}")
    size = max(vocab.values()) + 1
    ranked = {}
    for rank, merge in enumerate(model["merges"]):
        left, right = merge.split(" ") if isinstance(merge, str) else merge
        ranked[vocab[left] * size + vocab[right]] = rank * size + vocab[left + right]
    characters = (
        {}
        if splitting.byte_level
        else {ord(token): number for token, number in vocab.items() if len(token) == 1}
    )
    return Merges(
        size=size,
        byte_ids=_array(vocab[of_byte[byte]] for byte in range(256)),
        characters=_array(characters),
        character_ids=_array(characters.values()),
        pairs=_array(ranked),
        ranked=_array(ranked.values()),
        **_neighbours(model["merges"], vocab, size),
    )


def _neighbours(merges: Collection[Any], vocab: Mapping[str, int], size: int) -> dict[str, Any]:
    """What each merge says of the text's symbols at its joint."""
    joints: dict[int, int] = {}
    ahead: dict[int, int] = {}
    behind: dict[int, int] = {}
    for rank, merge in enumerate(merges):
        left, right = merge.split(" ") if isinstance(merge, str) else merge
        ends = [left[-1]] if byte_of(left) is None else [left[-1], left]
        begins = [right[0]] if byte_of(right) is None else [right[0], right]
        for end in (vocab[end] for end in ends if end in vocab):
            behind.setdefault(end * size + vocab[right], rank)
            for begin in (vocab[begin] for begin in begins if begin in vocab):
                joints.setdefault(end * size + begin, 1)
        for begin in (vocab[begin] for begin in begins if begin in vocab):
            ahead.setdefault(vocab[left] * size + begin, rank)
    return {
        "joints": _array(joints),
        "ahead": Ranks(_array(ahead), _array(ahead.values())),
        "behind": Ranks(_array(behind), _array(behind.values())),
    }


def _check_reached(tokenizer: Tokenizer, vocab: Mapping[str, int], added: Collection[str]) -> None:
    """With ``ignore_merges`` a piece that is a token stays one: its merges must say so, too."""
    import json

    from tokenizers import Tokenizer

    backend = tokenizer.backend
    parts = json.loads(backend.to_str())
    merging = Tokenizer.from_str(
        json.dumps({"version": "1.0", "model": {**parts["model"], "ignore_merges": False}})
    ).model
    pieces = backend.pre_tokenizer
    unreached = [
        token
        for token in vocab
        if token not in added and len(merging.tokenize(token)) > 1 and _is_piece(token, pieces)
    ]
    if unreached:
        raise refuse(
            tokenizer,
            f"it has ignore_merges, and merges do not reach {len(unreached)} tokens "
            f"such as {unreached[0]!r}",
        )


def _is_piece(token: str, pre_tokenizer: Any) -> bool:
    """Whether a text can have that piece: bytes that are no characters cannot be asked."""
    known = byte_characters()
    try:
        text = bytes(known[character] for character in token).decode()
    except (KeyError, UnicodeDecodeError):
        return True
    return len(pre_tokenizer.pre_tokenize_str(text)) == 1


def _array(values: Any) -> Ids:
    return np.fromiter(values, np.int64)
