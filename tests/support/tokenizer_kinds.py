"""Tokenizers of every kind that a graph takes, trained on a little text."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Regex, Tokenizer, decoders, normalizers, pre_tokenizers
from tokenizers.models import BPE
from tokenizers.processors import TemplateProcessing
from tokenizers.trainers import BpeTrainer
from transformers import PreTrainedTokenizerFast

from beamgen.formats.text.pieces import PATTERNS
from beamgen.formats.text.steps import BLANK

_WORLD = (
    "na\u00efve caf\u00e9 \u00fcber \u00df \u05e9\u05dc\u05d5\u05dd \u0645\u0631\u062d\u0628\u0627 "
    "\u0928\u092e\u0938\u094d\u0924\u0947 \u4f60\u597d\uff0c\u4e16\u754c\u3002 \uc548\ub155 "
    "\U0001f600\U0001f600 12 123 1234 2024 don't I'LL we've\n\n\tdef f(x):\n        return x\r\n"
) * 30
_SPECIAL = ("<unk>", "<s>", "</s>", "<|user|>")


@functools.cache
def corpus() -> list[str]:
    root = Path(__file__).parents[2]
    return [
        _WORLD,
        *((root / name).read_text(encoding="utf-8") for name in ("README.md", "LICENSE")),
    ]


def _byte_level(before: list[Any], *, prefix: bool = False, regex: bool = True) -> Tokenizer:
    last = pre_tokenizers.ByteLevel(add_prefix_space=prefix, use_regex=regex)
    tokenizer = Tokenizer(BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([*before, last]) if before else last
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def _spm(normalizer: Any, pre_tokenizer: Any, *, strip: bool = True) -> Tokenizer:
    tokenizer = Tokenizer(BPE(byte_fallback=True, fuse_unk=True, unk_token="<unk>"))
    if normalizer is not None:
        tokenizer.normalizer = normalizer
    if pre_tokenizer is not None:
        tokenizer.pre_tokenizer = pre_tokenizer
    last = [decoders.Strip(" ", 1, 0)] if strip else []
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace(BLANK, " "), decoders.ByteFallback(), decoders.Fuse(), *last]
    )
    return tokenizer


def _split(function: str) -> Any:
    pattern = next(pattern for pattern, name in PATTERNS.items() if name == function)
    return pre_tokenizers.Split(Regex(pattern), "isolated")


_LLAMA = normalizers.Sequence([normalizers.Prepend(BLANK), normalizers.Replace(" ", BLANK)])

KINDS: dict[str, Any] = {
    "gpt2": lambda: _byte_level([]),
    "gpt2, prefix space": lambda: _byte_level([], prefix=True),
    "starcoder": lambda: _byte_level([pre_tokenizers.Digits(individual_digits=True)]),
    "digits together": lambda: _byte_level([pre_tokenizers.Digits(individual_digits=False)]),
    "llama3": lambda: _byte_level([_split("split_by_three_digits")], regex=False),
    "qwen2": lambda: _byte_level([_split("split_by_digit")], regex=False),
    "llama": lambda: _spm(_LLAMA, None),
    "gemma": lambda: _spm(
        normalizers.Replace(" ", BLANK),
        pre_tokenizers.Split(" ", "merged_with_previous"),
        strip=False,
    ),
    "metaspace first": lambda: _spm(
        None, pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    ),
    "metaspace split": lambda: _spm(
        None, pre_tokenizers.Metaspace(prepend_scheme="always", split=True)
    ),
}


@functools.cache
def trained(kind: str, vocab_size: int = 700) -> PreTrainedTokenizerFast:
    """A tokenizer with a BOS, and added tokens that strip on either side."""
    tokenizer = KINDS[kind]()
    fallback = [f"<0x{byte:02X}>" for byte in range(256)]
    byte_level = tokenizer.model.byte_fallback is False
    tokenizer.train_from_iterator(
        corpus(),
        BpeTrainer(
            vocab_size=vocab_size,
            special_tokens=[*_SPECIAL, *([] if byte_level else fallback)],
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet() if byte_level else [],
            show_progress=False,
        ),
    )
    if not byte_level:
        # training made them special, which those of real vocabularies are not
        tokenizer = _without_added(tokenizer, fallback)
    tokenizer.add_special_tokens(
        [
            AddedToken("<|right|>", rstrip=True, normalized=False),
            AddedToken("<|left|>", lstrip=True, normalized=False),
            AddedToken("<|left|>er", normalized=False),
        ]
    )
    tokenizer.add_tokens([AddedToken("[plain]", normalized=False, special=False)])
    tokenizer.post_processor = TemplateProcessing(
        single="<s> $A", pair="<s> $A $B", special_tokens=[("<s>", tokenizer.token_to_id("<s>"))]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", unk_token="<unk>"
    )


def _without_added(tokenizer: Tokenizer, contents: list[str]) -> Tokenizer:
    import json

    parts = json.loads(tokenizer.to_str())
    parts["added_tokens"] = [row for row in parts["added_tokens"] if row["content"] not in contents]
    return Tokenizer.from_str(json.dumps(parts))
