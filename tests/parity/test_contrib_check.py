"""The validator on contrib files that are wrong on purpose."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from beamgen import BeamgenError, Package, check_parity, export, open_checkpoint, open_package
from beamgen.package.folder import write_manifest
from beamgen.parity.report import ParityCase, ParityReport, Verdict
from beamgen.settings.contrib import DOMAIN

PROMPTS = ((5, 9, 7, 11, 30), (12, 4, 8, 60, 33))


def _operator(model: onnx.ModelProto) -> onnx.NodeProto:
    return next(node for node in model.graph.node if node.domain == DOMAIN)


def _step(model: onnx.ModelProto) -> onnx.GraphProto:
    return next(a.g for a in _operator(model).attribute if a.name == "decoder")


def unchanged(model: onnx.ModelProto) -> None:
    """Nothing."""


def shifted_position(model: onnx.ModelProto) -> None:
    """Every token stands one position too far."""
    step = _step(model)
    node = next(n for n in step.node if n.op_type == "op_inputs")
    place = list(node.output).index("step/position_ids")
    node.output[place] = "right"
    one = numpy_helper.from_array(np.array([1], np.int64), "one_too_far")
    model.graph.initializer.append(one)
    after = list(step.node).index(node) + 1
    step.node.insert(
        after, helper.make_node("Add", ["right", "one_too_far"], ["step/position_ids"])
    )


def no_length_penalty(model: onnx.ModelProto) -> None:
    """The input is there, and nobody reads it."""
    zero = numpy_helper.from_array(np.zeros(1, np.float32), "zero_penalty")
    model.graph.initializer.append(zero)
    _operator(model).input[5] = "zero_penalty"


def no_repetition_penalty(model: onnx.ModelProto) -> None:
    """So is this one."""
    one = numpy_helper.from_array(np.ones(1, np.float32), "no_penalty")
    model.graph.initializer.append(one)
    _operator(model).input[6] = "no_penalty"


def no_vocab_mask(model: onnx.ModelProto) -> None:
    """Banned ids come."""
    _operator(model).input[7] = ""


def mask_of_every_token(model: onnx.ModelProto) -> None:
    """What is banned as first token is banned always."""
    _operator(model).input[7] = "first_only"
    start = numpy_helper.from_array(np.array([-1], np.int64), "flat")
    model.graph.initializer.append(start)
    node = helper.make_node("Reshape", ["prefix_vocab_mask", "flat"], ["first_only"])
    model.graph.node.insert(0, node)


def another_weight(model: onnx.ModelProto) -> None:
    """A layer's bias is off by a little."""
    weight = next(t for t in model.graph.initializer if t.name.endswith("c_fc.bias"))
    array = numpy_helper.to_array(weight) + 0.05
    weight.CopyFrom(numpy_helper.from_array(array.astype(np.float32), weight.name))


def swapped_copies(model: onnx.ModelProto) -> None:
    """The second row's beams get the first row's prompt."""
    step = _step(model)
    node = next(n for n in step.node if n.op_type == "op_inputs")
    place = list(node.output).index("step/row_of_copy")
    node.output[place] = "right"
    zero = numpy_helper.from_array(np.array(0, np.int64), "first_row")
    model.graph.initializer.append(zero)
    after = list(step.node).index(node) + 1
    step.node.insert(after, helper.make_node("Mul", ["right", "first_row"], ["step/row_of_copy"]))


@pytest.fixture
def check(checkpoints: Callable[[str], Path], tmp_path: Path) -> Callable[..., ParityReport]:
    """``check(mutation, **settings)``: parity of two prompts, all hypotheses."""

    def run(mutation: Callable[[onnx.ModelProto], None], **settings) -> ParityReport:
        kinds = ("num_beams", "do_sample", "top_k")
        chosen = {name: value for name, value in settings.items() if name in kinds}
        package = export(
            checkpoints("gpt2"),
            tmp_path / "package",
            parity=False,
            backend="contrib",
            settings={"num_beams": 4, **chosen},
        ).package
        wrong = _mutated(package, tmp_path / "wrong", mutation)

        def grid(package, likely, seed):
            base = package.manifest.search
            config = replace(
                base, num_return_sequences=base.num_beams, max_new_tokens=12
            ).with_overrides({"eos_token_id": likely(PROMPTS)[:1], **settings})
            return [ParityCase("case", PROMPTS, 5, config)]

        return check_parity(wrong, open_checkpoint(checkpoints("gpt2")), grid=grid)

    return run


def _mutated(
    package: Package, folder: Path, mutation: Callable[[onnx.ModelProto], None]
) -> Package:
    model = onnx.load(package.model)
    mutation(model)
    folder.mkdir()
    onnx.save(model, folder / "model.onnx")
    write_manifest(folder, package.manifest)
    return open_package(folder)


WRONG = [
    (shifted_position, {}),
    (no_length_penalty, {"length_penalty": 2.0}),
    (no_repetition_penalty, {"repetition_penalty": 1.5}),
    (no_vocab_mask, {"suppress_tokens": tuple(range(40, 90))}),
    (mask_of_every_token, {"begin_suppress_tokens": tuple(range(40, 90))}),
    (another_weight, {}),
    (swapped_copies, {}),
]


@pytest.mark.parametrize(("mutation", "settings"), WRONG)
def test_a_wrong_beam_search_has_diverged(
    mutation: Callable[[onnx.ModelProto], None], settings: dict, check: Callable[..., ParityReport]
) -> None:
    report = check(mutation, **settings)
    assert report.verdict is Verdict.DIVERGED
    assert report.exit_code == 3
    assert report.results[0].partings[0].step >= 1


@pytest.mark.parametrize("settings", [settings for _, settings in WRONG])
def test_the_same_settings_agree_on_an_unchanged_copy(
    settings: dict, check: Callable[..., ParityReport]
) -> None:
    report = check(unchanged, **settings)
    assert report.verdict in (Verdict.EXACT, Verdict.CONTRIB_RULE)
    assert report.exit_code == 0


@pytest.mark.parametrize(
    "mode", [{"num_beams": 1}, {"num_beams": 1, "do_sample": True, "top_k": 0, "seed": 3}]
)
@pytest.mark.parametrize("mutation", [shifted_position, another_weight])
def test_a_wrong_chain_has_diverged(
    mode: dict, mutation: Callable[[onnx.ModelProto], None], check: Callable[..., ParityReport]
) -> None:
    report = check(mutation, **mode)
    assert report.verdict is Verdict.DIVERGED
    assert report.results[0].partings[0].reason == "another token is taken"


def test_outputs_that_the_rule_would_not_give_are_told_from_wrong_scores(
    check: Callable[..., ParityReport],
) -> None:
    """The steps agree: it is the penalty of what is returned that was not heard."""
    parting = check(no_length_penalty, length_penalty=2.0).results[0].partings[0]
    assert parting.reason.startswith("the outputs differ though the searches agree")


def test_a_wrong_score_shows_at_the_step_where_it_comes(
    check: Callable[..., ParityReport],
) -> None:
    # the first token comes from the prompt pass, whose copies are as they should be
    assert check(swapped_copies).results[0].partings[0].step == 2


def test_the_contrib_rule_counts_and_says_whose_tokens(check: Callable[..., ParityReport]) -> None:
    values = check(unchanged, length_penalty=1.0).to_json()
    assert values["contrib rule"] == values["cases"] == 1
    assert values["exact"] == values["diverged"] == 0
    assert values["same_tokens"] in (0, 1)


def test_a_case_that_the_operator_cannot_honour_is_no_case(
    check: Callable[..., ParityReport],
) -> None:
    """It is refused, neither left out nor counted."""
    with pytest.raises(BeamgenError, match='early_stopping "never"'):
        check(unchanged, early_stopping="never")


def test_draws_are_compared_where_the_engine_is_known(
    check: Callable[..., ParityReport], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.platform", "darwin")
    with pytest.raises(BeamgenError, match="known here for Linux"):
        check(unchanged, num_beams=1, do_sample=True, top_k=0, seed=1)
