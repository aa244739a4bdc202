"""HF's tokenizer classes over a ``tokenizer.json``, as far as they change what it says.

A class that is not listed goes to transformers: some have Python code around the file.
``tests/tokenizer`` holds each against the installed transformers.

Source: ``tokenization_*_fast.py`` of transformers 4.57.6.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from beamgen.tokenizer.config import ADDITIONAL, OtherKindError

if TYPE_CHECKING:
    from tokenizers import Tokenizer

Values = Mapping[str, Any]


@dataclass(frozen=True)
class KnownClass:
    """What a class adds to the config's values and to the file's steps.

    Attributes:
        defaults: of its arguments, for those that the config does not give.
        arguments: what it makes of them before anything else.
        adjust: what it does to the tokenizer in the end.
        adjust_5: the same of version 5's class, to a file that it wrote.
        bos_and_eos: it puts a BOS and an EOS around texts as ``add_bos_token`` and
            ``add_eos_token`` say, whatever the file says.
        heard: it is of speech: decoded text has no times in it, nor, where special tokens are
            left out, what was said before.
        languages: tokens around texts that say which language they are in, or None.
        lists_tokens: what the config's ``added_tokens_decoder`` lists is added.
    """

    defaults: Values = field(default_factory=dict)
    arguments: Callable[[Values], Values] = lambda values: values
    adjust: Callable[[Tokenizer, Values], None] = lambda backend, values: None
    adjust_5: Callable[[Tokenizer, Values], None] = lambda backend, values: None
    bos_and_eos: bool = False
    heard: bool = False
    languages: LanguageTokens | None = None
    lists_tokens: bool = True


@dataclass(frozen=True)
class LanguageTokens:
    """Special tokens that are languages' codes.

    Attributes:
        pattern: how a code is spelled.
        least: how many the class adds at the least; a config that lists fewer leaves that to it.
        default: of texts of which none is given, where the config names none.
        before: whether they stand before a text, or behind its EOS; by the class's arguments.
    """

    pattern: str
    least: int
    default: str
    before: Callable[[Values], bool]

    def of(self, tokens: Iterable[object]) -> list[str]:
        """The codes among tokens.

        Raises:
            OtherKindError: they are fewer than the class adds.
        """
        codes = [spelled for spelled in map(str, tokens) if re.fullmatch(self.pattern, spelled)]
        if len(codes) < self.least:
            raise OtherKindError("its config does not list its languages")
        return codes


def _tokens(**tokens: str | None) -> dict[str, str | None]:
    return {f"{name}_token": token for name, token in tokens.items()}


def _no_prefix_space(values: Values) -> Values:
    """Refuse the switch for which these classes build the tokenizer anew, or edit it."""
    if values.get("add_prefix_space"):
        raise OtherKindError("its config has add_prefix_space")
    return values


def _untouched_prefix_space(values: Values) -> Values:
    if values.get("add_prefix_space") is not None:
        raise OtherKindError("its config has add_prefix_space")
    return values


def _no_bos(values: Values) -> Values:
    if values.get("add_bos_token"):
        raise OtherKindError("its config has add_bos_token")
    return values


def _with_flags(values: Values) -> Values:
    """Spellings become tokens that are looked for before the normalizer."""
    from tokenizers import AddedToken

    named = {
        key: AddedToken(values[key], special=True, normalized=False)
        for key in ("bos_token", "eos_token", "unk_token", "pad_token")
        if isinstance(values.get(key), str)
    }
    return {**values, **named}


def _with_sentinels(values: Values) -> Values:
    """``<extra_id_0>`` and so on are special, as many as ``extra_ids`` says."""
    _untouched_prefix_space(values)
    given, extra_ids = values.get(ADDITIONAL), values.get("extra_ids", 100)
    sentinels = [f"<extra_id_{i}>" for i in range(extra_ids)]
    there = [token for token in given or [] if "<extra_id_" in str(token)]
    if given is None:
        return {**values, ADDITIONAL: sentinels}
    if not there:
        return {**values, ADDITIONAL: [*given, *sentinels]}
    if extra_ids > 0 and extra_ids != len(there):
        raise OtherKindError(f"its extra_ids are {extra_ids}, and it lists {len(there)}")
    return values


def _with_mask(values: Values, **flags: bool) -> Values:
    """The mask takes the space before it."""
    from tokenizers import AddedToken

    mask = values["mask_token"]
    return (
        {**values, "mask_token": AddedToken(mask, lstrip=True, **flags)}
        if isinstance(mask, str)
        else values
    )


def _with_plain_mask(values: Values) -> Values:
    return _with_mask(values)


def _with_special_mask(values: Values) -> Values:
    return _with_mask(values, normalized=True, special=True)


def _with_raw_mask(values: Values) -> Values:
    return _with_mask(values, normalized=False)


def _with_numbered_tokens(values: Values) -> Values:
    """``<unk_2>`` and so on up to ``offset`` are special, and the mask of sentences."""
    named = {key: str(values[f"{key}_token"]) for key in ("pad", "eos", "unk")}
    if named != {"pad": "<pad>", "eos": "</s>", "unk": "<unk>"}:
        raise OtherKindError("its padding, EOS or unknown token has another name")
    sentence, offset = values["mask_token_sent"], values["offset"]
    given = values.get(ADDITIONAL)
    first = [] if sentence is None else [sentence]
    if given is None:
        return {**values, ADDITIONAL: [*first, *(f"<unk_{i}>" for i in range(2, offset))]}
    tokens = list(given) if sentence in map(str, given) else [*first, *given]
    tokens += [f"<unk_{i}>" for i in range(len(tokens), offset - 1)]
    if len(set(map(str, tokens))) != len(tokens):
        raise OtherKindError("its additional special tokens are numbered otherwise")
    return {**values, ADDITIONAL: tokens}


def _set_bert_normalizer(backend: Tokenizer, values: Values) -> None:
    """Case, accents and Chinese characters are the config's to decide."""
    from tokenizers import normalizers

    if backend.normalizer is None:
        raise OtherKindError("it has no normalizer")
    state = json.loads(backend.normalizer.__getstate__())
    wanted = {
        "lowercase": values["do_lower_case"],
        "strip_accents": values["strip_accents"],
        "handle_chinese_chars": values["tokenize_chinese_chars"],
    }
    if any(state.get(key, value) != value for key, value in wanted.items()):
        kind = getattr(normalizers, state.pop("type"))
        backend.normalizer = kind(**{**state, **wanted})


def _set_prepend_scheme(backend: Tokenizer, values: Values) -> None:
    """Where a space goes before the text: version 5 does not save what it is made by.

    Source: ``LlamaTokenizer`` of transformers 5.24.0.
    """
    from tokenizers import pre_tokenizers

    scheme = "always" if values.get("legacy", False) else "first"
    if values.get("add_prefix_space") is False:
        scheme = "never"
    if isinstance(backend.pre_tokenizer, pre_tokenizers.Metaspace):
        backend.pre_tokenizer.prepend_scheme = scheme


_END = "<|endoftext|>"
_SENTENCEPIECE = _tokens(unk="<unk>", bos="<s>", eos="</s>")
_ADDS_BOS = {"add_bos_token": True, "add_eos_token": False}
_AROUND = _SENTENCEPIECE | _tokens(sep="</s>", cls="<s>", pad="<pad>", mask="<mask>")
_COUNTRIES = r"[a-z]{2}_[A-Z]{2}"
_SCRIPTS = r"[a-z]{3}_[A-Z][a-z]{3}"

#: By HF's name without ``Fast``.
KNOWN: dict[str, KnownClass] = {
    "PreTrainedTokenizer": KnownClass(),
    "TokenizersBackend": KnownClass(),
    "BartTokenizer": KnownClass(_AROUND, arguments=_with_special_mask),
    "BertTokenizer": KnownClass(
        _tokens(unk="[UNK]", sep="[SEP]", pad="[PAD]", cls="[CLS]", mask="[MASK]")
        | {"do_lower_case": True, "tokenize_chinese_chars": True, "strip_accents": None},
        adjust=_set_bert_normalizer,
    ),
    "BlenderbotTokenizer": KnownClass(_AROUND, arguments=_with_raw_mask),
    "BloomTokenizer": KnownClass(_SENTENCEPIECE | _tokens(pad="<pad>"), arguments=_no_prefix_space),
    "CodeGenTokenizer": KnownClass(_tokens(unk=_END, bos=_END, eos=_END), arguments=_no_bos),
    "CohereTokenizer": KnownClass(
        _tokens(unk="<UNK>", bos="<BOS_TOKEN>", eos="<|END_OF_TURN_TOKEN|>") | _ADDS_BOS,
        arguments=_no_prefix_space,
        bos_and_eos=True,
    ),
    "GPT2Tokenizer": KnownClass(_tokens(unk=_END, bos=_END, eos=_END)),
    "GPTNeoXTokenizer": KnownClass(
        _tokens(unk=_END, bos=_END, eos=_END, pad=None)
        | {"add_bos_token": False, "add_eos_token": False},
        bos_and_eos=True,
    ),
    "GemmaTokenizer": KnownClass(
        _tokens(unk="<unk>", bos="<bos>", eos="<eos>", pad="<pad>") | _ADDS_BOS,
        bos_and_eos=True,
    ),
    "LEDTokenizer": KnownClass(_AROUND, arguments=_with_special_mask),
    "LlamaTokenizer": KnownClass(
        _SENTENCEPIECE | _ADDS_BOS,
        arguments=_untouched_prefix_space,
        adjust_5=_set_prepend_scheme,
        bos_and_eos=True,
    ),
    "MBartTokenizer": KnownClass(
        _AROUND,
        arguments=_with_plain_mask,
        languages=LanguageTokens(_COUNTRIES, 25, "en_XX", before=lambda values: False),
    ),
    "MBart50Tokenizer": KnownClass(
        {key: token for key, token in _AROUND.items() if key != "bos_token"},
        arguments=_with_plain_mask,
        languages=LanguageTokens(_COUNTRIES, 52, "en_XX", before=lambda values: True),
    ),
    "NllbTokenizer": KnownClass(
        _AROUND,
        arguments=_with_special_mask,
        languages=LanguageTokens(
            _SCRIPTS, 1, "eng_Latn", before=lambda values: not values.get("legacy_behaviour")
        ),
    ),
    "PegasusTokenizer": KnownClass(
        _tokens(eos="</s>", unk="<unk>", pad="<pad>", mask="<mask_2>")
        | {"mask_token_sent": "<mask_1>", "offset": 103},
        arguments=_with_numbered_tokens,
        lists_tokens=False,
    ),
    "Qwen2Tokenizer": KnownClass(
        _tokens(unk=_END, bos=None, eos=_END, pad=_END), arguments=_with_flags
    ),
    "RobertaTokenizer": KnownClass(_AROUND, arguments=_with_raw_mask),
    "T5Tokenizer": KnownClass(
        _tokens(eos="</s>", unk="<unk>", pad="<pad>"), arguments=_with_sentinels
    ),
    "WhisperTokenizer": KnownClass(_tokens(unk=_END, bos=_END, eos=_END), heard=True),
}
