"""Contrib packages: ONNX Runtime's operators behind the same interface as the loop."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from support.architectures import ARCHITECTURES, OPERATORS

from beamgen import (
    GRIDS,
    BeamgenError,
    Generator,
    Package,
    check_parity,
    export,
    find_adapter,
    open_checkpoint,
)
from beamgen.parity.contrib.grids import CASES, contrib_axes
from beamgen.parity.report import ParityCase, ParityReport, Verdict
from beamgen.settings.contrib import DOMAIN
from beamgen.testing import tiny_model

PROMPTS = [[5, 9, 7], [11, 12, 13, 14, 15], [20, 21]]


def _agrees(report: ParityReport, cases: int) -> None:
    kept = report.count(Verdict.EXACT) + report.count(Verdict.CONTRIB_RULE)
    assert kept == len(report.results) == cases, report.to_json()["partings"]
    assert report.score_difference < 1e-3


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "seed"),
    [(name, seed) for name in ARCHITECTURES for seed in range(6)],
)
def test_the_matrix_keeps_the_operators_rule(
    name: str, seed: int, contrib: Callable[..., Package], checkpoints: Callable[[str], Path]
) -> None:
    """Batch x left padding x length penalty x early stopping; HF's rule where it is the same."""
    report = check_parity(
        contrib(name), open_checkpoint(checkpoints(name)), grid=GRIDS["full"], seed=1000 * seed
    )
    near_ties = report.count(Verdict.NEAR_TIE)
    assert near_ties <= (0 if seed == 0 else 1)
    _agrees(replace(report, results=[r for r in report.results if not r.partings]), 96 - near_ties)
    for result in report.results:
        config = result.case.config
        if (
            config.length_penalty == 0
            and not config.early_stopping
            and len(result.case.prompts) < 3
        ):
            assert result.verdict is Verdict.EXACT, result.case.title
    assert report.count(Verdict.CONTRIB_RULE) > 48, "the length rule has to matter"


@pytest.mark.parametrize(
    ("name", "operator"),
    [
        ("gpt2", "BeamSearch"),
        pytest.param("biogpt", "GreedySearch", marks=pytest.mark.slow),
        pytest.param("phi3", "Sampling", marks=pytest.mark.slow),
        pytest.param("biogpt", "BeamSearch", marks=pytest.mark.slow),
        pytest.param("phi3", "BeamSearch", marks=pytest.mark.slow),
        pytest.param("gpt2", "GreedySearch", marks=pytest.mark.slow),
        pytest.param("gpt2", "Sampling", marks=pytest.mark.slow),
    ],
)
def test_all_settings_in_pairs(
    name: str,
    operator: str,
    contrib: Callable[..., Package],
    checkpoints: Callable[[str], Path],
) -> None:
    report = check_parity(
        contrib(name, operator), open_checkpoint(checkpoints(name)), grid=GRIDS["settings"]
    )
    _agrees(report, CASES)
    if operator != "BeamSearch":  # with one beam the rules are the same
        assert report.count(Verdict.EXACT) == CASES


@pytest.mark.parametrize("operator", OPERATORS)
def test_the_grid_makes_any_two_values_meet(operator: str, contrib: Callable[..., Package]) -> None:
    from itertools import combinations

    from beamgen.parity.grids.settings import covering_rows

    axes = contrib_axes(contrib("gpt2", operator).manifest.search)
    met = {
        pair
        for row in covering_rows(axes, CASES, 0)
        for pair in combinations([(name, str(value)) for name, value in row.items()], 2)
    }
    every = {
        ((a, str(one)), (b, str(two)))
        for (a, ones), (b, twos) in combinations(axes.items(), 2)
        for one in ones
        for two in twos
    }
    assert met == every


@pytest.mark.parametrize("operator", OPERATORS)
def test_one_word_changes_and_the_answer_has_the_loops_form(
    operator: str, contrib: Callable[..., Package], generators: Callable[[str], Generator]
) -> None:
    """Greedy search and length_penalty 0 have the same rule, so that all is equal."""
    settings = {"max_new_tokens": 10, "eos_token_id": 2}
    ours = Generator(contrib("gpt2", operator))
    if operator == "Sampling":
        (row,) = ours.generate([PROMPTS[0]], seed=3)
        assert row[0].finish_reason in ("eos", "length")
        assert np.isnan(row[0].score)
        return
    if operator == "BeamSearch":
        settings |= {"length_penalty": 0.0, "num_return_sequences": 3}
    theirs = generators("gpt2")
    loop = theirs.generate(PROMPTS, **OPERATORS[operator], **settings)
    found = ours.generate(PROMPTS, **settings)
    for expected, row in zip(loop, found, strict=True):
        for one, other in zip(expected, row, strict=True):
            assert one.token_ids == other.token_ids
            assert one.prompt_ids == other.prompt_ids
            assert one.finish_reason == other.finish_reason
            if operator == "BeamSearch":
                assert one.score == pytest.approx(other.score, abs=1e-4)
            else:
                assert np.isnan(other.score), "GreedySearch gives none"


def test_a_score_is_by_the_operators_length_rule(
    contrib: Callable[..., Package], generators: Callable[[str], Generator]
) -> None:
    prompt = [5, 9, 7]
    ours = Generator(contrib("gpt2")).generate([prompt], length_penalty=1.0, eos_token_id=2)[0][0]
    theirs = generators("gpt2").generate(
        [prompt], length_penalty=0.0, num_beams=4, max_new_tokens=10
    )
    (same,) = [h for h in theirs[0] if h.token_ids == ours.token_ids]
    spoken = len(prompt) + len(ours.token_ids) - (ours.finish_reason == "eos")
    assert ours.score == pytest.approx(same.score / spoken, abs=1e-5)


@pytest.mark.parametrize("operator", OPERATORS)
def test_the_file_is_the_operator_over_weights_of_the_main_graph(
    operator: str, contrib: Callable[..., Package], checkpoints: Callable[[str], Path]
) -> None:
    model = onnx.load(contrib("gpt2", operator).model)
    onnx.checker.check_model(model)
    (node,) = [n for n in model.graph.node if n.domain == DOMAIN]
    assert node.op_type == operator
    (decoder,) = [a.g for a in node.attribute if a.name == "decoder"]
    assert [i.name for i in decoder.input] == [
        "input_ids",
        "position_ids",
        "attention_mask",
        "past_0",
        "past_1",
    ]
    assert [o.name for o in decoder.output] == ["logits", "present_0", "present_1"]
    past = decoder.input[3].type.tensor_type.shape.dim
    assert [d.dim_value or d.dim_param for d in past] == [2, "rows", 4, "past_len", 16]
    assert not decoder.initializer
    stored = sum(len(t.raw_data) for t in model.graph.initializer)
    trained = sum(
        p.numel() * 4 for p in open_checkpoint(checkpoints("gpt2")).load_model().parameters()
    )
    assert stored < trained + 4000, "tied weights are stored once, and nothing is stored twice"
    attended = [f for f in model.functions if f.name == "ConcatenatedCacheAttention"]
    assert [n.op_type for n in attended[0].node].count("Attention") == 1


@pytest.mark.parametrize("operator", OPERATORS)
def test_the_bare_file_takes_what_the_operator_takes(
    operator: str, contrib: Callable[..., Package]
) -> None:
    package = contrib("gpt2", operator)
    session = onnxruntime.InferenceSession(package.model, providers=["CPUExecutionProvider"])
    assert [i.name for i in session.get_inputs()] == ["input_ids", "attention_mask", "max_length"]
    named = {i["name"]: i for i in package.manifest.inputs}
    overridable = {i.name for i in session.get_overridable_initializers()}
    assert set(named) == overridable | {"input_ids", "attention_mask", "max_length"}
    assert named["max_length"]["default"] is None
    assert named["vocab_mask"]["default"] == "1, and 0 at banned ids"
    assert {i["dtype"] for i in named.values()} <= {"int32", "float"}
    ids = np.array([PROMPTS[1]], np.int32)
    feeds = {"input_ids": ids, "attention_mask": np.ones_like(ids)}
    sequences, *_ = session.run(None, {**feeds, "max_length": np.array([9], np.int32)})
    assert sequences.dtype == np.int32
    assert sequences.shape == ((1, 1, 9) if operator == "BeamSearch" else (1, 9))


def test_128_beams_are_searched(
    contrib: Callable[..., Package], checkpoints: Callable[[str], Path]
) -> None:
    def grid(package, likely, seed):
        config = replace(
            package.manifest.search, num_beams=128, num_return_sequences=128, max_new_tokens=4
        )
        return [ParityCase("many beams", ((5, 9, 7), (11, 30, 8)), 3, config)]

    _agrees(check_parity(contrib("phi3"), open_checkpoint(checkpoints("phi3")), grid=grid), 1)


def test_one_seed_draws_the_same_and_another_does_not(contrib: Callable[..., Package]) -> None:
    generator = Generator(contrib("gpt2", "Sampling"))

    def drawn(**settings) -> list[list[int]]:
        return [row[0].token_ids for row in generator.generate(PROMPTS, **settings)]

    assert drawn(seed=1) == drawn(seed=1) != drawn(seed=2)
    assert drawn() != drawn(), "without a seed each call draws anew"


def test_no_eos_at_all(contrib: Callable[..., Package], tmp_path: Path) -> None:
    """min_new_tokens says nothing then; the operator would write beyond its scores."""
    source = Path(contrib("gpt2").manifest.source["model"])
    settings = {"eos_token_id": (), "min_new_tokens": 5, "max_new_tokens": 5, "num_beams": 3}
    package = export(
        source, tmp_path / "p", parity=False, backend="contrib", settings=settings
    ).package
    (row,) = Generator(package).generate([[5, 9]])
    assert len(row[0].token_ids) == 5
    assert row[0].finish_reason == "length"
    assert check_parity(package, open_checkpoint(source), prompts=[[5, 9]]).exit_code == 0


def test_a_generated_pad_id_does_not_end_a_sequence(
    checkpoints: Callable[[str], Path], tmp_path: Path
) -> None:
    """The operator fills with the EOS id; what the checkpoint pads with may be a word."""
    plain = export(
        checkpoints("gpt2"), tmp_path / "a", parity=False, settings={"max_new_tokens": 8}
    ).package
    (found,) = Generator(plain).generate([[5, 9, 7]], length_penalty=0.0)
    word = found[0].token_ids[-1]
    settings = {"max_new_tokens": 8, "pad_token_id": word, "length_penalty": 0.0}
    package = export(
        checkpoints("gpt2"), tmp_path / "b", parity=False, backend="contrib", settings=settings
    ).package
    assert Generator(package).generate([[5, 9, 7]])[0][0].token_ids == found[0].token_ids


@pytest.mark.parametrize("length", [6, 20], ids=["short factors", "long factors"])
def test_long_rope(length: int, tmp_path: Path) -> None:
    tiny = find_adapter("phi3").tiny_config()
    scaling = {
        "type": "longrope",
        "short_factor": [1.0 + 0.05 * i for i in range(8)],
        "long_factor": [2.0 + 0.5 * i for i in range(8)],
    }
    positions = {"max_position_embeddings": 64, "original_max_position_embeddings": 16}
    config = type(tiny).from_dict({**tiny.to_dict(), **positions, "rope_scaling": scaling})
    _holds_on_long_prompts(config, length, tmp_path)


@pytest.mark.parametrize("length", [4, 12], ids=["grows over it", "prompt over it"])
def test_a_sliding_window(length: int, tmp_path: Path) -> None:
    config = find_adapter("phi3").tiny_config()
    config.sliding_window = 8
    _holds_on_long_prompts(config, length, tmp_path)


def _holds_on_long_prompts(config, length: int, tmp_path: Path) -> None:
    tiny_model(config).save_pretrained(tmp_path / "checkpoint")
    package = export(
        tmp_path / "checkpoint", tmp_path / "package", parity=False, backend="contrib"
    ).package

    def grid(package, likely, seed):
        rng = np.random.default_rng(length)
        lengths = (length, length - 2)
        prompts = tuple(tuple(rng.integers(3, 96, size=n).tolist()) for n in lengths)
        base = package.manifest.search
        config = replace(base, num_return_sequences=5, max_new_tokens=10, length_penalty=0.0)
        return [ParityCase("positions", prompts, length, config)]

    report = check_parity(package, open_checkpoint(tmp_path / "checkpoint"), grid=grid)
    assert report.verdict is Verdict.EXACT, report.to_json()["partings"]


def test_parameters_can_be_required(checkpoints: Callable[[str], Path], tmp_path: Path) -> None:
    package = export(
        checkpoints("gpt2"),
        tmp_path / "p",
        parity=False,
        backend="contrib",
        required=["length_penalty"],
    ).package
    session = onnxruntime.InferenceSession(package.model, providers=["CPUExecutionProvider"])
    names = [i.name for i in session.get_inputs()]
    assert names == ["input_ids", "attention_mask", "max_length", "length_penalty"]
    Generator(package).generate([[5, 9]], max_new_tokens=3)
    with pytest.raises(BeamgenError, match="no parameter called 'seed'"):
        export(checkpoints("gpt2"), tmp_path / "q", backend="contrib", required=["seed"])


def test_min_length_has_no_default_where_it_counts(
    checkpoints: Callable[[str], Path], tmp_path: Path
) -> None:
    """A default cannot know the prompt; it has to be fed rather than ignored."""
    package = export(
        checkpoints("gpt2"),
        tmp_path / "p",
        parity=False,
        backend="contrib",
        settings={"min_new_tokens": 4},
    ).package
    session = onnxruntime.InferenceSession(package.model, providers=["CPUExecutionProvider"])
    assert "min_length" in {i.name for i in session.get_inputs()}


def test_an_eos_may_be_banned_to_the_end(
    contrib: Callable[..., Package], generators: Callable[[str], Generator]
) -> None:
    """min_new_tokens as large as max_new_tokens."""
    settings = {"min_new_tokens": 6, "max_new_tokens": 6, "length_penalty": 0.0}
    ours = Generator(contrib("biogpt")).generate(PROMPTS, **settings)
    theirs = generators("biogpt").generate(PROMPTS, num_beams=4, **settings)
    assert [row[0].token_ids for row in ours] == [row[0].token_ids for row in theirs]
    assert {row[0].finish_reason for row in ours} == {"length"}


def test_a_mask_is_true_or_false(contrib: Callable[..., Package]) -> None:
    session = onnxruntime.InferenceSession(contrib("gpt2").model)
    ids = np.array([[0, 5, 9, 7]], np.int32)
    answers = [
        session.run(
            ["sequences"],
            {
                "input_ids": ids,
                "attention_mask": np.array([[0, one, one, one]], np.int32),
                "max_length": np.array([10], np.int32),
            },
        )[0].tolist()
        for one in (1, 7, -1)
    ]
    assert answers[0] == answers[1] == answers[2]


@pytest.mark.slow
def test_a_small_vocabulary_has_a_settings_grid_too(tmp_path: Path) -> None:
    config = find_adapter("gpt2").tiny_config()
    config.vocab_size = 40
    tiny_model(config).save_pretrained(tmp_path / "checkpoint")
    settings = {**OPERATORS["Sampling"], "temperature": 0.7, "top_p": 0.95}
    package = export(
        tmp_path / "checkpoint", tmp_path / "p", parity=False, backend="contrib", settings=settings
    ).package
    report = check_parity(package, open_checkpoint(tmp_path / "checkpoint"), grid=GRIDS["settings"])
    _agrees(report, CASES)
    assert any(r.case.config.top_p == 0.95 for r in report.results), "the package's own is tried"
