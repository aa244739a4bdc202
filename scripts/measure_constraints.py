"""What a constraint costs: time per step and memory, by states and vocabulary.

    python scripts/measure_constraints.py [--steps 24]

The graph is the search's own functions, ``within_constraint`` and ``next_nodes``, on the scores of
5 beams, without a model. Automata: a JSON string of at least so many characters, whose states take
nearly every token (``string``, 4 tokens forbidden in 100 and targets by length), a catalogue of so
many states (``choices``), and states that each take a tenth of the vocabulary with nothing in
common (``random``, to 1,000 states). Prints a Markdown table.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import numpy as np
import onnx_ir as ir
import onnxruntime

from beamgen.search.functions import constraint as functions
from beamgen.search.functions.library import loop_functions
from beamgen.settings.automaton import Automaton, Table
from beamgen.settings.processors import constraint as processor
from beamgen.settings.rules import UNSAID
from beamgen.tape import Tape

_BEAMS = 5


def string(states: int, vocab: int, rng: np.random.Generator) -> Automaton:
    """A counted repetition: tokens of 1 to 9 characters go that far, and 4 in 100 do not fit."""
    table = Table(states)
    lengths = rng.integers(1, 10, vocab)
    lengths[rng.random(vocab) < 0.04] = states + 1
    for state in range(states):
        targets = state + lengths
        targets[targets >= states] = -1
        table.add_dense(targets, marked=state == states - 1)
    return table.finished()


def choices(states: int, vocab: int, rng: np.random.Generator) -> Automaton:
    """A tree in which each state has one to three followers."""
    table, next_state = Table(states + 3), 1
    for _ in range(states):
        count = int(rng.integers(1, 4)) if next_state + 3 < states else 0
        tokens = np.sort(rng.choice(vocab, count, replace=False))
        table.add(tokens, np.arange(next_state, next_state + count), marked=count == 0)
        next_state += count
    return table.finished()


def random(states: int, vocab: int, rng: np.random.Generator) -> Automaton:
    """States with nothing in common."""
    table = Table(states)
    for state in range(states):
        targets = np.full(vocab, -1)
        taken = rng.choice(vocab, vocab // 10, replace=False)
        targets[taken] = rng.integers(0, states, len(taken))
        table.add_dense(targets, marked=state == 0)
    return table.finished()


def session() -> onnxruntime.InferenceSession:
    """Both functions on scores, nodes and tokens."""
    kinds = {
        "scores": (ir.DataType.FLOAT, 3), "node": (ir.DataType.INT64, 2),
        "tokens": (ir.DataType.INT64, 2), "eos": (ir.DataType.INT64, 1),
        "states": (ir.DataType.INT32, 2), "rows": (ir.DataType.INT32, 2),
        "edges": (ir.DataType.INT32, 2), "next": (ir.DataType.INT32, 1),
    }  # fmt: skip
    inputs = {
        name: ir.Value(name=name, type=ir.TensorType(dtype), shape=ir.Shape([None] * rank))
        for name, (dtype, rank) in kinds.items()
    }
    scores, node, tokens, eos, states, rows, edges, following = inputs.values()
    tape = Tape("measured")
    parents = tape.constant("parents", [list(range(_BEAMS))])
    (within,) = processor.PROCESSOR.compiled
    masked = tape.value(within, scores, node, states, rows, edges, eos)
    best = tape.standard("ReduceMax", masked, output="best")
    after = tape.value(functions.next_nodes, node, parents, tokens, states, rows, edges, following)
    best.type, after.type = ir.TensorType(ir.DataType.FLOAT), ir.TensorType(ir.DataType.INT64)
    graph = ir.Graph(
        [*inputs.values()], [best, after], nodes=tape.nodes, initializers=tape.initializers,
        opset_imports={"": 23, "beamgen": 1},
    )  # fmt: skip
    model = ir.Model(graph, ir_version=10, functions=loop_functions(UNSAID))
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(ir.to_proto(model).SerializeToString(), options)


def milliseconds(
    run: onnxruntime.InferenceSession, automaton: Automaton | None, vocab: int, steps: int
) -> float:
    """CPU time of a step in which beams stand in any states, the median of some."""
    rng = np.random.default_rng(1)
    none = {"states": (0, 3), "rows": (0, 3), "edges": (0, 2), "next": (0,)}
    arrays = (
        {part: np.zeros(shape, np.int32) for part, shape in none.items()}
        if automaton is None
        else automaton.arrays()
    )
    # as a file holds them: what is fed is not copied
    fed = {name: onnxruntime.OrtValue.ortvalue_from_numpy(array) for name, array in arrays.items()}
    scores = rng.normal(size=(1, _BEAMS, vocab)).astype(np.float32)
    taken = []
    for _ in range(steps):
        nodes = rng.integers(0, 1 if automaton is None else len(automaton), (1, _BEAMS))
        tokens = rng.integers(0, vocab, (1, _BEAMS))
        given = {"scores": scores, "node": nodes, "tokens": tokens, "eos": np.array([0])}
        feeds = {
            **{name: onnxruntime.OrtValue.ortvalue_from_numpy(a) for name, a in given.items()},
            **fed,
        }
        begun = time.process_time()
        run.run_with_ort_values(None, feeds)
        taken.append(time.process_time() - begun)
    return float(np.median(taken)) * 1e3


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=24)
    steps = parser.parse_args().steps
    run = session()
    kinds: dict[str, Callable[[int, int, np.random.Generator], Automaton]] = {
        "string": string, "choices": choices, "random": random,
    }  # fmt: skip
    print(
        "| automaton | states | vocabulary | rows | edges | MB | ms a step | seconds to lay out |"
    )
    print("|---|---|---|---|---|---|---|---|")
    for vocab in (50_000, 150_000):
        bare = milliseconds(run, None, vocab, steps)
        print(f"| none | | {vocab:,} | | | | {bare:.2f} | |", flush=True)
        for name, make in kinds.items():
            for states in (10, 1_000, 100_000):
                if name == "random" and states > 1_000:
                    continue
                begun = time.process_time()
                automaton = make(states, vocab, np.random.default_rng(0))
                laid_out = time.process_time() - begun
                step = milliseconds(run, automaton, vocab, steps)
                print(
                    f"| {name} | {states:,} | {vocab:,} | {len(automaton.rows):,} | "
                    f"{len(automaton.edges):,} | {automaton.nbytes / 1e6:.2f} | {step:.2f} | "
                    f"{laid_out:.1f} |",
                    flush=True,
                )


if __name__ == "__main__":
    main()
