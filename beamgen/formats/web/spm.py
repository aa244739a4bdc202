"""What the page's own reader of SentencePiece models needs to know of a tokenizer."""

from __future__ import annotations

import base64
from typing import Any

from beamgen.tokenizer.slow import SlowTokenizer
from beamgen.tokenizer.tokenizer import Tokenizer

_KINDS = {1: "unigram", 2: "bpe"}
#: Types of pieces: ordinary ones, and those that are never found in a text.
_NORMAL, _APART = 1, (2, 3)


def spm_form(tokenizer: Tokenizer) -> dict[str, Any] | None:
    """A tokenizer of SentencePiece models as the page reads it; None where it cannot.

    Models with pieces of bytes, of a user's own or unused ones, and those that put spaces
    behind words, are left to SentencePiece.
    """
    if not isinstance(tokenizer, SlowTokenizer) or tokenizer.split_special_tokens:
        return None
    words: Any = tokenizer.words
    if not hasattr(words, "source"):
        return None
    models = [_model(words.source), _model(words.target)]
    added = [
        {"id": i, "content": t.content, "lstrip": t.lstrip, "rstrip": t.rstrip}
        for i, t in tokenizer.added_tokens.items()
    ]
    single = any(token.single_word for token in tokenizer.added_tokens.values())
    if None in models or single or tokenizer.clean_up_tokenization_spaces:
        return None
    source, target = models
    return {
        "source": source,
        "target": None if words.target is words.source else target,
        "vocab": list((words.vocab if words.has_codes else words.target_vocab).items()),
        "target_vocab": list(words.target_vocab.items()),
        "added_tokens": added,
        "special": sorted(set(tokenizer.special_spellings)),
        "unk": words.vocab[words.unknown],
        "unk_token": words.unknown,
        "codes": words.has_codes,
        "eos_token_id": tokenizer.eos_token_id,
    }


def _model(processor: Any) -> dict[str, Any] | None:
    """Pieces with their scores, and how text is normalized before it is cut."""
    from sentencepiece import sentencepiece_model_pb2

    proto = sentencepiece_model_pb2.ModelProto()
    proto.ParseFromString(processor.serialized_model_proto())
    normalizer, trainer = proto.normalizer_spec, proto.trainer_spec
    is_known = all(piece.type in (_NORMAL, *_APART) for piece in proto.pieces)
    plain = normalizer.escape_whitespaces and not trainer.treat_whitespace_as_suffix
    if trainer.model_type not in _KINDS or not is_known or not plain:
        return None
    return {
        "kind": _KINDS[trainer.model_type],
        "pieces": [(piece.piece, piece.score) for piece in proto.pieces if piece.type == _NORMAL],
        "charsmap": base64.b64encode(normalizer.precompiled_charsmap).decode(),
        "add_dummy_prefix": normalizer.add_dummy_prefix,
        "remove_extra_whitespaces": normalizer.remove_extra_whitespaces,
    }
