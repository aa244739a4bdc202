"""A package is compared with HF: both answer, and each difference is explained."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, TypeVar

import numpy as np

from beamgen.checkpoint.checkpoint import Checkpoint
from beamgen.package.folder import Package
from beamgen.parity.contrib.file import ContribFile
from beamgen.parity.contrib.reference import ContribReference
from beamgen.parity.contrib.searches import ContribSearches
from beamgen.parity.grids.audio import audio_cases
from beamgen.parity.grids.shapes import Grid, ordinary_ids, prompt_cases
from beamgen.parity.grids.sources import behind_encoder
from beamgen.parity.judge import judge
from beamgen.parity.loop_searches import LoopSearches
from beamgen.parity.margins import Margins
from beamgen.parity.named_grids import GRIDS
from beamgen.parity.reference import Reference
from beamgen.parity.report import (
    CaseResult,
    ParityCase,
    ParityReport,
    Prompts,
    Verdict,
    same_row,
    same_tokens,
)
from beamgen.parity.rounded import reference_model
from beamgen.quantization.saturation import check_exact
from beamgen.runtime.generator import Generator
from beamgen.runtime.no_numbers import bans
from beamgen.settings.result import BeamOutput
from beamgen.settings.rules import check_comparable

Answer = TypeVar("Answer")
#: Called with a phase, cases done and cases in all.
Progress = Callable[[str, int, int], None]


def check_parity(
    package: Package,
    checkpoint: Checkpoint,
    *,
    lora: str | None = None,
    grid: Grid = GRIDS["quick"],
    prompts: Sequence[Sequence[int]] = (),
    audio: Sequence[Any] = (),
    seed: int = 0,
    progress: Progress | None = None,
) -> ParityReport:
    """Compare a package with HF ``generate`` on its checkpoint.

    A contrib package is held against the rule of its operator, see
    ``beamgen.parity.contrib.rule``; where that rule's answer is HF's too, it is exact.

    HF answers first and its model is freed before the file is loaded, so that
    both need not be in memory at once; it is loaded again only to explain a
    difference.

    Args:
        package: what to judge.
        checkpoint: what it was exported from; for ``lora`` with the same LoRA in it, see
            ``Checkpoint.with_lora``.
        lora: the name of a LoRA in the package, or None for its base model.
        grid: makes the cases.
        prompts: token ids of further prompts, searched with the package's own
            settings.
        audio: further clips for an encoder that hears, as ``Generator.generate`` takes them.
        seed: of the grid's random prompts.
        progress: called with a phase, cases done and cases in all.

    Raises:
        CheckpointError, PackageError, LoraError: either side cannot be loaded.
        RulesError: the package follows other rules than the transformers installed.
        SettingError: a contrib package cannot honour a case; or this CPU cannot add the
            package's int8 weights exactly.
    """
    notify = progress or (lambda phase, done, total: None)
    check_exact(package.manifest.precision.multiplied)
    contrib = package.manifest.backend == "contrib"
    if not contrib:  # ONNX Runtime's operators have a rule of their own
        check_comparable(package.manifest.rules)
    reference = Reference(
        reference_model(checkpoint, package.manifest.precision, in_slots=lora is not None)
    )
    cases = grid(package, partial(_likely_ids, reference, package), seed)
    cases = [*cases, *prompt_cases(package, prompts)]
    if package.manifest.encoder is not None:
        cases = behind_encoder(package, cases, seed)
    if audio:
        cases = [*cases, *audio_cases(Generator(package, verify=False), audio)]
    ask = _ask_contrib(reference, package) if contrib else _ask_hf(reference)
    expected = _each(cases, ask, "transformers", notify)
    forgetful = reference.forgetful_default
    del reference, ask
    search = ContribFile(package, lora).search if contrib else _loop_search(package, lora)
    found = _each(cases, search, "onnxruntime", notify)
    del search

    compared = list(zip(cases, expected, found, strict=True))
    margins = Margins.of(package.manifest)
    if all(_same(case, yardstick.answer, ours, margins) for case, yardstick, ours in compared):
        return ParityReport([_agreed(*each, margins) for each in compared], forgetful)
    notify("explaining", 0, 1)
    reference = Reference(
        reference_model(checkpoint, package.manifest.precision, in_slots=lora is not None)
    )
    searches = (ContribSearches if contrib else LoopSearches)(reference, package, lora)
    return ParityReport(
        [
            _agreed(case, yardstick, ours, margins)
            if _same(case, yardstick.answer, ours, margins)
            else judge(searches, case, yardstick.answer, ours)
            for case, yardstick, ours in compared
        ],
        forgetful,
    )


def _each(
    cases: Sequence[ParityCase], ask: Callable[[ParityCase], Answer], phase: str, notify: Progress
) -> list[Answer]:
    """The answers of one side to all cases."""
    answers = []
    for done, case in enumerate(cases):
        notify(phase, done, len(cases))
        answers.append(ask(case))
    return answers


@dataclass(frozen=True)
class _Yardstick:
    """What a file has to answer, and what HF does: the same but for ONNX Runtime's operators."""

    answer: BeamOutput
    hf: BeamOutput


def _ask_hf(reference: Reference) -> Callable[[ParityCase], _Yardstick]:
    def ask(case: ParityCase) -> _Yardstick:
        found = reference.generate(*case.batch(), case.config, source=case.source())
        return _Yardstick(found, found)

    return ask


def _ask_contrib(reference: Reference, package: Package) -> Callable[[ParityCase], _Yardstick]:
    rule = ContribReference(reference, package.manifest.vocab_size)
    return lambda case: _Yardstick(rule.output(case), rule.generate(case))


def _loop_search(package: Package, lora: str | None) -> Callable[[ParityCase], BeamOutput]:
    generator = Generator(package, verify=False)
    return lambda case: generator.search_ids(
        *case.batch(), case.config, lora=lora, source=case.source()
    )


def _likely_ids(reference: Reference, package: Package, prompts: Prompts) -> list[int]:
    """Two ids that HF generates often for these prompts, see ``Likely``."""
    ordinary = ordinary_ids(package)
    search = package.manifest.search
    config = replace(
        search,
        num_return_sequences=search.num_beams,
        max_new_tokens=6,
        min_new_tokens=6,
        max_length=None,
        do_sample=False,
    )
    case = ParityCase("likely", prompts, max(map(len, prompts)), config)
    if package.manifest.encoder is not None:
        (case,) = behind_encoder(package, [case])
    output = reference.generate(*case.batch(), config, source=case.source())
    generated = output.sequences[:, :, case.prompt_len + 1 :]  # not the very first token
    found, counts = np.unique(generated[np.isin(generated, ordinary)], return_counts=True)
    return [*found[np.argsort(-counts)].tolist(), *ordinary.tolist()][:2]


def _same(case: ParityCase, expected: BeamOutput, found: BeamOutput, margins: Margins) -> bool:
    slack = margins.slack(case, expected)
    return all(same_row(expected, found, row, slack) for row in range(len(expected.sequences)))


def _agreed(
    case: ParityCase, yardstick: _Yardstick, found: BeamOutput, margins: Margins
) -> CaseResult:
    expected = yardstick.answer
    with np.errstate(invalid="ignore"):  # equal infinities, and no scores at all, are no number
        difference = np.abs(expected.sequences_scores - found.sequences_scores)
    difference = difference[(expected.finish_reasons > 0) & ~np.isnan(difference)]
    verdict = Verdict.EXACT if _same(case, yardstick.hf, found, margins) else Verdict.CONTRIB_RULE
    anything = bool(expected.finish_reasons.any())
    return CaseResult(
        case,
        verdict if anything or bans(case.config) else Verdict.EMPTY,
        float(difference.max(initial=0.0)),
        [],
        same_tokens(yardstick.hf, found),
        anything,
    )
