"""What a search decided at each step, read from the outputs of a traced file.

See ``beamgen.search.traced``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from beamgen.settings.result import DEAD

Tokens = tuple[int, ...]
Values = dict[str, npt.NDArray[np.generic]]


@dataclass(frozen=True)
class RowStep:
    """What the search of one row holds after one step.

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


def read_trace(outputs: Mapping[str, npt.NDArray[np.generic]]) -> SearchTrace:
    """Each row's steps, from the traced outputs by name."""
    return [_row_steps(steps) for steps in traced_steps(outputs)]


def traced_steps(outputs: Mapping[str, npt.NDArray[np.generic]]) -> list[list[Values]]:
    """The values of ``TRACED`` for each row and step, without their batch axis."""
    values = {
        name.removeprefix("trace/"): array
        for name, array in outputs.items()
        if name.startswith("trace/")
    }
    steps, batch, _ = values["top_scores"].shape
    return [
        [{name: array[step, row] for name, array in values.items()} for step in range(steps)]
        for row in range(batch)
    ]


def _row_steps(steps: list[Values]) -> list[RowStep]:
    """The tokens of beams and hypotheses, put together from the choices of each step."""
    num_beams = len(steps[0]["running_index"])
    running: list[Tokens] = [()] * num_beams
    finished: list[Tokens] = [()] * num_beams
    found = []
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
        found.append(
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
    return found


def alive(beams: Iterable[tuple[Tokens, float]]) -> dict[Tokens, float]:
    """Beams by their tokens, without those that carry the -1e9 of a finished one."""
    return {tokens: score for tokens, score in beams if score > DEAD}
