"""Tokenizers as HF's classes save them, one folder for each way in which a class can differ."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import transformers
from tokenizers import AddedToken, Tokenizer, decoders, normalizers, pre_tokenizers, processors
from tokenizers.models import Unigram, WordPiece
from tokenizers.trainers import UnigramTrainer, WordPieceTrainer

from support.tokenizer_kinds import corpus, trained

TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}<|user|>{{ m['role'] }}: {{ m['content'] | trim }}"
    "</s>\n{% endfor %}{% if add_generation_prompt %}<|right|>{% endif %}"
)

_NAMES = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}


def _backend(kind: str) -> Tokenizer:
    return Tokenizer.from_str(trained(kind).backend_tokenizer.to_str())


def _with(kind: str, **parts: Any) -> Tokenizer:
    backend = _backend(kind)
    for name, part in parts.items():
        setattr(backend, name, part)
    return backend


def _word_piece() -> Tokenizer:
    backend = Tokenizer(WordPiece(unk_token="[UNK]"))
    backend.normalizer = normalizers.BertNormalizer()
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.decoder = decoders.WordPiece()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    trainer = WordPieceTrainer(vocab_size=600, special_tokens=special, show_progress=False)
    backend.train_from_iterator(corpus(), trainer)
    backend.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[(token, backend.token_to_id(token)) for token in ("[CLS]", "[SEP]")],
    )
    return backend


def unigram() -> Tokenizer:
    """Of a SentencePiece-like model, with an EOS behind each text."""
    backend = Tokenizer(Unigram())
    backend.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Strip()])
    backend.pre_tokenizer = pre_tokenizers.Metaspace()
    backend.decoder = decoders.Metaspace()
    trainer = UnigramTrainer(
        vocab_size=500,
        special_tokens=["<pad>", "</s>", "<unk>"],
        unk_token="<unk>",
        show_progress=False,
    )
    backend.train_from_iterator(corpus(), trainer)
    backend.post_processor = processors.TemplateProcessing(
        single="$A </s>", special_tokens=[("</s>", 1)]
    )
    return backend


def _cut_and_padded() -> Tokenizer:
    backend = _backend("gpt2")
    backend.enable_truncation(5)
    backend.enable_padding(length=9, pad_token="</s>", pad_id=2)
    return backend


def _heard() -> Tokenizer:
    """With tokens of tasks and of what was said before, which are special, and of times."""
    backend = _backend("gpt2")
    tasks = ("endoftext", "startoftranscript", "en", "transcribe", "startofprev", "notimestamps")
    backend.add_special_tokens([AddedToken(f"<|{task}|>", normalized=False) for task in tasks])
    backend.add_tokens([AddedToken(f"<|{i / 50:.2f}|>", normalized=True) for i in range(30)])
    return backend


def _late() -> dict[str, Any]:
    """Tokens that the config adds to the file's, of which one is spelled in a map alone."""
    plain = AddedToken("<late>", lstrip=True, special=False)
    return {"additional_special_tokens": [AddedToken("<|mark|>", rstrip=True), "<|user|>", plain]}


_BYTES = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "</s>"}

#: name -> class, backend, arguments, fields of the config that are changed afterwards
SAVED: dict[str, tuple[str, Callable[[], Tokenizer], dict[str, Any], dict[str, Any]]] = {
    "plain": ("PreTrainedTokenizerFast", lambda: _backend("llama3"), _NAMES, {}),
    "cleans up": (
        "PreTrainedTokenizerFast", lambda: _backend("llama3"), _NAMES,
        {"clean_up_tokenization_spaces": True},
    ),
    "splits special tokens": (
        "PreTrainedTokenizerFast", lambda: _backend("llama"), _NAMES,
        {"split_special_tokens": True},
    ),
    "cut and padded": ("PreTrainedTokenizerFast", _cut_and_padded, {}, {}),
    "late tokens": ("PreTrainedTokenizerFast", lambda: _backend("qwen2"), _NAMES | _late(), {}),
    "named tokens of a model": (
        "PreTrainedTokenizerFast", lambda: _backend("qwen2"), _NAMES,
        {"extra_special_tokens": {"image_token": "<|image|>", "user_token": "<|user|>"}},
    ),
    "gpt2": ("GPT2TokenizerFast", lambda: _backend("gpt2"), _BYTES, {}),
    "gpt2, prefix space of the config": (
        "GPT2TokenizerFast", lambda: _backend("gpt2"), _BYTES, {"add_prefix_space": True}
    ),
    "gpt2, prefix space of the file": (
        "GPT2TokenizerFast", lambda: _backend("gpt2, prefix space"), _BYTES, {}
    ),
    "prefix space left alone": (
        "PreTrainedTokenizerFast", lambda: _backend("gpt2, prefix space"), _NAMES,
        {"add_prefix_space": None},
    ),
    "llama": ("LlamaTokenizerFast", lambda: _backend("llama"), {}, {"add_prefix_space": None}),
    "llama with an eos": (
        "LlamaTokenizerFast", lambda: _backend("llama"), {}, {"add_eos_token": True}
    ),
    "llama without a bos": (
        "LlamaTokenizerFast", lambda: _backend("metaspace first"), {}, {"add_bos_token": False}
    ),
    "gemma": (
        "GemmaTokenizerFast", lambda: _backend("gemma"), _NAMES | {"pad_token": "<unk>"}, {}
    ),
    "qwen2": (
        "Qwen2TokenizerFast", lambda: _with("qwen2", normalizer=normalizers.NFC()),
        {"eos_token": "</s>", "pad_token": "<|new|>", "unk_token": "</s>"}, {},
    ),
    "gpt neox": (
        "GPTNeoXTokenizerFast", lambda: _with("gpt2", normalizer=normalizers.NFC()), _BYTES,
        {"clean_up_tokenization_spaces": True},
    ),
    "gpt neox with both": (
        "GPTNeoXTokenizerFast", lambda: _backend("gpt2"), _BYTES,
        {"add_bos_token": True, "add_eos_token": True},
    ),
    "codegen": ("CodeGenTokenizerFast", lambda: _backend("starcoder"), _BYTES, {}),
    "bloom": ("BloomTokenizerFast", lambda: _backend("llama3"), _NAMES, {}),
    "cohere": ("CohereTokenizerFast", lambda: _backend("starcoder"), _NAMES, {}),
    "word piece": ("BertTokenizerFast", _word_piece, {}, {}),
    "word piece, cased by the config": (
        "BertTokenizerFast", _word_piece, {},
        {"do_lower_case": False, "tokenize_chinese_chars": False, "strip_accents": False},
    ),
    "whisper": ("WhisperTokenizerFast", _heard, {}, {}),
    "whisper, in a language": (
        "WhisperTokenizerFast", _heard, {"language": "en", "task": "transcribe"},
        {"clean_up_tokenization_spaces": True},
    ),
    "unigram": ("T5TokenizerFast", unigram, {"extra_ids": 3}, {}),
}  # fmt: skip


SAVED = {name: row for name, row in SAVED.items() if hasattr(transformers, row[0])}


def save(name: str, folder: Path) -> Path:
    """One of ``SAVED``, as transformers writes it, and then the config changed."""
    kind, make, arguments, changes = SAVED[name]
    own = {"tokenizer_object": make(), "chat_template": TEMPLATE}
    getattr(transformers, kind)(**own, **arguments).save_pretrained(folder)
    # what the class has made of it is not in the file then, and is to be made when it loads
    make().save(str(folder / "tokenizer.json"))
    change_config(folder, **changes)
    return folder


def change_config(folder: Path, **changes: Any) -> None:
    """Give fields of a ``tokenizer_config.json`` other values; None is null."""
    path = folder / "tokenizer_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
