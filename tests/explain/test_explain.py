"""An explained search: every number against the search itself, and against HF."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM

from beamgen import (
    BeamgenError,
    Explanation,
    Generator,
    Package,
    explain,
    export,
)
from beamgen.cli import main

PROMPT = [40, 8, 40]
EOS = [2, 3, 4, 5, 6, 7]
LIKELY = [*range(2, 12)]  # searches end before max_new_tokens
SETTINGS = {"num_beams": 4, "max_new_tokens": 12, "eos_token_id": EOS, "length_penalty": 0.7}


@pytest.fixture(scope="module")
def demo(demos: Callable[[str], Package]) -> Package:
    """With a tokenizer, trained: its searches end at EOS."""
    return demos("biogpt")


def _chain(explained: Explanation, path: tuple[tuple[int, int], ...]) -> list[int]:
    return [explained.at(step, rank).token for step, rank in path]


@pytest.mark.parametrize("early_stopping", [False, True, "never"])
@pytest.mark.parametrize("name", ["gpt2", "biogpt", "phi3"])
def test_the_hypotheses_are_those_of_generate(
    name: str, early_stopping: object, packages: Callable[[str], Package]
) -> None:
    settings = {**SETTINGS, "early_stopping": early_stopping}
    explained = explain(packages(name), PROMPT, **settings)
    (found,) = Generator(packages(name)).generate([PROMPT], num_return_sequences=4, **settings)
    assert [list(h.ids) for h in explained.hypotheses] == [g.token_ids for g in found]
    assert [h.score for h in explained.hypotheses] == [g.score for g in found]
    for hypothesis in explained.hypotheses:
        assert _chain(explained, hypothesis.path) == list(hypothesis.ids)
        assert [step for step, _ in hypothesis.path] == list(range(1, len(hypothesis.ids) + 1))
        last = explained.at(*hypothesis.path[-1])
        assert last.fate == "finished"
        assert last.hypothesis_score == pytest.approx(hypothesis.score, abs=1e-6)
        assert hypothesis.log_prob / len(hypothesis.ids) ** 0.7 == pytest.approx(hypothesis.score)


@pytest.mark.parametrize("name", ["gpt2", "phi3"])
def test_every_number_is_that_of_the_model(
    name: str, packages: Callable[[str], Package], checkpoints: Callable[[str], Path]
) -> None:
    """Each continuation's log-probability by teacher forcing, and no better one is missing."""
    explained = explain(packages(name), PROMPT, **SETTINGS)
    model = AutoModelForCausalLM.from_pretrained(checkpoints(name)).eval()
    for step in explained.steps:
        running = explained.running(step.step - 1)
        beams = {
            i: [c.token for c in explained.path(step.step - 1, b)][::-1] for i, b in running.items()
        }
        candidates = []
        for parent, ids in (beams or {0: []}).items():
            with torch.no_grad():
                logits = model(torch.tensor([[*PROMPT, *ids]])).logits[0, -1]
            log_probs = torch.log_softmax(logits.float(), -1)
            before = running[parent].score if running else 0.0
            for token, log_prob in enumerate(log_probs.tolist()):
                candidates.append((before + log_prob, parent, token, log_prob))
        best = sorted(candidates, reverse=True)[: len(step.continuations)]
        assert len(step.continuations) == 4 * (1 + len(EOS))
        for continuation, (score, parent, token, log_prob) in zip(
            step.continuations, best, strict=True
        ):
            assert (continuation.parent, continuation.token) == (parent, token)
            assert continuation.score == pytest.approx(score, abs=1e-4)
            assert continuation.log_prob == pytest.approx(log_prob, abs=1e-4)


@pytest.mark.transformers_4
def test_the_tree_is_the_decoders_and_the_source_is_told(
    packages: Callable[[str], Package], checkpoints: Callable[[str], Path]
) -> None:
    source, start = [40, 8, 40, 1], [0, 7]
    settings = {"num_beams": 3, "max_new_tokens": 5, "eos_token_id": EOS}
    explained = explain(packages("t5"), source, decoder_prompt=start, **settings)
    assert (explained.source_ids, explained.ids) == (tuple(source), tuple(start))
    record = explained.to_json()
    assert record["source"] == {"text": None, "ids": source}
    assert record["prompt"] == {"text": None, "ids": start}
    (found,) = Generator(packages("t5")).generate(
        [source], decoder_prompt=start, num_return_sequences=3, **settings
    )
    assert [list(h.ids) for h in explained.hypotheses] == [g.token_ids for g in found]
    assert [h.score for h in explained.hypotheses] == [g.score for g in found]
    model = AutoModelForSeq2SeqLM.from_pretrained(checkpoints("t5")).eval()
    for step in explained.steps:
        for continuation in step.continuations:
            path = [c.token for c in explained.path(step.step, continuation)][::-1]
            with torch.no_grad():
                logits = model(
                    torch.tensor([source]), decoder_input_ids=torch.tensor([[*start, *path[:-1]]])
                ).logits[0, -1]
            expected = float(torch.log_softmax(logits, -1)[continuation.token])
            assert continuation.log_prob == pytest.approx(expected, abs=1e-4)


@pytest.mark.transformers_4
def test_the_command_shows_what_the_encoder_read(text_packages, tmp_path: Path) -> None:
    base = [
        "explain",
        "-m",
        str(text_packages("t5").folder),
        "-p",
        "the old woman",
        "--max-new-tokens",
        "3",
    ]
    plain = CliRunner().invoke(main, base)
    assert plain.exit_code == 0, plain.output
    assert plain.output.splitlines()[0] == "the old woman"
    assert plain.output.splitlines()[1].startswith("num_beams")
    prompted = CliRunner().invoke(main, [*base, "--decoder-prompt", "the"])
    assert prompted.output.splitlines()[:2] == ["the old woman", "the"]
    drawn = CliRunner().invoke(main, [*base, "-o", str(tmp_path / "beams.html")])
    assert drawn.exit_code == 0, drawn.output
    assert "<h1>the old woman</h1>" in (tmp_path / "beams.html").read_text(encoding="utf-8")
    both = CliRunner().invoke(main, [*base, "--decoder-prompt", "the", "--decoder-ids", "5"])
    assert "leave one of the two out" in both.output


def test_fates_add_up(packages: Callable[[str], Package]) -> None:
    explained = explain(packages("gpt2"), PROMPT, **SETTINGS)
    finished = 0
    for step in explained.steps:
        kept = [c for c in step.continuations if c.fate == "kept"]
        last = step.step == 12
        assert len(kept) == (0 if last else 4)
        assert sorted(c.beam for c in kept) == list(range(len(kept)))
        assert [c.score for c in step.continuations] == sorted(
            (c.score for c in step.continuations), reverse=True
        )
        for c in step.continuations:
            ends = c.token in EOS or last
            assert (c.hypothesis_score is not None) == ends
            assert (c.beam is not None) == (c.fate == "kept")
            assert c.fate != "finished" or (ends and c.rank < 4)
            assert c.fate != "kept" or not ends
            assert c.reason
            finished += c.fate == "finished"
    displaced = [at for step in explained.steps for at in step.displaced]
    assert finished == len(explained.hypotheses) + len(displaced)
    assert displaced  # or this test shows little
    for step, rank in displaced:
        assert explained.at(step, rank).fate == "finished"
        assert (step, rank) not in {h.path[-1] for h in explained.hypotheses}


def test_reasons_of_the_dropped(packages: Callable[[str], Package]) -> None:
    explained = explain(packages("gpt2"), PROMPT, **SETTINGS)
    reasons = set()
    for step in explained.steps:
        for c in step.continuations:
            if c.fate == "dropped":
                reasons.add(c.reason.partition(", but ")[2] or c.reason)
            if c.reason.endswith("worse than all hypotheses held"):
                held = _held_after(explained, step.step)
                assert len(held) == 4
                assert c.hypothesis_score <= min(held)
    assert "not among the best 4 that go on" in reasons
    assert "not among the best 4 of the step" in reasons
    assert "worse than all hypotheses held" in reasons


def _held_after(explained: Explanation, step: int) -> list[float]:
    """Scores of the hypotheses held when a step was over."""
    scores = {}
    for earlier in explained.steps[:step]:
        for at in earlier.displaced:
            del scores[at]
        for c in earlier.continuations:
            if c.fate == "finished":
                scores[earlier.step, c.rank] = c.hypothesis_score
    return list(scores.values())


@pytest.mark.parametrize(
    ("settings", "stopped"),
    [
        ({"eos_token_id": []}, "max_new_tokens 12 was reached"),
        (
            {"early_stopping": True, "eos_token_id": LIKELY},
            "4 hypotheses were finished",
        ),
        (
            {"length_penalty": 0.0, "eos_token_id": LIKELY},
            "could not beat the worst hypothesis",
        ),
    ],
)
def test_why_the_search_ended(
    settings: dict[str, object], stopped: str, packages: Callable[[str], Package]
) -> None:
    explained = explain(packages("gpt2"), PROMPT, **{**SETTINGS, **settings})
    assert stopped in explained.stopped
    limit = {**SETTINGS, **settings}["max_new_tokens"]
    assert (len(explained.steps) == limit) == stopped.startswith("max_new_tokens")


def test_why_the_winner_won(demo: Package) -> None:
    explained = explain(demo, "aspirin is", num_beams=4, max_new_tokens=24)
    first, second = explained.hypotheses[:2]
    text = "\n".join(explained.reasons)
    assert f"{first.log_prob:.4f} / {len(first.ids)}^1 = {first.score:.4f}" in text
    assert ("the length penalty decided" in text) == (second.log_prob > first.log_prob)
    # and greedy search does what is said of it
    (greedy,) = Generator(demo).generate(["aspirin is"], num_beams=1, max_new_tokens=24)
    parted = next(
        (i for i, (a, b) in enumerate(zip(first.ids, greedy[0].token_ids, strict=False)) if a != b),
        None,
    )
    assert parted is not None
    assert f"left its path in step {parted + 1}, for" in text
    other = next(
        c for c in explained.steps[parted].continuations if c.token == greedy[0].token_ids[parted]
    )
    assert repr(other.text) in text


def test_greedy_search_that_agrees_is_said_to(demo: Package) -> None:
    """Of a single token it always does."""
    generator = Generator(demo)
    agreeing = []
    for prompt in ("aspirin is", "a cat is"):
        for length in (1, 4):
            explained = explain(demo, prompt, num_beams=2, max_new_tokens=length)
            (greedy,) = generator.generate([prompt], num_beams=1, max_new_tokens=length)
            agreeing.append(greedy[0].token_ids == list(explained.hypotheses[0].ids))
            assert ("greedy search would have found it, too" in explained.reasons) == agreeing[-1]
    assert any(agreeing)
    assert not all(agreeing)


def test_texts_are_what_the_tokens_add(demo: Package) -> None:
    explained = explain(demo, "aspirin is", num_beams=4, max_new_tokens=24)
    (found,) = Generator(demo).generate(
        ["aspirin is"], num_beams=4, max_new_tokens=24, num_return_sequences=4
    )
    assert explained.text == "aspirin is"
    for hypothesis, generation in zip(explained.hypotheses, found, strict=True):
        step, rank = hypothesis.path[-1]
        whole = explained.text_of(step, explained.at(step, rank))
        assert hypothesis.text == generation.new_text
        assert whole.replace("</s>", "").rstrip() == generation.new_text


def test_draws_are_explained(demo: Package) -> None:
    settings = {"num_beams": 3, "max_new_tokens": 6, "do_sample": True, "seed": 11}
    explained = explain(demo, "aspirin is", **settings)
    (found,) = Generator(demo).generate(["aspirin is"], num_return_sequences=3, **settings)
    assert [list(h.ids) for h in explained.hypotheses] == [g.token_ids for g in found]
    assert explained.settings["seed"] == 11
    assert "tokens were drawn, so another seed finds others" in explained.reasons


def test_a_lora_is_searched_with(checkpoints: Callable[[str], Path], tmp_path: Path) -> None:
    from support.peft_folders import save_lora

    lora = save_lora(checkpoints("gpt2"), tmp_path / "drugs", target_modules=["c_attn"])
    package = export(
        checkpoints("gpt2"), tmp_path / "p", parity=False, lora=[lora], lora_slots=[]
    ).package
    explained = explain(package, PROMPT, lora="drugs", **SETTINGS)
    (found,) = Generator(package).generate([PROMPT], lora="drugs", **SETTINGS)
    assert list(explained.hypotheses[0].ids) == found[0].token_ids
    assert explained.hypotheses[0].score == found[0].score
    plain = explain(package, PROMPT, **SETTINGS)
    assert plain.hypotheses[0].score != explained.hypotheses[0].score


def test_what_has_no_tree_is_refused(
    packages: Callable[[str], Package], contrib: Callable[..., Package]
) -> None:
    with pytest.raises(BeamgenError, match=r"one beam nothing is compared.*\n.*--num-beams 2"):
        explain(packages("gpt2"), PROMPT, num_beams=1)
    with pytest.raises(BeamgenError, match=r"does not tell its steps\n.*--search loop"):
        explain(contrib("gpt2"), PROMPT)


def test_one_returned_is_compared_with_all(packages: Callable[[str], Package]) -> None:
    explained = explain(packages("gpt2"), PROMPT, **SETTINGS, num_return_sequences=1)
    whole = explain(packages("gpt2"), PROMPT, **SETTINGS)
    assert explained.hypotheses == whole.hypotheses[:1]
    assert explained.reasons == whole.reasons


def test_json_holds_no_number_that_json_has_not(packages: Callable[[str], Package]) -> None:
    explained = explain(packages("gpt2"), PROMPT, **SETTINGS)
    (first, *others) = explained.hypotheses
    odd = dataclasses.replace(first, score=float("nan"), log_prob=float("-inf"))
    record = dataclasses.replace(explained, hypotheses=(odd, *others)).to_json()
    assert record["hypotheses"][0]["score"] is None
    assert record["hypotheses"][0]["log_prob"] is None
    json.dumps(record, allow_nan=False)


def test_the_command(demo: Package, tmp_path: Path) -> None:
    base = ["explain", "-m", str(demo.folder), "-p", "aspirin is", "--max-new-tokens", "6"]
    result = CliRunner().invoke(main, base)
    assert result.exit_code == 0, result.output
    explained = explain(demo, "aspirin is", max_new_tokens=6)
    lines = result.output.splitlines()
    assert sum(line.endswith("<- the winner's") for line in lines) == len(
        explained.hypotheses[0].ids
    )
    for fate in ("kept", "finished", "dropped"):
        count = sum(c.fate == fate for step in explained.steps for c in step.continuations)
        assert sum(f"  {fate}: " in line for line in lines) == count > 0
    assert explained.reasons[0] in result.output
    result = CliRunner().invoke(main, [*base, "--json"])
    assert json.loads(result.output) == json.loads(json.dumps(explained.to_json()))
    for name in ("beams.html", "beams.svg"):
        path = tmp_path / name
        result = CliRunner().invoke(main, [*base, "-o", str(path)])
        assert result.exit_code == 0, result.output
        drawn = explained.to_svg() if name.endswith("svg") else explained.to_html()
        assert path.read_text(encoding="utf-8") == drawn
        result = CliRunner().invoke(main, [*base, "-o", str(path)])
        assert "pass --force" in result.output
    result = CliRunner().invoke(main, [*base, "-o", str(tmp_path / "beams.png")])
    assert "end its name in .html or .svg" in result.output
    result = CliRunner().invoke(main, base[:3])
    assert "there has to be one prompt" in result.output
