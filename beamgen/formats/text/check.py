"""The comparison of the graph's tokenizer with Hugging Face's, on texts and ids that are hard."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx_ir as ir

from beamgen.errors import SettingError
from beamgen.formats.text import characters, extensions, merges, pieces, units
from beamgen.formats.text.graph import OPSETS, decode, encode
from beamgen.formats.text.tables import TextTables
from beamgen.search.functions.library import functions
from beamgen.tape import Tape

if TYPE_CHECKING:
    import onnxruntime

    from beamgen.tokenizer.tokenizer import Tokenizer

#: Texts on which tokenizers differ.
TEXTS = (
    "", " ", "  ", "   ", "\t", "\n", "\r\n", "\n\n", " \n ", "\n \n", "\r", "\v\f", "\0", "a\0b",
    "\0\0", "a", " a", "a ", " a ", "  a  ", "a  b", "a   b    c", "a\tb", "a \tb", "a\n b",
    "a \n b", "a\r\nb", "hello world", "Hello, World!", "don't", "DON'T",
    "I'll I'LL we've WE'VE it's IT'S I'm I'd they're", "'s 't 're 've 'm 'll 'd", "''s", "'", "''",
    "' s", "a'", "rock 'n' roll", "'Tis", "\u2019s", "'\u017f", "1", "12", "123", "1234",
    "12345678901234567890", "3.14159", "1,000,000", "a1b2c3", "1st 2nd", "\u0661\u0662\u0663\u0664",
    "\u00b2\u00bd\u2167\u3007", "...", "!!!", "!?!?", "a.b.c",
    "http://www.example.com/path?q=1&r=2#x", "user@example.org", "C++ C# F#",
    "foo_bar fooBar FOO_BAR", "(a) [b] {c} <d>", "--- *** ### \n===\n",
    "if (x == 1) {\n    return y;\n}\n", "\tdef f(x):\n\t\treturn x",
    "na\u00efve caf\u00e9 \u00fcber \u00df \u0130\u0131 \u01c5 \ufb01",
    "e\u0301 e\u0301\u0302\u0303 a\u030a", "\u0301", "a\u200d\u200cb", "\u00ad\u200b\ufeff",
    "\u05e9\u05dc\u05d5\u05dd \u05e2\u05d5\u05dc\u05dd",
    "\u0645\u0631\u062d\u0628\u0627 \u0628\u0627\u0644\u0639\u0627\u0644\u0645", "\u202eabc\u202c",
    "\u0928\u092e\u0938\u094d\u0924\u0947", "\u0e2a\u0e27\u0e31\u0e2a\u0e14\u0e35",
    "\u4f60\u597d\uff0c\u4e16\u754c\u3002", "\u3053\u3093\u306b\u3061\u306f\u4e16\u754c",
    "\uc548\ub155\ud558\uc138\uc694", "\u1112\u1161\u11ab", "\u4e2d\u6587abc\u4e2d\u6587 123",
    "\U0001f600", "\U0001f468\u200d\U0001f469\u200d\U0001f467\u200d\U0001f466",
    "\U0001f1e9\U0001f1ea", "\U0001f44d\U0001f3fd", "\u2764\ufe0f", "\U0001d400\U0001d7d8",
    "\U00020000\U0002a6df", "\U000e0001\U00100000\U0010ffff", "\u0085", "a\u0085b", "\u00a0",
    "a\u00a0b", "\u1680\u2000\u2003\u2009", "\u2028\u2029", "\u202f\u205f\u3000", "a\u3000b",
    "\x1c\x1d\x1e\x1f", "a\x1cb", "\x01\x02\x7f\x80\x9f", "\ufffd", "\ufffe\uffff", "\u2581",
    "\u2581\u2581a", "a\u2581b", " \u2581 ", "\u0120\u010a", "<0x41>", "<0x00> <0xFF>", "<unk>",
    "<s>", "</s>", "<pad>", "a" * 200, "ab" * 150, " " * 100, "\n" * 50, "0" * 100, "\u4e00" * 120,
    "\U0001f600" * 40, "word " * 200, "x\n" * 60, "'s" * 40,
)  # fmt: skip

_PAD = -7  # no id

_CURE = "use the package itself, which takes token ids, and please report it"

#: What random texts are made of.
_PARTS = (
    *"abcdeinorstuvwxyzESTLLMDRV", *"      ", *"0123456789",
    *"''''\".,;:!?-_/\\()[]{}<>|@#$%^&*+=~`", "\n", "\n", "\r", "\t", "\v", "\f", "\0", "\r\n",
    "  ", "    ", "\u00a0", "\u0085", "\u3000", "\u2028", "\x1c", "\x7f", "'s", "'LL", "'re", "'Ve",
    "'\u017f", "\u0301", "\u200d", "\u00e9", "\u00df", "\u0130", "\u03c9", "\u0416", "\u05d0",
    "\u0627", "\u0905", "\u0e01", "\u4e00", "\u3042", "\ud55c", "\u1112\u1161", "\U0001f600",
    "\U0001f3fd", "\U0001d7ce", "\u0665", "\u2167", "\u00bd", "\u2581", "\ufffd", "the", "ing",
    " and", "tion",
)  # fmt: skip


def random_texts(count: int, seed: int, tokens: Sequence[str] = ()) -> Iterator[str]:
    """Texts of up to 60 parts, some of them whole tokens, others any code points."""
    draw = random.Random(seed)
    parts = [*_PARTS, *draw.sample(tokens, min(len(tokens), 40))]
    for _ in range(count):
        length = draw.choice((1, 2, 3, 5, 8, 13, 30, 60))
        yield "".join(
            _any_character(draw) if draw.random() < 0.05 else draw.choice(parts)
            for _ in range(length)
        )


def _any_character(draw: random.Random) -> str:
    while 0xD800 <= (point := draw.randrange(0x110000 if draw.random() < 0.5 else 0x3000)) < 0xE000:
        pass
    return chr(point)


def texts_for(tables: TextTables, count: int = 400, seed: int = 0) -> list[str]:
    """``TEXTS``, random ones, and both with the tokenizer's added tokens in them."""
    added = [token.content for token in tables.added]
    mixed = [
        text
        for token in added[:50]
        for text in (
            token, f"a{token}b", f" {token} ", f"a  {token}\n b", f"{token}{token}",
            f"x{token[:-1]}",
            f"{token[:-1]}{token}", f"\u00a0{token}\u3000c", f"{token}'s 1", token.upper(),
        )
    ]  # fmt: skip
    return [*TEXTS, *mixed, *random_texts(count, seed, added * 3)]


def encode_session(tables: TextTables, threads: int = 1) -> onnxruntime.InferenceSession:
    """Text -> input_ids and attention_mask, as the graph makes them."""
    tape = Tape("text")
    text = ir.Value(name="text", type=ir.TensorType(ir.DataType.STRING), shape=ir.Shape(["batch"]))
    pad = ir.Value(name="pad_token_id", type=ir.TensorType(ir.DataType.INT64), shape=ir.Shape([1]))
    prompts = encode(tape, tables, text, pad)
    for name, value in prompts.items():
        value.name = name
    return _session(tape, [text, pad], list(prompts), threads)


def decode_session(tables: TextTables, threads: int = 1) -> onnxruntime.InferenceSession:
    """``sequences`` and what belongs to them -> texts."""
    tape = Tape("texts")
    ranks = {
        "sequences": 3,
        "attention_mask": 2,
        "finish_reasons": 2,
        "eos_token_id": 1,
        "max_new_tokens": 1,
    }
    given = [
        ir.Value(name=name, type=ir.TensorType(ir.DataType.INT64), shape=ir.Shape([None] * rank))
        for name, rank in ranks.items()
    ]
    texts = decode(tape, tables, *given)
    texts.name = "texts"
    return _session(tape, given, [texts], threads)


def _session(
    tape: Tape, inputs: Sequence[ir.Value], outputs: Sequence[ir.Value], threads: int
) -> onnxruntime.InferenceSession:
    for value in outputs:
        string = value.name == "texts"
        value.dtype = ir.DataType.STRING if string else ir.DataType.INT64
        value.shape = ir.Shape([None, None])
    graph = ir.Graph(
        inputs, outputs, nodes=tape.nodes, initializers=tape.initializers, opset_imports=OPSETS,
        name="text",
    )  # fmt: skip
    model = ir.Model(graph, ir_version=10, functions=functions(units, pieces, merges, characters))
    return open_session(ir.serde.serialize_model(model).SerializeToString(), threads)


def open_session(model: Any, threads: int | None = None) -> onnxruntime.InferenceSession:
    """Open a file with onnxruntime-extensions at hand.

    Raises:
        MissingExtraError: onnxruntime-extensions is not installed.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # a text without tokens fails on purpose
    extensions.register(options)
    if threads is not None:
        options.intra_op_num_threads = threads
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def check_encoding(tokenizer: Tokenizer, tables: TextTables, texts: Sequence[str]) -> int:
    """Compare the ids of texts, and their padding, with HF's.

    Returns: how many texts there were.

    Raises:
        SettingError: with the first text that differs.
    """
    session = encode_session(tables)
    expected = [tokenizer.encode(text) for text in texts]
    order = sorted(range(len(texts)), key=lambda n: len(expected[n]))  # less padding
    for batch in _batches([n for n in order if expected[n]]):
        found = _encoded(session, [texts[n] for n in batch])
        for n, ids in zip(batch, found, strict=True):
            if ids != expected[n]:
                raise _unequal(tables, texts[n], expected[n], ids)
    for n in (n for n in order if not expected[n]):
        ids = _encoded(session, [texts[n]])[0]
        if ids is not None:  # it fails: there is nothing to search
            raise _unequal(tables, texts[n], [], ids)
    return len(texts)


def check_decoding(tokenizer: Tokenizer, tables: TextTables, rows: Sequence[Sequence[int]]) -> int:
    """Compare the texts of ids with HF's.

    Returns: how many sequences there were.

    Raises:
        SettingError: with the first sequence that differs.
    """
    session = decode_session(tables)
    for batch in _batches(sorted(rows, key=len)):
        for row, found in zip(batch, _decoded(session, batch), strict=True):
            expected = tokenizer.decode(row, skip_special_tokens=True)
            if found != expected:
                raise SettingError(
                    f"{tables.name} cannot go into the graph: the ids {_shown(row)} are "
                    f"{expected[:80]!r} to it, and {found[:80]!r} to the graph",
                    _CURE,
                )
    return len(rows)


def _batches(rows: Sequence[Any], size: int = 50) -> Iterator[Sequence[Any]]:
    return (rows[n : n + size] for n in range(0, len(rows), size))


def _encoded(session: onnxruntime.InferenceSession, texts: Sequence[str]) -> list[list[int] | None]:
    """Ids without their padding, which has to be on the left; None where the graph fails."""
    feeds = {"text": np.array(texts, object), "pad_token_id": np.array([_PAD])}
    try:
        ids, mask = session.run(None, feeds)
    except Exception:  # ONNX Runtime's own, because of one of them
        return [_encoded(session, [text])[0] for text in texts] if len(texts) > 1 else [None]
    good = (np.diff(mask) >= 0).all() and (ids[mask == 0] == _PAD).all()
    return [row[kept != 0].tolist() if good else None for row, kept in zip(ids, mask, strict=True)]


def _decoded(session: onnxruntime.InferenceSession, rows: Sequence[Sequence[int]]) -> Sequence[str]:
    """The texts; one half of each row stands as its prompt."""
    halves = [(row[: len(row) // 2], row[len(row) // 2 :]) for row in rows]
    prompt_len = max(len(prompt) for prompt, _ in halves)
    new = max(len(after) for _, after in halves)
    sequences = np.zeros((len(rows), 1, prompt_len + new), np.int64)
    mask = np.zeros((len(rows), prompt_len), np.int64)
    for n, (prompt, after) in enumerate(halves):
        mask[n, prompt_len - len(prompt) :] = 1
        sequences[n, 0, prompt_len - len(prompt) : prompt_len] = prompt
        sequences[n, 0, prompt_len : prompt_len + len(after)] = after
    feeds = {
        "sequences": sequences,
        "attention_mask": mask,
        "finish_reasons": np.full((len(rows), 1), 2),
        "eos_token_id": np.array([-1]),
        "max_new_tokens": np.array([len(after) for _, after in halves]),
    }
    texts: Sequence[str] = session.run(None, feeds)[0][:, 0].tolist()
    return texts


def _unequal(
    tables: TextTables, text: str, expected: Sequence[int], found: Sequence[int] | None
) -> SettingError:
    return SettingError(
        f"{tables.name} cannot go into the graph: of the text {text[:80]!r} it makes "
        f"{_shown(expected)}, and the graph {_shown(found)}",
        _CURE,
    )


def random_ids(tables: TextTables, count: int, seed: int) -> list[list[int]]:
    """Any ids, special ones and parts of characters among them, and some that are no token."""
    draw = random.Random(seed)
    size = len(tables.token_bytes)
    parts = [n for n, octets in enumerate(tables.token_bytes) if not _is_text(octets)]
    parts = [*parts, *tables.byte_tokens] or [0]
    return [
        [
            draw.choice(parts) if draw.random() < often else draw.randrange(size + 3)
            for _ in range(draw.choice((0, 1, 2, 3, 5, 10, 40)))
        ]
        for often in (0.0, 0.5, 0.9)
        for _ in range(count // 3)
    ]


def _is_text(octets: bytes) -> bool:
    try:
        octets.decode()
    except UnicodeDecodeError:
        return False
    return True


def _shown(ids: Sequence[int] | None) -> str:
    if ids is None:
        return "fails"
    return f"{list(ids[:12])}{'...' if len(ids) > 12 else ''}"
