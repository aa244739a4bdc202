"""The validator itself: each way of being wrong is found, at the step where it is wrong."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper
from support.onnx_functions import call_of, initializers

from beamgen import Catalogue, Package, check_parity, open_checkpoint, open_package
from beamgen.package.folder import write_manifest
from beamgen.parity.report import ParityCase, ParityReport, Parting, Verdict
from beamgen.settings.config import SearchConfig

PROMPT = (5, 9, 7, 11, 30)
Mutation = Callable[[onnx.ModelProto], None]


def _function(model: onnx.ModelProto, name: str) -> onnx.FunctionProto:
    return next(f for f in model.functions if f.name == name)


def _node(nodes, *, output: str) -> onnx.NodeProto:
    return next(node for node in nodes if output in node.output)


def _insert(nodes, before: onnx.NodeProto, *added: onnx.NodeProto) -> None:
    index = list(nodes).index(before)
    for node in reversed(added):
        nodes.insert(index, node)


def wrong_length_rule(model: onnx.ModelProto) -> None:
    """Divide by (length + 1) ** penalty, as a file that counts the prompt's last token."""
    function = _function(model, "length_penalised")
    power = next(node for node in function.node if node.op_type == "Pow")
    one = helper.make_node("Constant", [], ["one_more"], value_floats=[1.0])
    cast = helper.make_node("Cast", ["one_more"], ["one_more_d"], to=onnx.TensorProto.DOUBLE)
    add = helper.make_node("Add", [power.input[0], "one_more_d"], ["longer"])
    _insert(function.node, power, one, cast, add)
    power.input[0] = "longer"


def shifted_position(model: onnx.ModelProto) -> None:
    """Every generated token stands one position too far."""
    function = _function(model, "step_inputs")
    name = function.output[1]
    node = _node(function.node, output=name)
    node.output[list(node.output).index(name)] = "right"
    one = helper.make_node("Constant", [], ["one_too_far"], value_int=1)
    function.node.extend([one, helper.make_node("Add", ["right", "one_too_far"], [name])])


def stale_cache_entry(model: onnx.ModelProto) -> None:
    """Compaction gathers the values of layer 0 one entry off, as a stale index would."""
    body, node = call_of(model, "kept_entries", "past.0.value")
    index = node.input[2]
    one = numpy_helper.from_array(np.array(1, np.int64), "stale_one")
    zero = numpy_helper.from_array(np.array(0, np.int64), "stale_zero")
    body.initializer.extend([one, zero])
    _insert(
        body.node,
        node,
        helper.make_node("Sub", [index, "stale_one"], ["one_off"]),
        helper.make_node("Max", ["one_off", "stale_zero"], ["stale_index"]),
    )
    node.input[2] = "stale_index"


def swapped_beam(model: onnx.ModelProto) -> None:
    """The tree believes that the two best beams descend from each other's parents."""
    body, node = call_of(model, "next_entries")
    order = numpy_helper.from_array(np.array([1, 0, 2, 3, 4], np.int64), "swapped_order")
    body.initializer.append(order)
    _insert(
        body.node,
        node,
        helper.make_node("Gather", [node.input[2], "swapped_order"], ["swapped"], axis=1),
    )
    node.input[2] = "swapped"


def ignored_min_new_tokens(model: onnx.ModelProto) -> None:
    """The processor lets an EOS through."""
    function = _function(model, "suppress")
    for node in function.node:
        for attribute in node.attribute:
            if attribute.name == "value_float" and attribute.f == float("-inf"):
                attribute.f = 0.0


def wrong_fill(model: onnx.ModelProto) -> None:
    """Finished rows are filled with pad id 0, which HF takes for unset."""
    function = _function(model, "search_mode")
    fill = _node(function.node, output=function.output[4])
    fill.input[1] = fill.input[2]


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


def lost_outputs(model: onnx.ModelProto) -> None:
    """The search is right, and what it returns is not."""
    function = _function(model, "finalize")
    last = _node(function.node, output=function.output[0])
    last.output[0] = "right"
    function.node.append(helper.make_node("Sub", ["right", "right"], [function.output[0]]))


def wrong_scores(model: onnx.ModelProto) -> None:
    """All scores are 0.1 too good."""
    function = _function(model, "finalize")
    for node in function.node:
        for names in (node.input, node.output):
            for i, name in enumerate(names):
                names[i] = "right" if name == function.output[1] else name
    extra = helper.make_node("Constant", [], ["extra"], value_floats=[0.1])
    function.node.extend([extra, helper.make_node("Add", ["right", "extra"], [function.output[1]])])


def other_numbers(model: onnx.ModelProto) -> None:
    """Every row draws with the next row's seed."""
    function = _function(model, "row_seeds")
    right = _node(function.node, output=function.output[0])
    right.output[0] = "right"
    one = helper.make_node("Constant", [], ["one_more"], value_ints=[1])
    function.node.extend(
        [one, helper.make_node("Add", ["right", "one_more"], [function.output[0]])]
    )


def swapped_penalty(model: onnx.ModelProto) -> None:
    """What is above 0 is multiplied by the repetition penalty, and the rest divided."""
    function = _function(model, "repetition_penalty")
    branch = next(a.g for n in function.node for a in n.attribute if a.name == "then_branch")
    where = next(node for node in branch.node if node.op_type == "Where")
    where.input[1], where.input[2] = where.input[2], where.input[1]


def no_top_k(model: onnx.ModelProto) -> None:
    """No row is heard that asks for it."""
    function = _function(model, "top_k_in_use")
    last = _node(function.node, output=function.output[0])
    last.output[0] = "asked"
    no = helper.make_node("Not", ["asked"], ["not_asked"])
    function.node.extend([no, helper.make_node("And", ["asked", "not_asked"], function.output)])


def open_catalogue(model: onnx.ModelProto) -> None:
    """Every token may follow where an entry may end."""
    function = _function(model, "within_catalogue")
    branch = next(a.g for n in function.node for a in n.attribute if a.name == "then_branch")
    add = next(node for node in branch.node if node.op_type == "Add")
    add.op_type, add.input[1] = "Max", add.input[0]


def other_beam_indices(model: onnx.ModelProto) -> None:
    """Not counted over the batch."""
    function = _function(model, "numbered_in_batch")
    add = next(node for node in function.node if node.op_type == "Add")
    add.op_type, add.input[1] = "Max", add.input[0]


DRAWS = {"do_sample": True, "seed": 3, "eos_token_id": (2,)}
CATALOGUE = Catalogue.of([[20, 21, 22], [20, 23], [24, 25, 26, 27], [28], [29, 30], [31]])


@pytest.mark.parametrize("beams", [1, 5])
@pytest.mark.parametrize(
    ("mutation", "settings"),
    [
        (other_numbers, DRAWS),
        (no_top_k, {**DRAWS, "top_k": 2}),
        (swapped_penalty, {"repetition_penalty": 1.5, "eos_token_id": (2,)}),
        (open_catalogue, {"catalogue": CATALOGUE, "eos_token_id": (2,)}),
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


@pytest.mark.parametrize("mutation", [lost_outputs, wrong_scores])
@pytest.mark.parametrize("beams", [1, 5])
def test_outputs_that_the_search_did_not_find_are_no_near_tie(
    check: Callable[..., ParityReport], mutation: Mutation, beams: int
) -> None:
    settings = {"num_beams": beams, "num_return_sequences": beams}
    assert check(mutation, batch=2, **settings).verdict is Verdict.DIVERGED


@pytest.mark.parametrize("tokens", [1, 2, 3])
def test_a_tie_at_the_last_step_is_no_divergence(
    tokens: int, checkpoints: Callable[[str], Path], tmp_path: Path
) -> None:
    """Past the last step every running beam is dead, and the dead tie in any order."""
    import torch

    from beamgen import export

    model = open_checkpoint(checkpoints("gpt2")).load_model()
    embedding = model.get_input_embeddings().weight
    with torch.no_grad():
        embedding[48:96] = embedding[0:48]  # every token has a twin
    model.save_pretrained(tmp_path / "twins")
    package = export(tmp_path / "twins", tmp_path / "package", parity=False).package

    def grid(package, likely, seed):
        base = package.manifest.search
        config = replace(base, num_beams=2, num_return_sequences=2, max_new_tokens=tokens)
        return [ParityCase(str(t), ((t, t + 5, t + 9),), 3, config) for t in range(3, 9)]

    report = check_parity(package, open_checkpoint(tmp_path / "twins"), grid=grid)
    assert report.exit_code == 0, report.to_json()["partings"]


@pytest.mark.parametrize("backend", ["loop", "contrib"])
def test_a_tie_is_called_a_near_tie(
    backend: str, checkpoints: Callable[[str], Path], tmp_path: Path
) -> None:
    """Two tokens with the same embedding have the same probability, always.

    The file gets one of them nudged by less than the margin, so that it prefers
    the other one than HF does; both answers are right.
    """
    import torch

    from beamgen import export
    from beamgen.parity.reference import Reference

    checkpoint = open_checkpoint(checkpoints("gpt2"))
    prompts = tuple(tuple(np.random.default_rng(i).integers(3, 96, 6).tolist()) for i in range(8))
    config = SearchConfig((2,), 0, num_return_sequences=5, max_new_tokens=6)
    output = Reference(checkpoint.load_model()).generate(
        np.array(prompts), np.ones((8, 6), np.int64), config
    )
    token = int(np.bincount(output.sequences[:, :, 6:].ravel()).argmax())
    twin = 95 if token != 95 else 94
    model = checkpoint.load_model()
    embedding = model.get_input_embeddings().weight
    with torch.no_grad():
        embedding[twin] = embedding[token]
    model.save_pretrained(tmp_path / "checkpoint")
    package = export(
        tmp_path / "checkpoint", tmp_path / "twin", parity=False, backend=backend
    ).package
    proto = onnx.load(package.model)
    weight = next(t for t in initializers(proto) if t.name.endswith("wte.weight"))
    array = numpy_helper.to_array(weight).copy()
    array[twin] += 2e-7 * np.abs(array[twin]) * np.sign(array[token].sum() or 1)
    weight.CopyFrom(numpy_helper.from_array(array, weight.name))
    (tmp_path / "nudged").mkdir()
    onnx.save(proto, tmp_path / "nudged" / "model.onnx")
    write_manifest(tmp_path / "nudged", package.manifest)

    def grid(package, likely, seed):
        return [ParityCase(f"prompt {i}", (p,), 6, config) for i, p in enumerate(prompts)]

    report = check_parity(
        open_package(tmp_path / "nudged"), open_checkpoint(tmp_path / "checkpoint"), grid=grid
    )
    assert report.verdict is Verdict.NEAR_TIE, report.to_json()["partings"]
    assert report.exit_code == 0
    for result in report.results:
        for parting in result.partings:
            assert abs(parting.margin) < 1e-4
            assert {parting.ours[-1], parting.reference[-1]} & {token, twin}


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
