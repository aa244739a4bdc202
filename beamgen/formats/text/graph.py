"""A search graph that takes text and gives text, from one that takes and gives ids."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx_ir as ir

from beamgen.errors import SettingError
from beamgen.formats.text import characters, extensions, merges, pieces, units
from beamgen.formats.text.kinds import class_pages
from beamgen.formats.text.steps import BLANK
from beamgen.formats.text.tables import TextTables, read_tokenizer
from beamgen.onnx_domain import DOMAIN
from beamgen.package import embedded
from beamgen.search.functions.library import functions
from beamgen.tape import Results, Tape, define

if TYPE_CHECKING:
    from beamgen.tokenizer.tokenizer import Tokenizer

_ML = "ai.onnx.ml"
#: Opsets of the graph's part that this module makes.
OPSETS = {"": 23, DOMAIN: 1, extensions.DOMAIN: 1, _ML: 4}

_FIRST_ADDED = 257  # the trie's number of an added token: 0 is padding, then bytes

_NO_RANK = 2**62

_ANYTHING = -1  # the least unit, of no row

_NEEDED = ("sequences", "finish_reasons")
_FED = ("input_ids", "attention_mask", "pad_token_id", "eos_token_id", "max_new_tokens")


def with_tokenizer(model: ir.Model, tokenizer: Tokenizer | TextTables) -> ir.Model:
    """Put a tokenizer before a search, and its decoder behind it.

    Args:
        model: a loop package's graph; its weights are shared with the result.
        tokenizer: of a package, or what ``read_tokenizer`` read of it.

    Returns:
        A model with ``text``, string ``[batch]``, in the place of ``input_ids`` and
        ``attention_mask``, and the output ``texts``, string ``[batch,
        num_return_sequences]``, besides
        its own. It needs ONNX Runtime with onnxruntime-extensions.

    Raises:
        SettingError: the tokenizer or the model is of another kind.
    """
    tables = tokenizer if isinstance(tokenizer, TextTables) else read_tokenizer(tokenizer)
    model = model.clone()
    graph = model.graph
    inputs = {value.name: value for value in graph.inputs}
    outputs = {value.name: value for value in graph.outputs}
    if any(name not in inputs for name in _FED) or any(name not in outputs for name in _NEEDED):
        raise SettingError(
            "only a graph of the loop backend takes a tokenizer", "export with --search loop"
        )
    text = ir.Value(
        name="text",
        type=ir.TensorType(ir.DataType.STRING),
        shape=ir.Shape(["batch"]),
        doc_string="the prompts",
    )
    before, behind = Tape("text"), Tape("texts")
    prompts = encode(before, tables, text, inputs["pad_token_id"])
    for name, made in prompts.items():
        inputs[name].replace_all_uses_with(made)
        graph.inputs.remove(inputs[name])
    graph.inputs.insert(0, text)
    texts = decode(
        behind,
        tables,
        outputs["sequences"],
        prompts.attention_mask,
        outputs["finish_reasons"],
        inputs["eos_token_id"],
        inputs["max_new_tokens"],
    )
    before.insert_before(graph[0])
    behind.append_to(graph)
    texts.name, texts.dtype = "texts", ir.DataType.STRING
    texts.shape = ir.Shape(["batch", "num_return_sequences"])
    texts.doc_string = "prompts and continuations, without special tokens"
    graph.outputs.append(texts)
    define(model, functions(units, pieces, merges, characters))
    graph.opset_imports.update(OPSETS)
    model.metadata_props[embedded.FORMAT] = "text in, text out, with onnxruntime-extensions"
    model.metadata_props["beamgen.text"] = json.dumps(
        {"tokenizer": tables.name, "kind": tables.kind, "custom_ops": "onnxruntime-extensions"}
    )
    return model


def encode(tape: Tape, tables: TextTables, text: ir.Value, pad_token_id: ir.Value) -> Results:
    """Texts, string ``[B]``, as input_ids and attention_mask, int64 ``[B, S]``."""
    found, row = _units(tape, tables, text)
    found, row = _with_prefix(tape, tables, found, row)
    starts = tape.value(units.segment_starts, found, row)
    found, starts = _pieces(tape, tables, found, starts)
    ids, piece, row = _symbols(tape, tables, found, row, starts)
    ids, row = _merged(tape, tables, ids, piece, row)
    return tape.call(merges.left_padded, ids, row, text, pad_token_id)


def decode(
    tape: Tape,
    tables: TextTables,
    sequences: ir.Value,
    attention_mask: ir.Value,
    finish_reasons: ir.Value,
    eos_token_id: ir.Value,
    max_new_tokens: ir.Value,
) -> ir.Value:
    """The texts of sequences ``[B, R, T]``, string ``[B, R]``, without special tokens."""
    kept = tape.value(
        characters.shown,
        sequences,
        attention_mask,
        finish_reasons,
        eos_token_id,
        max_new_tokens,
    )
    lengths = np.array([*map(len, tables.token_bytes), 0], np.int64)
    is_byte = np.zeros(len(lengths), np.int64)
    is_byte[list(tables.byte_tokens)] = 1
    spelled = np.frombuffer(b"".join(tables.token_bytes), np.uint8)
    octets, row, flags = tape.call(
        characters.spelled,
        sequences,
        kept,
        tape.constant("token_begins", np.cumsum(lengths) - lengths),
        tape.constant("token_lengths", lengths),
        tape.constant("token_bytes", spelled, np.uint8),
        tape.constant("stands_for_byte", is_byte),
    )
    function = (
        characters.decode_bytes if tables.splitting.byte_level else characters.decode_fallback
    )
    octets, row = tape.call(function, octets, row, flags)
    if tables.strip_first_space:
        octets, row = tape.call(characters.strip_first_space, octets, row)
    shape = tape.standard("Shape", finish_reasons, output="shape")
    single = tape.strings("bytes_as_text", [*(bytes([byte]) for byte in range(256)), b""])
    return tape.value(characters.joined, octets, row, shape, single)


def _units(tape: Tape, tables: TextTables, text: ir.Value) -> tuple[ir.Value, ir.Value]:
    """The characters and added tokens of texts, ``[N]``, and their rows."""
    # the extension hands texts over as C strings, which end at a NUL
    parts, count = tape.node("StringSplit", [text], ["parts", "part_count"], {"delimiter": "\0"})
    vocab = {"vocab": _trie(tables)}
    (numbers,) = tape.node("TrieTokenizer", [parts], ["trie"], vocab, domain=extensions.DOMAIN)
    template = _FIRST_ADDED + len(tables.added)
    before, after = len(tables.before), len(tables.after)
    flat, row = tape.call(
        units.flat_bytes,
        numbers,
        count,
        tape.constant("before", np.arange(template, template + before)),
        tape.constant("after", np.arange(template + before, template + before + after)),
    )
    found, row = tape.call(units.units_of_bytes, flat, row)
    if any(token.lstrip or token.rstrip for token in tables.added):
        lstrip, rstrip = (
            tape.constant(
                name,
                [*(getattr(token, name) for token in tables.added), *[False] * (before + after)],
                np.bool_,
            )
            for name in ("lstrip", "rstrip")
        )
        kinds = _classes(tape, found, "strip")
        found, row = tape.call(units.strip_around, found, row, kinds, lstrip, rstrip)
    return found, row


def _with_prefix(
    tape: Tape, tables: TextTables, found: ir.Value, row: ir.Value
) -> tuple[ir.Value, ir.Value]:
    prefix = tables.prefix
    if prefix is None:
        return found, row
    template = units.ADDED + len(tables.added)
    found, row = tape.call(
        units.insert_prefix,
        found,
        row,
        tape.constant("prefix", [prefix.unit]),
        tape.constant("unless", list(prefix.unless)),
        tape.constant("only_after", [template if prefix.first_only else _ANYTHING]),
    )
    return found, row


def _pieces(
    tape: Tape, tables: TextTables, found: ir.Value, starts: ir.Value
) -> tuple[ir.Value, ir.Value]:
    """The units, in which a space counts as a blank where it does, and where pieces begin."""
    if tables.splitting.blanks:
        space = tape.constant("space", ord(" "))
        is_space = tape.standard("Equal", found, space, output="is_space")
        blank = tape.constant("blank", ord(BLANK))
        found = tape.standard("Where", is_space, blank, found, output="with_blanks")
    for name in tables.splitting.functions:
        kinds = _classes(tape, found, name)
        starts = tape.value(getattr(pieces, name), found, kinds, starts)
    return found, starts


def _classes(tape: Tape, found: ir.Value, name: str) -> ir.Value:
    begins, members = class_pages(digits=name.startswith("digits"))
    part = tape.section(f"{tape.prefix}/{name}")
    pages = part.constant("pages", begins)
    return part.value(units.classes, found, pages, part.constant("members", members, np.uint8))


def _symbols(
    tape: Tape, tables: TextTables, found: ir.Value, row: ir.Value, starts: ir.Value
) -> Results:
    """The symbols before any merge: ids, piece and row ``[M]``."""
    bpe = tables.merges
    known = _look_up(tape, "character_ids", found, bpe.characters, bpe.character_ids)
    added = [*(token.id for token in tables.added), *tables.before, *tables.after]
    return tape.call(
        merges.symbols,
        found,
        row,
        starts,
        known,
        tape.constant("byte_ids", bpe.byte_ids),
        tape.constant("added_ids", added or [0]),
    )


def _merged(
    tape: Tape, tables: TextTables, ids: ir.Value, piece: ir.Value, row: ir.Value
) -> tuple[ir.Value, ir.Value]:
    """The ids and rows after all merges."""
    bpe = tables.merges
    size = tape.constant("vocab_size", [bpe.size])
    first_pairs = tape.value(merges.pairs, ids, piece, size)
    joints = np.ones(len(bpe.joints), np.int64)
    mergeable = _look_up(tape, "mergeable", first_pairs, bpe.joints, joints)
    piece = tape.value(merges.cut, mergeable)
    body = {"body": _merge_step(tables, size)}
    carried = [ids, piece, row, ids, ids]
    start = tape.constant("begin", True, np.bool_)
    merged = tape.section(f"{tape.prefix}/merged").node(
        "Loop", [None, start, *carried], _CARRIED, body
    )
    return merged.ids, merged.row


_CARRIED = ("ids", "piece", "row", "begins", "ends")


def _merge_step(tables: TextTables, size: ir.Value) -> ir.Graph:
    """One turn of merging, in every piece at once: the body of a Loop."""
    bpe = tables.merges
    kinds = {"step": (ir.DataType.INT64, 0), "go_on": (ir.DataType.BOOL, 0)} | dict.fromkeys(
        _CARRIED, (ir.DataType.INT64, 1)
    )
    taken = [
        ir.Value(name=f"merge/{name}", type=ir.TensorType(dtype), shape=ir.Shape([None] * rank))
        for name, (dtype, rank) in kinds.items()
    ]
    _, _, ids, piece, row, begins, ends = taken
    tape = Tape("merge")
    numbers = tape.value(merges.pairs, ids, piece, size)
    ranked = _look_up(tape, "ranked", numbers, bpe.pairs, bpe.ranked)
    places = tape.call(merges.outlook, ids, piece, begins, ends, ranked, size)
    tables_of = (bpe.ahead, bpe.ahead, bpe.behind, bpe.behind)
    limits = [
        _look_up(tape, f"{name}_rank", place, known.pairs, known.ranks, default=_NO_RANK)
        for (name, place), known in zip(places.items(), tables_of, strict=True)
    ]
    sure = tape.value(merges.certain, ranked, size, *limits)
    given = list(tape.call(merges.merge, ids, piece, row, begins, ends, ranked, sure, size))
    for value, like in zip(given, taken[1:], strict=True):
        value.type, value.shape = like.type, like.shape
    return ir.Graph(taken, given, nodes=tape.nodes, name="merge")


def _look_up(
    tape: Tape, name: str, values: ir.Value, keys: Any, found: Any, default: int = -1
) -> ir.Value:
    """Look values up in a table of int64, with a default for what is not in it."""
    if not len(keys):
        keys, found = np.array([-2]), np.array([default])  # a table may not be empty
    attributes = {
        "keys_tensor": ir.tensor(np.asarray(keys, np.int64)),
        "values_tensor": ir.tensor(np.asarray(found, np.int64)),
        "default_tensor": ir.tensor(np.array([default], np.int64)),
    }
    (output,) = tape.node("LabelEncoder", [values], [name], attributes, domain=_ML)
    return output


def _trie(tables: TextTables) -> str:
    """The trie of a number for every byte and added token, in the extension's own notation."""
    single = [bytes([byte]) for byte in range(256)]
    every = [*single, *(token.content.encode() for token in tables.added)]
    quoted = ("".join(f"\\x{byte:02x}" for byte in octets) for octets in every)
    return "\n".join(
        f"{number} b'{text}' {len(octets)}"
        for number, (text, octets) in enumerate(zip(quoted, every, strict=True), start=1)
    )
