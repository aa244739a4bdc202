"""Regular expressions and JSON schemas become automata over bytes, and those over tokens.

outlines-core reads the patterns: its index over a vocabulary of the 256 bytes is the whole
automaton of bytes. It sets no limit to what a pattern may grow to, so that it runs in a process
of its own, whose memory and time are limited.
"""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from beamgen.errors import MissingExtraError, SettingError, one_line
from beamgen.settings.automaton import Automaton, Table
from beamgen.settings.json_schema import check_schema
from beamgen.settings.vocabulary import Trie, Vocabulary

#: What reading one pattern may take, and what it may become.
MOST_BYTES, MOST_SECONDS = 2**31, 60.0
MOST_STATES, MOST_EDGES = 200_000, 100_000_000

#: Pairs of a state and a node of the trie that are looked at together.
_PAIRS = 2_000_000

_READ = Path(__file__).with_name("read_pattern.py")

_SMALLER = "bound its repeats, as in [a-z]{1,20}, or split it into several searches"

Delta = npt.NDArray[np.int32]
Final = npt.NDArray[np.bool_]


def of_regex(pattern: str, vocabulary: Vocabulary) -> Automaton:
    """The automaton of all texts that a regular expression matches as a whole.

    Raises:
        SettingError: it is none, outgrows the limits, or no text of the vocabulary matches.
        MissingExtraError: outlines-core is not installed.
    """
    if not isinstance(pattern, str):
        raise SettingError(
            f"a regular expression is a string, not {pattern!r:.60}", "for example r'[0-9]+ mg'"
        )
    what = f"the regular expression {pattern!r:.60}"
    return _over_tokens(*_over_bytes(what, vocabulary, pattern=pattern), vocabulary, what)


def of_json_schema(schema: Any, vocabulary: Vocabulary, whitespace: str) -> Automaton:
    """The automaton of JSON texts that a schema allows.

    Args:
        schema: as a mapping, or as JSON text.
        vocabulary: the tokenizer's.
        whitespace: a pattern of what may stand between tokens of JSON.

    Raises:
        SettingError: see ``of_regex``; or outlines-core does not know what the schema asks for.
        MissingExtraError: outlines-core is not installed.
    """
    try:
        text = schema if isinstance(schema, str) else json.dumps(schema)
        read = json.loads(text)
    except (TypeError, ValueError) as error:
        raise SettingError(
            f"the JSON schema is no JSON: {one_line(error)}",
            "pass a mapping, or its text, for example {'type': 'integer'}",
        ) from error
    check_schema(read)
    what = f"the JSON schema {text:.60}"
    automaton = _over_bytes(what, vocabulary, schema=text, whitespace=whitespace)
    return _over_tokens(*automaton, vocabulary, what)


def _over_bytes(what: str, vocabulary: Vocabulary, **asked: Any) -> tuple[Delta, Final]:
    """Transitions ``[S, 256]`` and which states end a text, ``[S]``; the first state is 0."""
    if importlib.util.find_spec("outlines_core") is None:
        raise MissingExtraError("compiling a pattern", "constrain", "outlines-core")
    given = {"pattern": None, "schema": None, "whitespace": None, **asked}
    given |= {"path": sys.path, "bytes": MOST_BYTES}
    given["behind"] = "".join(f"\\x{byte:02x}" for byte in vocabulary.behind)
    try:
        done = subprocess.run(
            [sys.executable, str(_READ)],
            input=json.dumps(given).encode(),
            capture_output=True,
            timeout=MOST_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise SettingError(f"{what} took more than {MOST_SECONDS:g} s to read", _SMALLER) from None
    said = done.stderr.decode(errors="replace")
    if done.returncode == 3:
        raise _unreadable(what, said, is_schema=asked.get("schema") is not None)
    if done.returncode < 0 or (done.returncode and "memory" in said.lower()):
        raise SettingError(f"{what} took more than {MOST_BYTES >> 30} GiB to read", _SMALLER)
    if done.returncode:
        last = said.strip().rpartition("\n")[2]
        raise SettingError(f"{what} cannot be read: {_in_line(last)}", _SMALLER)
    with np.load(BytesIO(done.stdout)) as stored:
        delta, final = stored["delta"], stored["final"]
    if len(delta) > MOST_STATES:
        raise SettingError(f"{what} has {len(delta)} states, of at most {MOST_STATES}", _SMALLER)
    return delta, final


def _in_line(said: str) -> str:
    """What a library said, in one line."""
    return " ".join(said.split())[:300]


def _unreadable(what: str, said: str, *, is_schema: bool) -> SettingError:
    reason = _in_line(said)
    if "no transitions" in reason:
        return _matches_nothing(what)
    if is_schema:
        return SettingError(
            f"{what} cannot be read: {reason}", "leave out what outlines-core does not know of it"
        )
    if "word bound" in reason:
        cure = r"leave out \b: a pattern matches the whole text"
    elif "anchored" in reason:
        cure = "leave out ^ and $: a pattern matches the whole text"
    else:
        cure = (
            "it is read as Rust's regex crate reads it, without look-around and back-references: "
            "https://docs.rs/regex/latest/regex/#syntax"
        )
        reason = reason.replace("Failed to build DFA ", "")
    return SettingError(f"{what} cannot be read: {reason}", cure)


def _matches_nothing(what: str, why: str = "") -> SettingError:
    return SettingError(
        f"{what} matches no text{why}",
        "write a pattern that some text matches, of characters that the tokenizer knows",
    )


def _over_tokens(delta: Delta, final: Final, vocabulary: Vocabulary, what: str) -> Automaton:
    """An automaton over tokens, of one over bytes.

    Raises:
        SettingError: no text can be written, or there are too many edges.
    """
    delta = np.where(_leads_on(delta, final)[delta] & (delta >= 0), delta, -1)
    lifted, numbers = _lifted(delta, final, vocabulary, what, np.ones(len(delta), bool))
    alive = can_end(lifted)
    if not alive.all() and alive[0]:
        kept = np.zeros(len(delta), bool)
        kept[numbers[alive]] = True
        lifted, _ = _lifted(delta, final, vocabulary, what, kept)
    if not alive[0]:
        reason = f": it writes {vocabulary.only}" if vocabulary.only else ""
        raise _matches_nothing(what, f" that the tokenizer {vocabulary.name} can write{reason}")
    return lifted


def _leads_on(delta: Delta, final: Final) -> Final:
    """Which states lead to one that ends a text."""
    sources, _ = np.nonzero(delta >= 0)
    targets = delta[delta >= 0]
    return _reaching(len(delta), sources, targets, final)


def can_end(automaton: Automaton) -> Final:
    """Which states lead to a marked one, bool ``[Q]``."""
    order = np.argsort(automaton.states[:, 1], kind="stable")
    sources = np.repeat(order, automaton.widths[order])
    targets = automaton.next[: len(sources)]
    return _reaching(len(automaton), sources, targets, automaton.states[:, 2] > 0)


def _reaching(count: int, sources: Any, targets: Any, goal: Final) -> Final:
    """Which of some states lead to the goal by edges from sources to targets."""
    order = np.argsort(targets, kind="stable")
    sources, begins = sources[order], np.searchsorted(targets[order], np.arange(count + 1))
    found = goal.copy()
    front = np.flatnonzero(found)
    while len(front):
        before = sources[_spans(begins[front], begins[front + 1])]
        front = np.unique(before[~found[before]])
        found[front] = True
    return found


def _spans(begins: Any, ends: Any) -> Any:
    """All numbers of some spans, one span behind the other."""
    counts = ends - begins
    total = int(counts.sum())
    offsets = np.repeat(begins - (np.cumsum(counts) - counts), counts)
    return offsets + np.arange(total)


def _lifted(
    delta: Delta, final: Final, vocabulary: Vocabulary, what: str, kept: Final
) -> tuple[Automaton, npt.NDArray[np.int64]]:
    """The states that tokens reach from the first one, and which of the bytes' each is."""
    trie = vocabulary.trie
    numbers = np.full(len(delta) + 1, -1, np.int32)  # the last is of no state
    numbers[0] = 0
    reached, table = [np.zeros(1, np.int64)], Table(len(delta))
    front, count = reached[0], 1
    batch = max(1, _PAIRS // max(len(trie.byte), 1))
    while len(front):
        begun = []
        for begin in range(0, len(front), batch):
            states = front[begin : begin + batch]
            targets = _targets(delta, trie, states, vocabulary.size)
            targets[(targets >= 0) & ~kept[targets]] = -1
            seen = np.zeros(len(delta), bool)
            seen[targets[targets >= 0]] = True
            new = np.flatnonzero(seen & (numbers[:-1] < 0))
            numbers[new] = np.arange(count, count + len(new))
            count += len(new)
            begun.append(new)
            for state, row in zip(states, numbers[targets], strict=True):
                table.add_dense(row, marked=bool(final[state]))
            if table.edge_count > MOST_EDGES:
                raise SettingError(f"{what} has more than {MOST_EDGES} edges", _SMALLER)
        front = np.concatenate(begun)
        reached.append(front)
    return table.finished(), np.concatenate(reached)


def _targets(delta: Delta, trie: Trie, states: Any, vocab_size: int) -> npt.NDArray[np.int64]:
    """Where each token leads from some states, int64 ``[len(states), V]``, -1 for nowhere."""
    found = np.full((len(states), vocab_size), -1, np.int64)
    for sources, nodes, reached in _walked(delta, trie, states):
        begins, ends = trie.tokens_before[nodes], trie.tokens_before[nodes + 1]
        tokens = trie.token[_spans(begins, ends)]
        counts = ends - begins
        found[np.repeat(sources, counts), tokens] = np.repeat(reached, counts)
    return found


def _walked(delta: Delta, trie: Trie, states: Any) -> Iterator[tuple[Any, Any, Any]]:
    """Sources, nodes of the trie and where their bytes lead, one depth after the other."""
    sources = np.arange(len(states))
    nodes, reached = np.zeros(len(states), np.int64), states
    while len(nodes):
        begins, ends = trie.first[nodes], trie.last[nodes]
        parents = np.repeat(np.arange(len(nodes)), ends - begins)
        nodes = _spans(begins, ends)
        reached = delta[reached[parents], trie.byte[nodes]]
        alive = reached >= 0
        sources, nodes, reached = sources[parents][alive], nodes[alive], reached[alive]
        yield sources, nodes, reached
