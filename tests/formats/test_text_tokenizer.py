"""A tokenizer in the graph alone: its ids and texts are those of Hugging Face's."""

from __future__ import annotations

import itertools
import random
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import onnx_ir as ir
import pytest
from support.tokenizer_kinds import KINDS, trained
from tokenizers import Regex, Tokenizer, decoders
from tokenizers import pre_tokenizers as hf
from tokenizers.models import BPE
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from beamgen import find_adapter
from beamgen.errors import SettingError
from beamgen.formats.text import pieces, units
from beamgen.formats.text.check import (
    check_decoding,
    check_encoding,
    decode_session,
    encode_session,
    open_session,
    random_ids,
    texts_for,
)
from beamgen.formats.text.kinds import class_pages
from beamgen.formats.text.tables import read_tokenizer
from beamgen.search.functions.library import functions
from beamgen.tape import Tape
from beamgen.tokenizer.hf import HfTokenizer

pytest.importorskip("onnxruntime_extensions")

DEMOS = ("gpt2", "phi3")


def _demo(name: str) -> PreTrainedTokenizerFast:
    return AutoTokenizer.from_pretrained(find_adapter(name).demo)


@pytest.mark.parametrize("name", DEMOS)
def test_the_demo_tokenizers_are_equal(name: str) -> None:
    tokenizer = _demo(name)
    tables = read_tokenizer(HfTokenizer(tokenizer))
    assert check_encoding(HfTokenizer(tokenizer), tables, texts_for(tables, 1500, seed=3)) > 1600
    assert check_decoding(HfTokenizer(tokenizer), tables, random_ids(tables, 1500, seed=3)) == 1500


@pytest.mark.parametrize("kind", KINDS)
def test_trained_tokenizers_are_equal(kind: str) -> None:
    tokenizer = trained(kind)
    tables = read_tokenizer(HfTokenizer(tokenizer))
    assert list(tables.before) == [tokenizer.bos_token_id]
    assert len(tables.merges.pairs) > 200
    assert check_encoding(HfTokenizer(tokenizer), tables, texts_for(tables, 150, seed=5)) > 300
    assert check_decoding(HfTokenizer(tokenizer), tables, random_ids(tables, 150, seed=5)) == 150


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_trained_tokenizers_are_equal_on_many_texts(kind: str) -> None:
    tokenizer = HfTokenizer(trained(kind, 1500))
    tables = read_tokenizer(tokenizer)
    assert check_encoding(tokenizer, tables, texts_for(tables, 20_000, seed=6)) > 20_000
    assert check_decoding(tokenizer, tables, random_ids(tables, 20_000, seed=6)) > 19_000


def _piece_starts(name: str, texts: Sequence[str]) -> list[list[int]]:
    """Where pieces begin, in one run over all texts."""
    tape = Tape("test")
    given = [
        ir.Value(name=name, type=ir.TensorType(dtype), shape=ir.Shape([None]))
        for name, dtype in (("units", ir.DataType.INT64), ("starts", ir.DataType.BOOL))
    ]
    begins, members = class_pages(digits=name.startswith("digits"))
    kinds = tape.value(
        units.classes,
        given[0],
        tape.constant("begins", begins),
        tape.constant("members", members, np.uint8),
    )
    found = tape.value(getattr(pieces, name), given[0], kinds, given[1])
    found.dtype, found.shape = ir.DataType.BOOL, ir.Shape([None])
    graph = ir.Graph(
        given, [found], nodes=tape.nodes, initializers=tape.initializers,
        opset_imports={"": 23, "beamgen": 1}, name="pieces",
    )  # fmt: skip
    model = ir.Model(graph, ir_version=10, functions=functions(units, pieces))
    session = open_session(ir.serde.serialize_model(model).SerializeToString())
    points = np.frombuffer("".join(texts).encode("utf-32-le"), np.uint32).astype(np.int64)
    ends = np.cumsum([len(text) for text in texts])
    starts = np.zeros(len(points), bool)
    starts[np.append(0, ends[:-1])] = True
    result = session.run(None, {"units": points, "starts": starts})[0]
    return [np.flatnonzero(part).tolist() for part in np.split(result, ends[:-1])]


_SPLITS = {name: hf.Split(Regex(pattern), "isolated") for pattern, name in pieces.PATTERNS.items()}
_SPLITS |= {"digits_alone": hf.Digits(True), "digits_together": hf.Digits(False)}


@pytest.mark.parametrize("name", _SPLITS)
def test_pieces_of_every_short_text(name: str) -> None:
    """All texts of up to 3 characters of all classes, and longer random ones."""
    alphabet = "asltE1 \n\r\t'!\u00a0\u0301"
    texts = [
        "".join(text) for size in (1, 2, 3) for text in itertools.product(alphabet, repeat=size)
    ]
    draw = random.Random(1)
    more = f"{alphabet}rvemd''  \n\u017fLR\u3000A\u0661"
    texts += ["".join(draw.choices(more, k=draw.randrange(4, 40))) for _ in range(2000)]
    expected = [[begin for _, (begin, _) in _SPLITS[name].pre_tokenize_str(t)] for t in texts]
    assert _piece_starts(name, texts) == expected


@pytest.mark.slow
@pytest.mark.parametrize("name", _SPLITS)
def test_pieces_around_every_code_point(name: str) -> None:
    points = [chr(n) for n in range(0x110000) if not 0xD800 <= n < 0xE000]
    for begin in range(0, len(points), 100_000):
        texts = [f"{c}a1{c} {c}'{c}" for c in points[begin : begin + 100_000]]
        expected = [[start for _, (start, _) in _SPLITS[name].pre_tokenize_str(t)] for t in texts]
        assert _piece_starts(name, texts) == expected


@pytest.mark.parametrize(
    "seed", [0, 1, 2, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(3, 200))]
)
def test_merges_of_any_order(seed: int) -> None:
    """Merges that no training would rank so, and texts of their few letters."""
    draw = random.Random(seed)
    letters = "abc"[: draw.choice((1, 2, 3))]
    vocab = {letter: n for n, letter in enumerate(sorted(hf.ByteLevel.alphabet()))}
    tokens, merges = list(letters), []
    for _ in range(draw.choice((8, 20, 60))):
        pair = (draw.choice(tokens), draw.choice(tokens))
        if len("".join(pair)) <= 8 and pair not in merges:
            merges.append(pair)
            if "".join(pair) not in vocab:
                vocab["".join(pair)] = len(vocab)
                tokens.append("".join(pair))
    draw.shuffle(merges)
    backend = Tokenizer(BPE(vocab=vocab, merges=merges))
    backend.pre_tokenizer = hf.ByteLevel(add_prefix_space=False, use_regex=False)
    backend.decoder = decoders.ByteLevel()
    tokenizer = HfTokenizer(PreTrainedTokenizerFast(tokenizer_object=backend))
    texts = ["".join(draw.choices(letters, k=draw.randrange(1, 60))) for _ in range(200)]
    assert check_encoding(tokenizer, read_tokenizer(tokenizer), texts) == 200


def test_a_batch_is_padded_on_the_left() -> None:
    tokenizer = trained("llama")
    texts = ["a b c d", "", "\0\0", "<|user|> x"]
    feeds = {"text": np.array(texts, object), "pad_token_id": np.array([9])}
    ids, mask = encode_session(read_tokenizer(HfTokenizer(tokenizer))).run(None, feeds)
    tokenizer.padding_side, tokenizer.pad_token = "left", tokenizer.convert_ids_to_tokens(9)
    expected = tokenizer(texts, padding=True, return_tensors="np")
    assert ids.tolist() == expected["input_ids"].tolist()
    assert mask.tolist() == expected["attention_mask"].tolist()


@pytest.mark.parametrize("texts", [[""], ["a", ""], ["", "", "a"]], ids=repr)
def test_a_text_without_tokens_fails(texts: list[str]) -> None:
    session = encode_session(read_tokenizer(HfTokenizer(_demo("gpt2"))))
    feeds = {"text": np.array(texts, object), "pad_token_id": np.array([0])}
    with pytest.raises(Exception, match="every_text_needs_a_token"):
        session.run(None, feeds)


def test_what_is_shown_of_a_sequence() -> None:
    """No padding, nothing after the EOS, nothing beyond max_new_tokens, no special tokens."""
    tokenizer = trained("gpt2")
    session = decode_session(read_tokenizer(HfTokenizer(tokenizer)))
    a, b, c = tokenizer.convert_tokens_to_ids(["a", "b", "c"])
    eos = tokenizer.eos_token_id
    rows = [[c, a, b, eos, c], [a, b, c, c, c], [a, b, c, b, c], [a, b, b, b, b]]
    feeds = {
        "sequences": np.array(rows)[:, None],
        "attention_mask": np.array([[0, 1], [1, 1], [1, 1], [1, 1]]),
        "finish_reasons": np.array([[1], [2], [1], [0]]),
        "eos_token_id": np.array([eos, b]),
        "max_new_tokens": np.array([3, 1, 3, 3]),
    }
    texts = session.run(None, feeds)[0]
    assert texts.tolist() == [["ab"], ["abc"], ["abcb"], [""]]


def test_the_check_finds_what_differs() -> None:
    """Tables that are wrong on purpose, one at a time."""
    tokenizer = trained("llama")
    tables = read_tokenizer(HfTokenizer(tokenizer))
    texts = texts_for(tables, 100)
    shuffled = replace(tables.merges, ranked=tables.merges.ranked[::-1].copy())
    unjoined = replace(tables.merges, joints=tables.merges.joints[: len(tables.merges.joints) // 2])
    hasty = replace(tables.merges, ahead=tables.merges.behind, behind=tables.merges.ahead)
    unstripped = [replace(token, rstrip=False) for token in tables.added]
    for wrong in (
        replace(tables, prefix=None),
        replace(tables, before=()),
        replace(tables, merges=shuffled),
        replace(tables, merges=unjoined),
        replace(tables, merges=hasty),
        replace(tables, added=tables.added[:-1]),
        replace(tables, added=unstripped),
    ):
        with pytest.raises(SettingError, match="of the text"):
            check_encoding(HfTokenizer(tokenizer), wrong, texts)
    spaced = next(n for n, octets in enumerate(tables.token_bytes) if octets[:1] == b" ")
    rows = [*random_ids(tables, 90, seed=1), [spaced]]
    for wrong in (
        replace(tables, strip_first_space=False),
        replace(tables, byte_tokens=frozenset()),
        replace(tables, token_bytes=[*tables.token_bytes[:-1], tables.token_bytes[-1] + b"?"]),
    ):
        with pytest.raises(SettingError, match="to the graph"):
            check_decoding(HfTokenizer(tokenizer), wrong, [*rows, [len(tables.token_bytes) - 1]])
