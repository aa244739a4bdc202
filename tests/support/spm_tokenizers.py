"""Tokenizers of encoder-decoders as their authors publish them: SentencePiece models, byte BPE."""

from __future__ import annotations

import functools
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import sentencepiece
from tokenizers import Tokenizer, pre_tokenizers
from tokenizers.models import BPE
from tokenizers.trainers import BpeTrainer

from support.tokenizer_kinds import corpus

Files = dict[str, bytes]

#: How T5's and Pegasus' models number their special tokens.
PADDED = {"pad_id": 0, "eos_id": 1, "unk_id": 2, "bos_id": -1}


@functools.cache
def spm(kind: str = "unigram", size: int = 400, *, reverse: bool = False, **ids: int) -> bytes:
    """A model of text, or of its lines read backwards, trained on little."""
    lines = [line for text in corpus() for line in text.splitlines() if line.strip()]
    if reverse:
        lines = [line[::-1] for line in lines]
    written = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(lines),
        model_writer=written,
        vocab_size=size,
        model_type=kind,
        minloglevel=2,
        num_threads=1,
        **ids,
    )
    return written.getvalue()


def _pieces(model: bytes) -> list[str]:
    read = sentencepiece.SentencePieceProcessor(model_proto=model)
    return [read.IdToPiece(i) for i in range(3, read.GetPieceSize())]


def vocabulary(*tokens: str) -> bytes:
    """Tokens by number, each once."""
    return json.dumps({token: i for i, token in enumerate(dict.fromkeys(tokens))}).encode()


def _two_models(*, apart: bool = False) -> Files:
    source, target = spm(), spm(reverse=True)
    known = _pieces(source)[:-30]  # a model may have what the vocabulary lacks
    files = {"source.spm": source, "target.spm": target}
    if apart:
        files["vocab.json"] = vocabulary("</s>", "<unk>", *known, "<pad>")
        files["target_vocab.json"] = vocabulary("</s>", "<unk>", *_pieces(target), "<pad>")
        return files
    both = (">>fra<<", ">>deu_Latn<<", *known, *_pieces(target))
    return {**files, "vocab.json": vocabulary("</s>", "<unk>", *both, "<pad>")}


def _one_model() -> Files:
    vocab = vocabulary("<s>", "<pad>", "</s>", "<unk>", *_pieces(spm()))
    return {"sentencepiece.bpe.model": spm(), "vocab.json": vocab}


@functools.cache
def _merges() -> tuple[bytes, bytes]:
    backend = Tokenizer(BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = BpeTrainer(
        vocab_size=600,
        special_tokens=["<s>", "<pad>", "</s>", "<unk>", "<mask>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    backend.train_from_iterator(corpus(), trainer)
    model = json.loads(backend.to_str())["model"]
    pairs = [pair if isinstance(pair, str) else " ".join(pair) for pair in model["merges"]]
    return json.dumps(model["vocab"]).encode(), "\n".join(["#version: 0.2", *pairs, ""]).encode()


def _byte_level() -> Files:
    vocab, merges = _merges()
    return {"vocab.json": vocab, "merges.txt": merges}


_CODES = ["__af__", "__am__", "__ar__"]

#: name -> HF's class, what makes the files beside the config, the config's other fields.
PUBLISHED: dict[str, tuple[str, Callable[[], Files], dict[str, Any]]] = {
    "two models": ("MarianTokenizer", _two_models, {"source_lang": "en", "target_lang": "de"}),
    "two models, apart": (
        "MarianTokenizer", lambda: _two_models(apart=True), {"separate_vocabs": True}
    ),
    "two models, more tokens": (
        "MarianTokenizer", _two_models,
        {"additional_special_tokens": ["<|user|>", "<eop>"], "clean_up_tokenization_spaces": True},
    ),
    "two models, split": ("MarianTokenizer", _two_models, {"split_special_tokens": True}),
    "one model": ("M2M100Tokenizer", _one_model, {"additional_special_tokens": _CODES}),
    "one model, no list": ("M2M100Tokenizer", _one_model, {"src_lang": "fr"}),
    "one model, fewer codes": ("M2M100Tokenizer", _one_model, {"language_codes": "wmt21"}),
    "t5": ("T5Tokenizer", lambda: {"spiece.model": spm(**PADDED)}, {"extra_ids": 5}),
    "pegasus": ("PegasusTokenizer", lambda: {"spiece.model": spm(**PADDED)}, {}),
    "mbart": ("MBartTokenizer", lambda: {"sentencepiece.bpe.model": spm()}, {}),
    "mbart, from french": (
        "MBartTokenizer", lambda: {"sentencepiece.bpe.model": spm()}, {"src_lang": "fr_XX"}
    ),
    "mbart50": (
        "MBart50Tokenizer", lambda: {"sentencepiece.bpe.model": spm()},
        {"src_lang": "de_DE", "tgt_lang": "ro_RO"},
    ),
    "nllb": ("NllbTokenizer", lambda: {"sentencepiece.bpe.model": spm("bpe")}, {}),
    "nllb, as it was": (
        "NllbTokenizer", lambda: {"sentencepiece.bpe.model": spm("bpe")},
        {"legacy_behaviour": True, "src_lang": "fra_Latn"},
    ),
    "bart": ("BartTokenizer", _byte_level, {}),
    "roberta": ("RobertaTokenizer", _byte_level, {}),
    "led": ("LEDTokenizer", _byte_level, {}),
    "blenderbot": ("BlenderbotTokenizer", _byte_level, {"add_prefix_space": True}),
}  # fmt: skip


def publish(name: str, folder: Path) -> Path:
    """Write one of ``PUBLISHED``: no ``tokenizer.json``, a config with little in it."""
    kind, files, fields = PUBLISHED[name]
    folder.mkdir(parents=True)
    for file, content in files().items():
        (folder / file).write_bytes(content)
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": kind, **fields}))
    return folder
