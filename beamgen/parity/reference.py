"""Hugging Face ``generate`` as the yardstick: its answers, and its steps."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

import numpy as np

from beamgen.errors import MissingExtraError
from beamgen.parity.candidates import Candidates
from beamgen.parity.draws import seeded_multinomial
from beamgen.runtime.trace import RowStep, SearchTrace, Tokens, alive
from beamgen.settings.config import ResolvedSearch, SearchConfig
from beamgen.settings.prompts import Ids
from beamgen.settings.result import DEAD, BeamOutput
from beamgen.settings.table import SETTINGS

if TYPE_CHECKING:
    import torch
    from transformers import GenerationConfig, PreTrainedModel


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
        self.candidates = Candidates(0)

    @property
    def model(self) -> PreTrainedModel:
        """The HF model."""
        return self._model

    def generate(
        self,
        input_ids: Ids,
        attention_mask: Ids,
        config: SearchConfig,
        *,
        scores: bool = True,
        draws: Callable[[ResolvedSearch], AbstractContextManager[None]] | None = None,
    ) -> BeamOutput:
        """HF's answer in the graph's shapes, sampled with the file's random numbers.

        ``draws`` makes a context in which ``torch.multinomial`` draws with other numbers.

        Without ``scores``, which cost HF time and memory, all but the sequences is
        left empty. Greedy search and sampling have no ``sequences_scores`` in HF;
        the graph's are the sum of HF's ``compute_transition_scores`` with
        normalised logits.
        """
        torch = self._torch
        config = config.for_prompt(input_ids.shape[1])
        settings = self._settings(config)
        settings.return_dict_in_generate = settings.output_scores = scores
        batch, returned = len(input_ids), config.num_return_sequences
        running = returned if config.num_beams == 1 else config.num_beams
        vocab_size = self._model.config.get_text_config().vocab_size
        drawn = (
            seeded_multinomial(config.seed or 0, batch, running, vocab_size)
            if draws is None
            else draws(config)
        )
        with torch.no_grad(), drawn:
            output = self._model.generate(
                torch.from_numpy(input_ids),
                attention_mask=torch.from_numpy(attention_mask),
                generation_config=settings,
                prefix_allowed_tokens_fn=_allowed(config, input_ids.shape[1]),
            )
        if not scores:
            none = np.zeros((batch, 0))
            sequences = output.numpy().reshape(batch, returned, -1)
            return BeamOutput(sequences, *[none] * 4)  # type: ignore[arg-type] # empty
        return self._output(output, batch, input_ids.shape[1], config)

    def _settings(self, config: SearchConfig) -> GenerationConfig:
        """A config for one prompt as HF's own; what is off is left out, for HF warns of it."""
        from transformers import GenerationConfig

        values, defaults = vars(config), GenerationConfig()
        given = {}
        for setting in SETTINGS:
            value = values[setting.name]
            known = setting.in_hf and setting.in_graph and setting.name != "output_scores"
            if not known or not setting.is_heeded(values):
                continue
            if setting.is_off(value) and getattr(defaults, setting.name) in (None, value):
                continue
            given[setting.name] = setting.kind.to_hf(value)
        return GenerationConfig(**given)

    def _output(self, output: Any, batch: int, prompt_len: int, config: SearchConfig) -> BeamOutput:
        """HF's output as ``BeamOutput``."""
        torch = self._torch
        sequences = output.sequences.reshape(batch, config.num_return_sequences, -1)
        shape = sequences.shape[:2]
        generated = sequences[:, :, prompt_len:]
        one_beam = config.num_beams == 1
        log_probs = self._model.compute_transition_scores(
            output.sequences,
            output.scores,
            None if one_beam else output.beam_indices,
            normalize_logits=one_beam,
        ).reshape(*shape, -1)
        if one_beam:
            is_eos = torch.isin(generated, torch.tensor(config.eos_token_id, dtype=torch.long))
            ended = is_eos.cumsum(dim=2) - is_eos.long() > 0
            log_probs = log_probs.masked_fill(ended, 0.0)
            scores = log_probs.sum(dim=2)
            chain = torch.arange(shape[0] * shape[1]).reshape(*shape, 1)
            beam_indices = chain.expand(generated.shape).masked_fill(ended, -1)
        else:
            scores = output.sequences_scores.reshape(shape)
            beam_indices = output.beam_indices.reshape(*shape, -1)
        reasons = _finish_reasons(generated, scores, beam_indices, config)
        if not config.output_scores:
            beam_indices, log_probs = beam_indices[..., :0], log_probs[..., :0]
        found = (sequences, scores, reasons, beam_indices, log_probs)
        return BeamOutput(*(value.numpy() for value in found))

    def trace(self, input_ids: Ids, attention_mask: Ids, config: SearchConfig) -> SearchTrace:
        """What HF's beam search decided at each step, by watching its own functions.

        What it chose among stays in ``candidates`` until the next trace.
        """
        self.candidates = Candidates(input_ids.shape[1])
        steps: list[list[RowStep]] = []
        with _watched(self._model, steps, input_ids.shape[1], self.candidates):
            self.generate(input_ids, attention_mask, config)
        return [list(row) for row in zip(*steps, strict=True)]

    def score(
        self, input_ids: Ids, attention_mask: Ids, tokens: Tokens, config: SearchConfig
    ) -> float:
        """Summed log-probability of a continuation, by teacher forcing and HF's processors.

        Args:
            input_ids: one row, int64 ``[S]``, with its padding, which processors read.
            attention_mask: int64 ``[S]``.
            tokens: generated ids, all of them scored.
            config: the settings under which they are scored.
        """
        config = config.for_prompt(len(input_ids))
        scores = self.scores(input_ids, attention_mask, tokens, config)
        if config.num_beams == 1:
            scores = scores.log_softmax(-1)
        return float(scores[range(len(tokens)), tokens].sum())

    def scores(
        self, input_ids: Ids, attention_mask: Ids, tokens: Tokens, config: SearchConfig
    ) -> torch.Tensor:
        """What each token of a continuation was chosen by: processed scores ``[len(tokens), V]``.

        Log-probabilities with several beams, logits with one, as HF processes them.
        """
        prompt_len = len(input_ids)
        ids = self._torch.tensor([[*input_ids.tolist(), *tokens]])
        mask = self._torch.tensor([[*attention_mask.tolist(), *[1] * len(tokens)]])
        positions = (mask.cumsum(dim=1) - 1).masked_fill(mask == 0, 1)
        with self._torch.no_grad():
            logits = self._model(input_ids=ids, attention_mask=mask, position_ids=positions).logits
        process = self._processors(config, ids[:, :prompt_len])
        told: list[torch.Tensor] = []
        for place in range(prompt_len, prompt_len + len(tokens)):
            scores = logits[:, place - 1].float()
            if config.num_beams > 1:
                scores = scores.log_softmax(-1)
            # as many rows as HF has beams, which the catalogue's processor counts
            rows = (config.num_beams, -1)
            told.append(process(ids[:, :place].expand(*rows), scores.expand(*rows).clone())[0])
        stacked: torch.Tensor = self._torch.stack(told)
        return stacked

    def _processors(self, config: SearchConfig, input_ids: torch.Tensor) -> Any:
        """HF's own list, in HF's own order."""
        settings = self._settings(config)
        settings.max_length = input_ids.shape[1] + (config.max_new_tokens or 0)
        self._model._prepare_special_tokens(settings, True)
        return self._model._get_logits_processor(
            settings,
            input_ids_seq_length=input_ids.shape[1],
            encoder_input_ids=input_ids,
            prefix_allowed_tokens_fn=_allowed(config, input_ids.shape[1]),
            device="cpu",
        )


def _allowed(config: SearchConfig, prompt_len: int) -> Callable[..., list[int]] | None:
    """The catalogue as HF's ``prefix_allowed_tokens_fn``.

    HF wants a token even where a dead beam has left the catalogue: any but an EOS.
    """
    catalogue = config.catalogue
    if catalogue is None:
        return None

    def allowed(_: int, sequence: torch.Tensor) -> list[int]:
        tokens, ends = catalogue.allowed(sequence[prompt_len:].tolist())
        found = [*tokens, *(config.eos_token_id if ends else ())]
        return found or catalogue.allowed(())[0][:1]

    return allowed


def _finish_reasons(
    generated: torch.Tensor, scores: torch.Tensor, beam_indices: torch.Tensor, config: SearchConfig
) -> torch.Tensor:
    """The graph's ``finish_reasons [B, R]``; see there for what counts as found."""
    lengths = (beam_indices >= 0).sum(dim=2)
    penalty = config.length_penalty if config.num_beams > 1 else 0.0
    summed = scores.double() * lengths.clamp(min=1).double() ** penalty
    last = generated.gather(2, (lengths - 1).clamp(min=0)[:, :, None])[:, :, 0]
    ended = (last[:, :, None] == last.new_tensor(config.eos_token_id)).any(dim=2)
    return last.new_tensor(2).where(~ended, 1).where((summed > DEAD) & (lengths > 0), 0)


@contextlib.contextmanager
def _watched(
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

    watched = {
        "_get_top_k_continuations": offered,
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
