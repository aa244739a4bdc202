"""What ONNX Runtime's operators have to answer: their rule over HF's own scores."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np

from beamgen.adapter import cache_keyword
from beamgen.errors import SettingError
from beamgen.parity.candidates import Candidates
from beamgen.parity.contrib.rule import (
    Beams,
    RuleAnswer,
    beam_search,
    one_beam,
)
from beamgen.parity.contrib.rule_scores import Floats, draw, processed, uniform_numbers
from beamgen.parity.positions import takes_positions
from beamgen.parity.reference import Reference
from beamgen.parity.report import ParityCase
from beamgen.runtime.contrib import beam_output
from beamgen.settings.config import ResolvedSearch
from beamgen.settings.contrib import SAMPLING, operator_of
from beamgen.settings.prompts import Ids
from beamgen.settings.result import BeamOutput


class ContribReference:
    """Runs the operators' rule over the scores of a pristine HF model."""

    def __init__(self, reference: Reference, vocab_size: int) -> None:
        """Take the model of a reference."""
        self._reference = reference
        self._vocab_size = vocab_size
        self.candidates = Candidates(0)

    def answer(self, case: ParityCase) -> RuleAnswer:
        """What the rule says of the operator that the case's settings choose.

        What a beam search chose among stays in ``candidates`` until the next answer.

        Raises:
            SettingError: ``Sampling`` on a system whose random engine is not modelled.
        """
        if operator_of(case.config) == SAMPLING and sys.platform != "linux":
            raise SettingError(
                "ONNX Runtime's Sampling draws with the C++ library's engine, known here for Linux",
                "compare on Linux, or export with --no-parity",
            )
        input_ids, attention_mask = case.batch()
        config = case.config.for_prompt(case.prompt_len)
        scores = _ModelScores(
            self._reference.model, attention_mask, config, case.prompt_len, self._vocab_size
        )
        search = beam_search if config.num_beams > 1 else one_beam
        self.candidates = candidates = Candidates(case.prompt_len)

        def watched(beams: Beams) -> Floats:
            found = scores(beams)
            shape = (len(input_ids), -1)
            candidates.add(
                beams.sequences.reshape(*shape, beams.sequences.shape[-1]),
                found.reshape(*shape, found.shape[-1]),
            )
            return found

        return search(watched, input_ids, config, self._vocab_size)

    def output(self, case: ParityCase) -> BeamOutput:
        """The answer of the rule, in the form of the loop backend.

        Raises:
            SettingError: see ``answer``.
        """
        answer = self.answer(case)
        config = case.config.for_prompt(case.prompt_len)
        return beam_output(answer.sequences, answer.scores, case.prompt_len, config)

    def generate(self, case: ParityCase) -> BeamOutput:
        """HF's own answer, sampled with the operator's random numbers.

        With one beam it has no scores, as the operators have none.
        """
        found = self._reference.generate(*case.batch(), case.config, draws=engine_multinomial)
        if case.config.num_beams > 1:
            return found
        none = np.full_like(found.sequences_scores, np.nan)
        return BeamOutput(**{**vars(found), "sequences_scores": none})


@contextlib.contextmanager
def engine_multinomial(config: ResolvedSearch) -> Iterator[None]:
    """Let ``torch.multinomial`` draw with the numbers of the operator's engine."""
    import torch

    original, uniform = torch.multinomial, uniform_numbers(config.seed or 0)

    def multinomial(probabilities: torch.Tensor, num_samples: int, **_: Any) -> torch.Tensor:
        rows = probabilities.log().numpy()
        return torch.tensor([[draw(row, next(uniform))] for row in rows])

    torch.multinomial = multinomial  # type: ignore[assignment] # as far as HF calls it
    try:
        yield
    finally:
        torch.multinomial = original


class _ModelScores:
    """Gives the scores of a step by the HF model, whose cache follows the beams."""

    def __init__(
        self,
        model: Any,
        attention_mask: Ids,
        config: ResolvedSearch,
        prompt_len: int,
        vocab_size: int,
    ) -> None:
        """Begin with the prompts, whose mask is ``[B, S]``."""
        from transformers import DynamicCache

        self._model, self._config = model, config
        self._takes_positions = takes_positions(model)
        self._prompt_len, self._vocab_size = prompt_len, vocab_size
        self._mask = attention_mask.repeat(config.num_beams, axis=0)
        self._cache = DynamicCache(config=model.config)

    def __call__(self, beams: Beams) -> Floats:
        """What each beam may be continued with, see ``rule.StepScores``."""
        logits = self._next_logits(beams)
        several = self._config.num_beams > 1
        scores: Floats = (logits.log_softmax(-1) if several else logits).numpy()
        scores = processed(
            scores, beams.sequences, self._config, self._prompt_len, self._vocab_size
        )
        if several:
            with np.errstate(over="ignore"):  # a banned token below the lowest number
                scores = scores + beams.scores[:, None]
        return scores

    def _next_logits(self, beams: Beams) -> Any:
        """Logits ``[B*K, V]``; a row's mask stays its own, whomever it continues."""
        import torch

        # of a model without a cache none are ever cached
        new, cached = torch.from_numpy(beams.sequences), self._cache.get_seq_length()
        if cached:
            self._cache.reorder_cache(torch.from_numpy(beams.parents))
        generated = new.shape[1] - self._mask.shape[1]
        self._mask = np.pad(self._mask, ((0, 0), (0, generated)), constant_values=1)
        mask = torch.from_numpy(self._mask)
        positions = (mask.cumsum(dim=1) - 1).masked_fill(mask == 0, 1)
        with torch.no_grad():
            output = self._model(
                input_ids=new[:, cached:],
                attention_mask=mask,
                **({"position_ids": positions[:, cached:]} if self._takes_positions else {}),
                use_cache=True,
                **{cache_keyword(self._model): self._cache},
            )
        return output.logits[:, -1].float()
