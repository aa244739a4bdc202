"""How a page reads and writes text: with the package's tokenizer, or by its vocabulary."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from beamgen.formats.web.modules import JINJA, TOKENIZERS, add_modules
from beamgen.formats.web.spm import spm_form
from beamgen.tokenizer.languages import Languages
from beamgen.tokenizer.tokenizer import Tokenizer

TOKENIZER, PIECES, SPM = "tokenizer.json", "pieces.json", "sentencepiece.json"

#: How vocabularies without a fast tokenizer mark where words end and begin.
_WORD_END, _WORD_BEGIN = "</w>", "▁"


def add_text(
    tokenizer: Tokenizer | None,
    vocab_size: int,
    folder: Path,
    vendor: str,
    node_modules: Path | None = None,
    *,
    reason: str | None = None,
) -> dict[str, Any]:
    """Write what the page needs for text; ``reason`` says why there is no tokenizer.

    Returns:
        The page description's ``text``; its ``kind`` is ``tokenizer``, or ``pieces`` or
        ``ids`` where the page takes token ids.

    Raises:
        PackageError: see ``add_modules``.
    """
    if tokenizer is None:
        return {"kind": "ids", "reason": reason or "This model came without a tokenizer."}
    form = spm_form(tokenizer) if tokenizer.backend is None else None
    if form is not None:
        _write(folder / SPM, form)
        about = {"kind": "tokenizer", "file": SPM, "module": None, "chat": None}
        return {**about, "languages": _languages(tokenizer.languages)}
    if tokenizer.backend is None:
        pieces = _pieces(tokenizer, vocab_size)
        _write(folder / PIECES, pieces)
        reason = f"This model's tokenizer ({tokenizer.name}) has no form that runs in a browser."
        return {"kind": "pieces", "file": PIECES, "reason": reason}
    # as it was loaded: classes of HF's change what the file says
    (folder / TOKENIZER).write_text(tokenizer.backend.to_str(), encoding="utf-8")
    add_modules(TOKENIZERS, folder / vendor, node_modules)
    text = {
        "kind": "tokenizer",
        "file": TOKENIZER,
        "module": f"{vendor}/tokenizers.js",
        "clean_up_tokenization_spaces": tokenizer.clean_up_tokenization_spaces,
        "chat": None,
        "languages": _languages(tokenizer.languages),
    }
    if tokenizer.chat_template:
        add_modules(JINJA, folder / vendor, node_modules)
        text["chat"] = {
            "module": f"{vendor}/jinja.js",
            "template": tokenizer.chat_template,
            "special_tokens": tokenizer.special_tokens_map,
        }
    return text


def _languages(languages: Languages) -> dict[str, Any] | None:
    """What goes around a text in each language, and is the first token of a translation."""
    if not languages.ids:
        return None
    return {
        "ids": dict(languages.ids),
        "src_lang": languages.src_lang,
        "eos_token_id": languages.eos_token_id,
        "before": languages.before,
    }


def _pieces(tokenizer: Tokenizer, vocab_size: int) -> dict[str, Any]:
    """What each id is spelled as, with spaces for the marks of words."""
    known = min(vocab_size, len(tokenizer))
    spelled = [str(tokenizer.convert_ids_to_tokens(token)) for token in range(known)]
    text = [piece.replace(_WORD_END, " ").replace(_WORD_BEGIN, " ") for piece in spelled]
    text += ["\ufffd"] * (vocab_size - known)
    return {"text": text, "special": [i for i in tokenizer.special_tokens if i < vocab_size]}


def _write(path: Path, values: Any) -> None:
    path.write_text(json.dumps(values, ensure_ascii=False) + "\n", encoding="utf-8")
