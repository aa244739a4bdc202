"""The validator itself: each way of being wrong is found, at the step where it is wrong."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import onnx
import pytest
from support.wrong_graphs import (
    Mutation,
    every_end,
    ignored_min_new_tokens,
    lost_outputs,
    no_top_k,
    open_catalogue,
    other_beam_indices,
    other_numbers,
    shifted_position,
    stale_cache_entry,
    swapped_beam,
    swapped_penalty,
    wrong_fill,
    wrong_length_rule,
    wrong_scores,
)

from beamgen import Constraint, Package, check_parity, open_checkpoint, open_package
from beamgen.package.folder import write_manifest
from beamgen.parity.report import ParityCase, ParityReport, Parting, Verdict

PROMPT = (5, 9, 7, 11, 30)


def _mutated(package: Package, folder: Path, mutation: Mutation | None) -> Package:
    model = onnx.load(package.model)
    if mutation is not None:
        mutation(model)
    folder.mkdir()
    onnx.save(model, folder / "model.onnx")
    write_manifest(folder, package.manifest)
    return open_package(folder)


@pytest.fixture
def check(
    packages: Callable[[str], Package], checkpoints: Callable[[str], Path], tmp_path: Path
) -> Callable[..., ParityReport]:
    """``check(mutation, **settings)``: parity of one prompt, all five hypotheses."""

    def run(mutation: Mutation | None, batch: int = 1, **settings) -> ParityReport:
        name = mutation.__name__ if mutation else "unchanged"
        package = _mutated(packages("gpt2"), tmp_path / name, mutation)

        def grid(package, likely, seed):
            prompts = tuple(tuple((t + row) % 90 + 3 for t in PROMPT) for row in range(batch))
            base = replace(package.manifest.search, num_return_sequences=5, max_new_tokens=12)
            chosen = {"eos_token_id": tuple(likely(prompts)), **settings}
            config = base.with_overrides(chosen)
            return [ParityCase("case", prompts, len(PROMPT), config)]

        return check_parity(package, open_checkpoint(checkpoints("gpt2")), grid=grid)

    return run


def _parting(report: ParityReport) -> Parting:
    assert report.verdict is Verdict.DIVERGED
    assert report.exit_code == 3
    return report.results[0].partings[0]


def test_an_unchanged_copy_is_exact(check: Callable[..., ParityReport]) -> None:
    report = check(None, batch=2)
    assert (report.verdict, report.exit_code) == (Verdict.EXACT, 0)
    assert report.score_difference < 1e-4


def test_a_wrong_length_rule_shows_with_the_first_hypothesis(
    check: Callable[..., ParityReport], checkpoints: Callable[[str], Path]
) -> None:
    parting = _parting(check(wrong_length_rule))
    assert parting.reason == "the same continuation among the hypotheses has another score"
    assert parting.step == len(parting.reference), "it had just ended"
    ratio = parting.our_score / parting.reference_score
    assert ratio == pytest.approx(parting.step / (parting.step + 1), rel=1e-4)


def test_a_shifted_position_shows_at_the_second_token(
    check: Callable[..., ParityReport],
) -> None:
    # The first token comes from the prompt pass, which is right.
    assert _parting(check(shifted_position, eos_token_id=(2,))).step == 2


def test_a_stale_cache_entry_shows_when_the_cache_is_first_read(
    check: Callable[..., ParityReport],
) -> None:
    # The prompt is compacted before step 2 reads it.
    assert _parting(check(stale_cache_entry, eos_token_id=(2,))).step == 2


def test_a_swapped_beam_shows_at_the_step_after_the_swap(
    check: Callable[..., ParityReport],
) -> None:
    # The swap happens when step 2 chose its beams; step 3 sees strangers' ancestors.
    assert _parting(check(swapped_beam, eos_token_id=(2,))).step == 3


def test_an_ignored_min_new_tokens_shows_with_the_first_early_eos(
    check: Callable[..., ParityReport],
) -> None:
    # A negative penalty prefers short hypotheses, so that the early ones stay in view.
    parting = _parting(check(ignored_min_new_tokens, min_new_tokens=8, length_penalty=-1.0))
    assert parting.step < 8


def test_a_wrong_fill_is_found_though_the_searches_agree(
    check: Callable[..., ParityReport],
) -> None:
    parting = _parting(check(wrong_fill, length_penalty=0.0))
    assert parting.reason.startswith("the outputs differ though the searches agree")


def test_only_the_rows_that_differ_are_blamed(check: Callable[..., ParityReport]) -> None:
    report = check(shifted_position, batch=3, eos_token_id=(2,))
    rows = [parting.row for parting in report.results[0].partings]
    assert rows == sorted(set(rows))
    assert rows


def test_greedy_search_is_judged_by_its_tokens(check: Callable[..., ParityReport]) -> None:
    report = check(
        shifted_position, batch=8, num_beams=1, num_return_sequences=1, eos_token_id=(2,)
    )
    assert report.verdict is Verdict.DIVERGED
    partings = report.results[0].partings
    assert {parting.reason for parting in partings} <= {
        "another token is taken",
        "the same tokens have another score or another end",
    }
    for parting in partings:
        assert parting.ours[:-1] == parting.reference[:-1]


DRAWS = {"do_sample": True, "seed": 3, "eos_token_id": (2,)}
CATALOGUE = Constraint.choices([[20, 21, 22], [20, 23], [24, 25, 26, 27], [28], [29, 30], [31]])


@pytest.mark.parametrize("beams", [1, 5])
@pytest.mark.parametrize(
    ("mutation", "settings"),
    [
        (other_numbers, DRAWS),
        (no_top_k, {**DRAWS, "top_k": 2}),
        (swapped_penalty, {"repetition_penalty": 1.5, "eos_token_id": (2,)}),
        (open_catalogue, {"constraint": CATALOGUE, "eos_token_id": (2,)}),
        (open_catalogue, {"constraint": CATALOGUE, "eos_token_id": (2, 7)}),
        (other_beam_indices, {"output_scores": True, "eos_token_id": (2,)}),
    ],
)
def test_a_wrong_processor_or_draw_is_found(
    mutation: Mutation, settings: dict, beams: int, check: Callable[..., ParityReport]
) -> None:
    settings = {**settings, "num_beams": beams, "num_return_sequences": 1}
    assert check(None, batch=3, **settings).verdict is Verdict.EXACT
    report = check(mutation, batch=3, **settings)
    assert report.verdict is Verdict.DIVERGED
    assert report.results[0].partings


def test_an_entry_found_once_for_each_eos_id_is_found(check: Callable[..., ParityReport]) -> None:
    settings = {"constraint": CATALOGUE, "eos_token_id": (2, 7, 11)}
    assert check(None, batch=3, **settings).verdict is Verdict.EXACT
    assert check(every_end, batch=3, **settings).verdict is Verdict.DIVERGED


@pytest.mark.parametrize("mutation", [lost_outputs, wrong_scores])
@pytest.mark.parametrize("beams", [1, 5])
def test_outputs_that_the_search_did_not_find_are_no_near_tie(
    check: Callable[..., ParityReport], mutation: Mutation, beams: int
) -> None:
    settings = {"num_beams": beams, "num_return_sequences": beams}
    assert check(mutation, batch=2, **settings).verdict is Verdict.DIVERGED


def test_the_report_is_plain_json(check: Callable[..., ParityReport]) -> None:
    import json

    (result,) = check(shifted_position).results
    # an EOS that may not come yet scores -inf, which JSON does not know
    endless = replace(result.partings[0], margin=float("inf"))
    report = ParityReport([replace(result, partings=[endless])])
    values = json.loads(json.dumps(report.to_json(), allow_nan=False))
    assert values["partings"][0]["margin"] is None


def test_the_report_counts_its_verdicts(check: Callable[..., ParityReport]) -> None:
    values = check(shifted_position).to_json()
    assert values["verdict"] == "diverged"
    assert values["partings"][0]["step"] == 2
    assert values["exact"] + values["near-tie"] + values["diverged"] == values["cases"]
