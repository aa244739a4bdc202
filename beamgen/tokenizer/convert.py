"""Files that transformers alone reads become such as need it no more."""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path

from beamgen.tokenizer.config import OtherKindError
from beamgen.tokenizer.files import TOKENIZER_CONFIG, read_json, tokenizer_files
from beamgen.tokenizer.hard_texts import TEXTS
from beamgen.tokenizer.hf import HfTokenizer, load_hf
from beamgen.tokenizer.load import read_without_transformers
from beamgen.tokenizer.tokenizer import Tokenizer


def convert_tokenizer(folder: Path) -> bool:
    """Write a folder's tokenizer as transformers saves it, where the package then reads it alone.

    A SentencePiece model, or a vocabulary and merges, become the ``tokenizer.json`` that
    HF's fast class makes of them, and a config names its class; other files stay. Nothing is
    written where the two differ on any of the hard texts, nor where there is nothing to gain or
    the tokenizer does not load.

    Returns:
        Whether files were written.
    """
    if not tokenizer_files(folder):
        return False  # transformers 5 would make one of no tokens
    try:
        read_without_transformers(folder)
    except OtherKindError:
        pass
    except Exception:  # damaged, or a library is missing: whoever loads it says so
        return False
    else:
        return False
    with tempfile.TemporaryDirectory() as scratch:
        saved = Path(scratch)
        try:
            theirs = load_hf(folder, trust_remote_code=False)
            theirs.tokenizer.save_pretrained(saved)
            if not (_reads_as(saved, theirs) or _reads_as(_built(saved), theirs)):
                return False
        except Exception:  # each tokenizer library fails in its own way
            return False
        for name in tokenizer_files(saved):
            (folder / name).parent.mkdir(exist_ok=True)
            shutil.copyfile(saved / name, folder / name)
    return True


def _reads_as(saved: Path, theirs: HfTokenizer) -> bool:
    try:
        own = read_without_transformers(saved)
    except OtherKindError:
        return False
    return _same(own, theirs)


def _built(saved: Path) -> Path:
    """Without the switch for which some of HF's classes build the saved tokenizer anew."""
    config = saved / TOKENIZER_CONFIG
    values = read_json(config)
    values.pop("add_prefix_space", None)
    config.write_text(json.dumps(values, indent=2, ensure_ascii=False), encoding="utf-8")
    return saved


def _same(own: Tokenizer, theirs: HfTokenizer) -> bool:
    """Whether two tokenizers agree on the hard texts, forth and back, and on special tokens."""
    if len(own) != len(theirs) or own.special_tokens != theirs.special_tokens:
        return False
    for text in TEXTS:
        ids = theirs.encode(text)
        if own.encode(text) != ids or own.encode_target(text) != theirs.encode_target(text):
            return False
        for skip in (True, False):
            if own.decode(ids, skip_special_tokens=skip) != theirs.decode(
                ids, skip_special_tokens=skip
            ):
                return False
    return True
