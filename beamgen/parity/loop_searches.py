"""A loop file's search, and HF's own."""

from __future__ import annotations

import onnx_ir as ir

from beamgen.package.folder import Package
from beamgen.parity.candidates import Candidates
from beamgen.parity.draws import gumbel_noise
from beamgen.parity.margins import Margins
from beamgen.parity.reference import Reference
from beamgen.parity.report import ParityCase
from beamgen.parity.searches import Choice, Searches, powered
from beamgen.runtime.feeds import parameter_feeds, prompt_feeds
from beamgen.runtime.loras import LoadedLoras
from beamgen.runtime.session import run, session_of
from beamgen.runtime.trace import RowStep, SearchTrace, Tokens, read_trace
from beamgen.search.traced import with_trace_outputs


class LoopSearches(Searches):
    """HF's functions are watched as they run; the file gives its trace as outputs."""

    def __init__(self, reference: Reference, package: Package, lora: str | None = None) -> None:
        """Load the package's graph once more, with its trace as further outputs."""
        super().__init__(reference, Margins.of(package.manifest))
        self._manifest = package.manifest
        self._lora = LoadedLoras(package).feeds(lora, 1)
        self._session = session_of(with_trace_outputs(ir.load(package.model)), package.folder)

    def traces(self, case: ParityCase) -> tuple[SearchTrace, SearchTrace]:
        """What HF's search decides, and the file's."""
        theirs = self._reference.trace(*case.batch(), case.config, source=case.source())
        return theirs, self._trace(case)

    @property
    def candidates(self) -> Candidates:
        """What HF's search chose among."""
        return self._reference.candidates

    def divisor(self, tokens: Tokens, case: ParityCase) -> float:
        """The power of a length that counts what was generated, the EOS included."""
        return powered(len(tokens), case.config.length_penalty)

    def best_and_worst(self, case: ParityCase, step: int, held: RowStep) -> tuple[float, float]:
        """What ``GenerationMixin._check_early_stop_heuristic`` compares."""
        penalty = case.config.length_penalty
        longest = case.config.early_stopping == "never" and penalty > 0
        length = (case.config.max_new_tokens or step) if longest else step
        best = max(held.running.values(), default=-1e9) / powered(length, penalty)
        return best, min(held.finished.values(), default=-1e9)

    def drawn_alike(self, case: ParityCase, row: int, ours: Choice, theirs: Choice) -> bool:
        """Whether scores tie, in sampling with the noise that was added to them."""
        one, other = (self._perturbed(case, row, *choice) for choice in (ours, theirs))
        return self.margins.tied(one, other, len(ours[0]))

    def borders(self, case: ParityCase, row: int, tokens: Tokens) -> list[tuple[float, float]]:
        """Pairs of scores on which a choice depends; in sampling, of what is drawn."""
        config, found = case.config, super().borders(case, row, tokens)
        if config.do_sample and found:
            drawn = max(2, 1 + len(config.eos_token_id)) * config.num_beams
            seed, step = (config.seed or 0) + row, len(tokens) - 1
            noise = gumbel_noise(seed, step, config.num_beams, self._manifest.vocab_size)
            # of what is drawn, the first num_beams may end
            ranks = (config.num_beams, drawn)
            both = [self.candidates.border(row, tokens, rank, noise) for rank in ranks]
            found = [border for border in both if border is not None]
        return found

    def _perturbed(self, case: ParityCase, row: int, tokens: Tokens, beam: int) -> float:
        """What a token was chosen by: the summed log-probability, in sampling with noise."""
        score = self.score(case, row, tokens)
        if not case.config.do_sample:
            return score
        config, step = case.config, len(tokens) - 1
        noise = gumbel_noise((config.seed or 0) + row, step, beam + 1, tokens[-1] + 1)
        return score + float(noise[beam, tokens[-1]])

    def _trace(self, case: ParityCase) -> SearchTrace:
        names = [output.name for output in self._session.get_outputs()]
        feeds = {
            **prompt_feeds(*case.batch(), case.source()),
            **parameter_feeds(self._manifest, [case.config.for_prompt(case.prompt_len)]),
            **self._lora,
        }
        return read_trace(dict(zip(names, run(self._session, names, feeds), strict=True)))
