"""What a constraint forbade at each step; ``formats/web/page/automaton.js`` counts the same."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from beamgen.explain.beams import Step, path_back, running_after
from beamgen.settings.constraint import Constraint


def forbidden_tokens(
    steps: Sequence[Step], constraint: Constraint, eos_token_id: Collection[int], vocab_size: int
) -> tuple[tuple[int, ...], ...]:
    """How many tokens each running beam could not go on with, in the order of the beams.

    Args:
        steps: of the search.
        constraint: what it stayed within.
        eos_token_id: an EOS may come where a text may end.
        vocab_size: ids of the model.
    """
    counts: dict[int, int] = {}

    def forbidden(state: int) -> int:
        if state not in counts:
            listed = constraint.tokens_from(state).tolist()
            may_come = {*listed} - {*eos_token_id}
            ends = constraint.automaton.is_marked(state)
            counts[state] = vocab_size - len(may_come) - len({*eos_token_id}) * ends
        return counts[state]

    found: list[tuple[int, ...]] = [(forbidden(0),)]
    for step in range(1, len(steps)):
        beams = sorted(running_after(steps, step).items())
        found.append(
            tuple(
                forbidden(
                    constraint.state(
                        [each.token for each in path_back(steps, step, continuation)][::-1]
                    )
                )
                for _, continuation in beams
            )
        )
    return tuple(found)
