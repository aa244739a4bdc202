"""Hugging Face ``generate`` as the yardstick: its answers, and its steps."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from beamgen.errors import MissingExtraError
from beamgen.runtime import BeamOutput, Ids
from beamgen.search.trace import RowStep, SearchTrace, Tokens, alive
from beamgen.search_config import SearchConfig

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel


_SMALL_MODEL = 20_000_000  # parameters


class Reference:
    """Runs a pristine HF model, one loaded by ``Checkpoint.load_model``."""

    def __init__(self, model: PreTrainedModel) -> None:
        """Clear the checkpoint's own generation defaults: each call gives all settings."""
        try:
            import torch
            from transformers import GenerationConfig
        except ImportError as error:
            raise MissingExtraError("comparing with HF generate", "export", "torch") from error
        self._torch = torch
        if sum(parameter.numel() for parameter in model.parameters()) < _SMALL_MODEL:
            # Threads gain a small model nothing, and cost it a lot on a busy machine.
            torch.set_num_threads(1)
        self._model = model
        model.generation_config = GenerationConfig()

    def generate(self, input_ids: Ids, attention_mask: Ids, config: SearchConfig) -> BeamOutput:
        """HF's ``sequences`` and ``sequences_scores``, in the graph's shapes.

        Greedy search (one beam) has no such scores in HF; the graph's are the
        summed log-probabilities, which HF's logits give too.
        """
        torch = self._torch
        from transformers import GenerationConfig

        config = config.for_prompt(input_ids.shape[1])
        settings = GenerationConfig(
            num_beams=config.num_beams,
            num_return_sequences=config.num_return_sequences,
            max_new_tokens=config.max_new_tokens,
            min_new_tokens=config.min_new_tokens,
            # HF warns of beam settings in greedy search, and ignores them
            length_penalty=config.length_penalty if config.num_beams > 1 else 1.0,
            early_stopping=config.early_stopping if config.num_beams > 1 else False,
            eos_token_id=list(config.eos_token_id) or None,
            pad_token_id=config.pad_token_id,
            do_sample=False,
            return_dict_in_generate=True,
            output_scores=True,
            output_logits=config.num_beams == 1,
        )
        with torch.no_grad():
            output = self._model.generate(
                torch.from_numpy(input_ids),
                attention_mask=torch.from_numpy(attention_mask),
                generation_config=settings,
            )
        shape = (len(input_ids), config.num_return_sequences)
        if config.num_beams == 1:
            generated = output.sequences[:, input_ids.shape[1] :]
            scores = self._greedy_scores(output.logits, generated, config)
        else:
            scores = output.sequences_scores
        return BeamOutput(
            output.sequences.numpy().reshape(*shape, -1), scores.numpy().reshape(shape)
        )

    def _greedy_scores(
        self, logits: tuple[torch.Tensor, ...], generated: torch.Tensor, config: SearchConfig
    ) -> Any:
        """Summed log-probability ``[B]`` of tokens ``[B, T]`` up to each row's first EOS."""
        torch = self._torch
        log_probs = torch.stack(logits, dim=1).float().log_softmax(-1)  # [B, T, V]
        chosen = log_probs.gather(2, generated[:, :, None])[:, :, 0]
        is_eos = torch.isin(generated, torch.tensor(config.eos_token_id, dtype=torch.long))
        after_eos = is_eos.cumsum(dim=1) - is_eos.long() > 0
        return chosen.masked_fill(after_eos, 0.0).sum(dim=1)

    def trace(self, input_ids: Ids, attention_mask: Ids, config: SearchConfig) -> SearchTrace:
        """What HF's beam search decided at each step, by watching its own functions."""
        steps: list[list[RowStep]] = []
        with _watched(self._model, steps, input_ids.shape[1]):
            self.generate(input_ids, attention_mask, config)
        return [list(row) for row in zip(*steps, strict=True)]

    def score(self, prompt: Sequence[int], continuations: Sequence[Tokens]) -> list[float]:
        """Summed log-probability of each continuation by teacher forcing.

        Args:
            prompt: one row's ids, without padding.
            continuations: generated ids, all of them scored.
        """
        torch = self._torch
        scores = []
        for tokens in continuations:
            ids = torch.tensor([[*prompt, *tokens]])
            with torch.no_grad():
                logits = self._model(input_ids=ids).logits[0, len(prompt) - 1 : -1]
            chosen = torch.log_softmax(logits.float(), dim=-1).gather(
                1, torch.tensor(tokens)[:, None]
            )
            scores.append(float(chosen.double().sum()))
        return scores


@contextlib.contextmanager
def _watched(model: PreTrainedModel, steps: list[list[RowStep]], prompt_len: int) -> Iterator[None]:
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

    watched = {
        "_get_running_beams_for_next_iteration": running,
        "_update_finished_beams": finished,
        "_check_early_stop_heuristic": stopped,
    }
    for name, take in watched.items():
        watch(name, take)
    try:
        yield
    finally:
        for name in watched:
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
