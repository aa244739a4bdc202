"""The check: HF answers, the file answers, and each difference is explained."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

import numpy as np

from beamgen.beam_output import BeamOutput
from beamgen.checkpoint import Checkpoint
from beamgen.package import Package
from beamgen.parity.grids import Grid, ordinary_ids, prompt_cases, quick_grid
from beamgen.parity.judge import Judge
from beamgen.parity.reference import Reference
from beamgen.parity.report import CaseResult, ParityCase, ParityReport, Prompts, Verdict, same_row
from beamgen.prompts import left_pad
from beamgen.runtime import Generator


def check_parity(
    package: Package,
    checkpoint: Checkpoint,
    *,
    grid: Grid = quick_grid,
    prompts: Sequence[Sequence[int]] = (),
    seed: int = 0,
    progress: Callable[[str, int, int], None] | None = None,
) -> ParityReport:
    """Compare a package with HF ``generate`` on its checkpoint.

    HF answers first and its model is freed before the file is loaded, so that
    both need not be in memory at once; it is loaded again only to explain a
    difference.

    Args:
        package: what to judge.
        checkpoint: what it was exported from.
        grid: makes the cases.
        prompts: token ids of further prompts, searched with the package's own
            settings.
        seed: of the grid's random prompts.
        progress: called with a phase, cases done and cases in all.

    Raises:
        CheckpointError, PackageError: either side cannot be loaded.
    """
    notify = progress or (lambda phase, done, total: None)
    reference = Reference(checkpoint.load_model())
    cases = grid(package, partial(_likely_ids, reference, package), seed)
    cases = [*cases, *prompt_cases(package, prompts)]
    expected = []
    for done, case in enumerate(cases):
        notify("transformers", done, len(cases))
        expected.append(reference.generate(*case.batch(), case.config))
    del reference

    generator = Generator(package, verify=False)
    found = []
    for done, case in enumerate(cases):
        notify("onnxruntime", done, len(cases))
        found.append(generator.search_ids(*case.batch(), case.config))
    del generator

    pairs = list(zip(cases, expected, found, strict=True))
    if all(_same(*pair[1:]) for pair in pairs):
        return ParityReport([_exact(*pair) for pair in pairs])
    notify("explaining", 0, 1)
    judge = Judge(Reference(checkpoint.load_model()), package)
    return ParityReport(
        [
            _exact(case, theirs, ours) if _same(theirs, ours) else judge(case, theirs, ours)
            for case, theirs, ours in pairs
        ]
    )


def _likely_ids(reference: Reference, package: Package, prompts: Prompts) -> list[int]:
    """Two ids, see ``Likely``."""
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
    batch = left_pad(prompts, config.pad_token_id)
    output = reference.generate(*batch, config)
    generated = output.sequences[:, :, batch[0].shape[1] + 1 :]  # not the very first token
    found, counts = np.unique(generated[np.isin(generated, ordinary)], return_counts=True)
    return [*found[np.argsort(-counts)].tolist(), *ordinary.tolist()][:2]


def _same(expected: BeamOutput, found: BeamOutput) -> bool:
    return all(same_row(expected, found, row) for row in range(len(expected.sequences)))


def _exact(case: ParityCase, expected: BeamOutput, found: BeamOutput) -> CaseResult:
    difference = np.abs(expected.sequences_scores - found.sequences_scores)
    difference = difference[expected.finish_reasons > 0]
    return CaseResult(case, Verdict.EXACT, float(difference.max(initial=0.0)), [])
