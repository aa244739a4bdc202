"""HF's beam search, watched: what it decided at each step, and among what it chose."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from beamgen.parity.candidates import Candidates
from beamgen.runtime.trace import RowStep, alive

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel


@contextlib.contextmanager
def watched(
    model: PreTrainedModel, steps: list[list[RowStep]], prompt_len: int, candidates: Candidates
) -> Iterator[None]:
    """Record the results of HF's step functions while ``generate`` runs.

    Source: ``transformers.generation.utils.GenerationMixin``; the wrapped
    methods are called once per step, in this order.
    """
    seen: dict[str, Any] = {}

    def watch(name: str, take: Callable[[Any, dict[str, Any]], None]) -> None:
        original = getattr(model, name)

        def wrapper(*args: Any, **kwargs: Any) -> Any:
            result = original(*args, **kwargs)
            take(result, kwargs)
            return result

        setattr(model, name, wrapper)

    def running(result: Any, _: dict[str, Any]) -> None:
        seen["running"], seen["running_scores"], _indices = result

    def finished(result: Any, kwargs: dict[str, Any]) -> None:
        seen["finished"], seen["scores"], seen["indices"], seen["done"] = result
        seen["end"] = kwargs["cur_len"] + 1

    def stopped(result: Any, _: dict[str, Any]) -> None:
        steps.append(_row_steps(seen, result, prompt_len))

    def offered(_: Any, kwargs: dict[str, Any]) -> None:
        sequences = kwargs["running_sequences"][:, :, : kwargs["cur_len"]]
        scores = kwargs["accumulated_log_probs"].reshape(*sequences.shape[:2], -1)
        candidates.add(sequences.numpy().copy(), scores.numpy())

    taken = {
        "_get_top_k_continuations": offered,
        "_get_running_beams_for_next_iteration": running,
        "_update_finished_beams": finished,
        "_check_early_stop_heuristic": stopped,
    }
    for name, take in taken.items():
        watch(name, take)
    try:
        yield
    finally:
        for name in taken:
            delattr(model, name)  # uncovers the class's own


def _row_steps(seen: dict[str, Any], unsatisfied: torch.Tensor, prompt_len: int) -> list[RowStep]:
    end = seen["end"]
    lengths = (seen["indices"] >= 0).sum(dim=-1)  # [B, K] generated tokens
    rows = []
    for row in range(len(unsatisfied)):
        running = seen["running"][row, :, prompt_len:end].tolist()
        finished = seen["finished"][row, :, prompt_len:].tolist()
        rows.append(
            RowStep(
                running=alive(
                    zip(map(tuple, running), seen["running_scores"][row].tolist(), strict=True)
                ),
                finished={
                    tuple(tokens[:length]): score
                    for tokens, length, score, done in zip(
                        finished,
                        lengths[row].tolist(),
                        seen["scores"][row].tolist(),
                        seen["done"][row].tolist(),
                        strict=True,
                    )
                    if done
                },
                unsatisfied=bool(unsatisfied[row].all()),
            )
        )
    return rows
