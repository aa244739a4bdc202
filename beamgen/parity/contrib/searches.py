"""A contrib file's search, and the rule of its operator on HF's scores."""

from __future__ import annotations

from itertools import islice

import numpy as np

from beamgen.package.folder import Package
from beamgen.parity.candidates import Candidates
from beamgen.parity.contrib.file import ContribFile
from beamgen.parity.contrib.reference import ContribReference
from beamgen.parity.contrib.rule import beam_search
from beamgen.parity.contrib.rule_scores import uniform_numbers
from beamgen.parity.margins import Margins
from beamgen.parity.reference import Reference
from beamgen.parity.report import ParityCase
from beamgen.parity.searches import Choice, Searches, powered
from beamgen.runtime.trace import RowStep, SearchTrace, Tokens


class ContribSearches(Searches):
    """The rule runs on HF's scores, and once more on the file's own."""

    def __init__(self, reference: Reference, package: Package, lora: str | None = None) -> None:
        """Load the package's graph, which can give the scores of each step."""
        super().__init__(reference, Margins.of(package.manifest))
        self._vocab_size = package.manifest.vocab_size
        self._rule = ContribReference(reference, self._vocab_size)
        self._file = ContribFile(package, lora)

    def traces(self, case: ParityCase) -> tuple[SearchTrace, SearchTrace]:
        """What the rule decides on HF's scores, and on the file's own."""
        steps = iter(self._file.step_scores(case))
        input_ids, _ = case.batch()
        config = case.config.for_prompt(case.prompt_len)
        ours = beam_search(lambda _: next(steps), input_ids, config, self._vocab_size)
        return self._rule.answer(case).trace, ours.trace

    @property
    def candidates(self) -> Candidates:
        """What the rule chose among."""
        return self._rule.candidates

    def divisor(self, tokens: Tokens, case: ParityCase) -> float:
        """The power of a length that counts the prompt with its padding, and no EOS."""
        ended = tokens[-1:] == case.config.eos_token_id
        return powered(case.prompt_len + len(tokens) - ended, case.config.length_penalty)

    def best_and_worst(self, case: ParityCase, step: int, held: RowStep) -> tuple[float, float]:
        """The worst hypothesis, and the margin above it that the rule noted."""
        worst = min(held.finished.values(), default=-1e9)
        return worst + (np.inf if held.stop_margin is None else held.stop_margin), worst

    def drawn_alike(self, case: ParityCase, row: int, ours: Choice, theirs: Choice) -> bool:
        """Whether scores tie; of a draw, whether its number falls at the border of the two."""
        tokens, other = ours[0], theirs[0][-1]
        input_ids, attention_mask = case.batch()
        config = case.config.for_prompt(case.prompt_len)
        processed = self._reference.scores(input_ids[row], attention_mask[row], tokens, config)
        one, scores = tokens[-1], processed[-1].double()
        if not case.config.do_sample:
            return self.margins.tied(float(scores[one]), float(scores[other]), 1)
        drawn = (len(tokens) - 1) * len(case.prompts) + row
        uniform = next(islice(uniform_numbers(case.config.seed or 0), drawn, None))
        below = scores.softmax(-1).cumsum(-1)[min(one, other)]
        return self.margins.tied(float(below), uniform, 1)
