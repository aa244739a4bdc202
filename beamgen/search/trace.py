"""Look inside a search: a loop file that also gives what each step decided.

The file under test is not rebuilt. Its own graph gets extra outputs: the values
of the first step, and the loop body's as scan outputs.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from beamgen.beam_output import DEAD

#: Values of ``beamgen.search.step`` from which a search can be retold.
TRACED = (
    "top_scores",
    "top_tokens",
    "top_beams",
    "running_index",
    "running_scores",
    "finished_index",
    "finished_scores",
    "is_sent_finished",
    "unsatisfied",
)

Tokens = tuple[int, ...]
Values = dict[str, npt.NDArray[np.generic]]


@dataclass(frozen=True)
class RowStep:
    """One row after one step.

    Attributes:
        running: the running beams' generated tokens with their summed
            log-probabilities; without the dead ones, which the search marks with
            -1e9 and which tie in any order.
        finished: the hypotheses held, with their length-penalised scores.
        unsatisfied: HF's ``is_early_stop_heuristic_unsatisfied``.
        stop_margin: by how much the search could still be improved where that was
            asked; of ONNX Runtime's operators only.
    """

    running: dict[Tokens, float]
    finished: dict[Tokens, float]
    unsatisfied: bool
    stop_margin: float | None = None


#: ``trace[row][step]``; step 0 decides the first generated token.
SearchTrace = list[list[RowStep]]


def with_trace_outputs(model: ir.Model) -> ir.Model:
    """Add the traced values as outputs ``first/NAME`` and ``steps/NAME``; changes the model."""
    loop = next(node for node in model.graph if node.op_type == "Loop")
    body = loop.attributes["body"].as_graph()
    first = {value.name: value for node in model.graph for value in node.outputs}
    step = {value.name: value for node in body for value in node.outputs}
    scans = []
    for name in TRACED:
        model.graph.outputs.append(
            _copy(model.graph, first[f"first/{name}"], f"trace/first/{name}")
        )
        body.outputs.append(_copy(body, step[f"step/{name}"], f"trace/step/{name}"))
        scans.append(ir.Value(name=f"trace/steps/{name}"))
    traced = ir.Node(
        "",
        "Loop",
        loop.inputs,
        list(loop.attributes.values()),
        outputs=[*(ir.Value(name=value.name) for value in loop.outputs), *scans],
        name=loop.name,
    )
    for old, new in zip(loop.outputs, traced.outputs, strict=False):
        old.replace_all_uses_with(new)
    model.graph.insert_after(loop, traced)
    model.graph.remove(loop, safe=True)
    model.graph.outputs.extend(scans)
    return model


def read_trace(outputs: Mapping[str, npt.NDArray[np.generic]]) -> SearchTrace:
    """Retell a search from the traced outputs, by name."""
    return [_retell(steps) for steps in traced_steps(outputs)]


def traced_steps(outputs: Mapping[str, npt.NDArray[np.generic]]) -> list[list[Values]]:
    """The values of ``TRACED`` for each row and step, without their batch axis."""
    first = {name: outputs[f"trace/first/{name}"] for name in TRACED}
    later = {name: outputs[f"trace/steps/{name}"] for name in TRACED}
    steps = [first, *({name: later[name][i] for name in TRACED} for i in range(_length(later)))]
    return [
        [{name: values[row] for name, values in step.items()} for step in steps]
        for row in range(len(first["top_scores"]))
    ]


def _retell(steps: list[Values]) -> list[RowStep]:
    num_beams = len(steps[0]["running_index"])
    running: list[Tokens] = [()] * num_beams
    finished: list[Tokens] = [()] * num_beams
    told = []
    for step in steps:
        continuations = [
            (*running[beam], token)
            for beam, token in zip(
                step["top_beams"].tolist(), step["top_tokens"].tolist(), strict=True
            )
        ]
        running = [continuations[i] for i in step["running_index"].tolist()]
        merged = [*finished, *continuations]
        finished = [merged[i] for i in step["finished_index"].tolist()]
        told.append(
            RowStep(
                running=alive(zip(running, step["running_scores"].tolist(), strict=True)),
                finished={
                    tokens: score
                    for tokens, score, done in zip(
                        finished,
                        step["finished_scores"].tolist(),
                        step["is_sent_finished"].tolist(),
                        strict=True,
                    )
                    if done
                },
                unsatisfied=bool(step["unsatisfied"].all()),
            )
        )
    return told


def alive(beams: Iterable[tuple[Tokens, float]]) -> dict[Tokens, float]:
    """Beams by their tokens, without those that carry the -1e9 of a finished one."""
    return {tokens: score for tokens, score in beams if score > DEAD}


def _length(later: Mapping[str, npt.NDArray[np.generic]]) -> int:
    return len(next(iter(later.values())))


def _copy(graph: ir.Graph, value: ir.Value, name: str) -> ir.Value:
    """A graph may not list one value twice as output, so a copy is listed."""
    node = ir.node("Identity", [value], name=name)
    node.outputs[0].name = name
    node.outputs[0].type, node.outputs[0].shape = value.type, value.shape
    graph.append(node)
    return node.outputs[0]
