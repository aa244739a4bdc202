"""A search retold: every number against the search itself, and against HF."""

from __future__ import annotations

import dataclasses
import json
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from transformers import AutoModelForCausalLM

from beamgen import (
    BeamgenError,
    Explanation,
    Generator,
    Package,
    explain,
    export,
    page,
    svg,
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


def _chain(told: Explanation, path: tuple[tuple[int, int], ...]) -> list[int]:
    return [told.at(step, rank).token for step, rank in path]


@pytest.mark.parametrize("early_stopping", [False, True, "never"])
@pytest.mark.parametrize("name", ["gpt2", "biogpt", "phi3"])
def test_the_hypotheses_are_those_of_generate(
    name: str, early_stopping: object, packages: Callable[[str], Package]
) -> None:
    settings = {**SETTINGS, "early_stopping": early_stopping}
    told = explain(packages(name), PROMPT, **settings)
    (found,) = Generator(packages(name)).generate([PROMPT], num_return_sequences=4, **settings)
    assert [list(h.ids) for h in told.hypotheses] == [g.token_ids for g in found]
    assert [h.score for h in told.hypotheses] == [g.score for g in found]
    for hypothesis in told.hypotheses:
        assert _chain(told, hypothesis.path) == list(hypothesis.ids)
        assert [step for step, _ in hypothesis.path] == list(range(1, len(hypothesis.ids) + 1))
        last = told.at(*hypothesis.path[-1])
        assert last.fate == "finished"
        assert last.hypothesis_score == pytest.approx(hypothesis.score, abs=1e-6)
        assert hypothesis.log_prob / len(hypothesis.ids) ** 0.7 == pytest.approx(hypothesis.score)


@pytest.mark.parametrize("name", ["gpt2", "phi3"])
def test_every_number_is_that_of_the_model(
    name: str, packages: Callable[[str], Package], checkpoints: Callable[[str], Path]
) -> None:
    """Each continuation's log-probability by teacher forcing, and no better one is missing."""
    told = explain(packages(name), PROMPT, **SETTINGS)
    model = AutoModelForCausalLM.from_pretrained(checkpoints(name)).eval()
    for step in told.steps:
        running = told.running(step.step - 1)
        beams = {
            i: [c.token for c in told.path(step.step - 1, b)][::-1] for i, b in running.items()
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
        for told_one, (score, parent, token, log_prob) in zip(
            step.continuations, best, strict=True
        ):
            assert (told_one.parent, told_one.token) == (parent, token)
            assert told_one.score == pytest.approx(score, abs=1e-4)
            assert told_one.log_prob == pytest.approx(log_prob, abs=1e-4)


def test_fates_add_up(packages: Callable[[str], Package]) -> None:
    told = explain(packages("gpt2"), PROMPT, **SETTINGS)
    finished = 0
    for step in told.steps:
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
    displaced = [at for step in told.steps for at in step.displaced]
    assert finished == len(told.hypotheses) + len(displaced)
    assert displaced  # or this test shows little
    for step, rank in displaced:
        assert told.at(step, rank).fate == "finished"
        assert (step, rank) not in {h.path[-1] for h in told.hypotheses}


def test_reasons_of_the_dropped(packages: Callable[[str], Package]) -> None:
    told = explain(packages("gpt2"), PROMPT, **SETTINGS)
    reasons = set()
    for step in told.steps:
        for c in step.continuations:
            if c.fate == "dropped":
                reasons.add(c.reason.partition(", but ")[2] or c.reason)
            if c.reason.endswith("worse than all hypotheses held"):
                held = _held_after(told, step.step)
                assert len(held) == 4
                assert c.hypothesis_score <= min(held)
    assert "not among the best 4 that go on" in reasons
    assert "not among the best 4 of the step" in reasons
    assert "worse than all hypotheses held" in reasons


def _held_after(told: Explanation, step: int) -> list[float]:
    """Scores of the hypotheses held when a step was over."""
    scores = {}
    for earlier in told.steps[:step]:
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
    told = explain(packages("gpt2"), PROMPT, **{**SETTINGS, **settings})
    assert stopped in told.stopped
    limit = {**SETTINGS, **settings}["max_new_tokens"]
    assert (len(told.steps) == limit) == stopped.startswith("max_new_tokens")


def test_why_the_winner_won(demo: Package) -> None:
    told = explain(demo, "aspirin is", num_beams=4, max_new_tokens=24)
    first, second = told.hypotheses[:2]
    text = "\n".join(told.why)
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
        c for c in told.steps[parted].continuations if c.token == greedy[0].token_ids[parted]
    )
    assert repr(other.text) in text


def test_greedy_search_that_agrees_is_said_to(demo: Package) -> None:
    """Of a single token it always does."""
    generator = Generator(demo)
    agreeing = []
    for prompt in ("aspirin is", "a cat is"):
        for length in (1, 4):
            told = explain(demo, prompt, num_beams=2, max_new_tokens=length)
            (greedy,) = generator.generate([prompt], num_beams=1, max_new_tokens=length)
            agreeing.append(greedy[0].token_ids == list(told.hypotheses[0].ids))
            assert ("greedy search would have found it, too" in told.why) == agreeing[-1]
    assert any(agreeing)
    assert not all(agreeing)


def test_texts_are_what_the_tokens_add(demo: Package) -> None:
    told = explain(demo, "aspirin is", num_beams=4, max_new_tokens=24)
    (found,) = Generator(demo).generate(
        ["aspirin is"], num_beams=4, max_new_tokens=24, num_return_sequences=4
    )
    assert told.text == "aspirin is"
    for hypothesis, generation in zip(told.hypotheses, found, strict=True):
        step, rank = hypothesis.path[-1]
        whole = told.text_of(step, told.at(step, rank))
        assert hypothesis.text == generation.new_text
        assert whole.replace("</s>", "").rstrip() == generation.new_text


def test_draws_are_told(demo: Package) -> None:
    settings = {"num_beams": 3, "max_new_tokens": 6, "do_sample": True, "seed": 11}
    told = explain(demo, "aspirin is", **settings)
    (found,) = Generator(demo).generate(["aspirin is"], num_return_sequences=3, **settings)
    assert [list(h.ids) for h in told.hypotheses] == [g.token_ids for g in found]
    assert told.settings["seed"] == 11
    assert "tokens were drawn, so another seed finds others" in told.why


def test_a_lora_is_searched_with(checkpoints: Callable[[str], Path], tmp_path: Path) -> None:
    from support.peft_folders import save_lora

    lora = save_lora(checkpoints("gpt2"), tmp_path / "drugs", target_modules=["c_attn"])
    package = export(
        checkpoints("gpt2"), tmp_path / "p", parity=False, lora=[lora], lora_slots=[]
    ).package
    told = explain(package, PROMPT, lora="drugs", **SETTINGS)
    (found,) = Generator(package).generate([PROMPT], lora="drugs", **SETTINGS)
    assert list(told.hypotheses[0].ids) == found[0].token_ids
    assert told.hypotheses[0].score == found[0].score
    plain = explain(package, PROMPT, **SETTINGS)
    assert plain.hypotheses[0].score != told.hypotheses[0].score


def test_what_has_no_tree_is_refused(
    packages: Callable[[str], Package], contrib: Callable[..., Package]
) -> None:
    with pytest.raises(BeamgenError, match=r"one beam nothing is compared.*\n.*--num-beams 2"):
        explain(packages("gpt2"), PROMPT, num_beams=1)
    with pytest.raises(BeamgenError, match=r"does not tell its steps\n.*--search loop"):
        explain(contrib("gpt2"), PROMPT)


def test_the_picture_is_whole(demo: Package) -> None:
    told = explain(demo, "aspirin is", num_beams=4, max_new_tokens=24)
    root = ElementTree.fromstring(svg(told))
    space = "{http://www.w3.org/2000/svg}"
    boxes = root.findall(f"{space}g")
    assert len(boxes) == sum(len(step.continuations) for step in told.steps)
    winning = [box for box in boxes if "winning" in box.attrib["class"].split()]
    assert len(winning) == len(told.hypotheses[0].ids)
    paths = root.findall(f"{space}path")
    assert len(paths) == len(boxes) - len(told.steps[0].continuations)
    lines = [path for path in paths if path.attrib["class"] == "winning"]
    assert len(lines) == len(winning) - 1
    width, height = int(root.attrib["width"]), int(root.attrib["height"])
    for box in boxes:
        rect = box.find(f"{space}rect")
        assert float(rect.attrib["x"]) + float(rect.attrib["width"]) <= width
        assert float(rect.attrib["y"]) + float(rect.attrib["height"]) <= height
        assert box.find(f"{space}title").text


def test_control_characters_are_drawn(packages: Callable[[str], Package]) -> None:
    told = explain(packages("gpt2"), PROMPT, **SETTINGS)
    nasty = Explanation(**{**vars(told), "text": "a\x01\x1b[31m\ufffe\ud800b"})
    steps = [
        dataclasses.replace(
            step,
            continuations=tuple(
                dataclasses.replace(c, text="\x06\uffff") for c in step.continuations
            ),
        )
        for step in told.steps
    ]
    nasty = dataclasses.replace(nasty, steps=tuple(steps))
    ElementTree.fromstring(svg(nasty))
    assert "\u2406" in svg(nasty)
    written = page(nasty)
    assert not {c for c in written if (c < " " and c not in "\n\t\r") or c in "\uffff\ufffe"}
    written.encode("utf-8")


def test_one_returned_is_compared_with_all(packages: Callable[[str], Package]) -> None:
    told = explain(packages("gpt2"), PROMPT, **SETTINGS, num_return_sequences=1)
    whole = explain(packages("gpt2"), PROMPT, **SETTINGS)
    assert told.hypotheses == whole.hypotheses[:1]
    assert told.why == whole.why


class _Tags(HTMLParser):
    """Whether what opens is closed, and what a page would load."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.loads: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in ("meta", "path", "rect"):
            self.open.append(tag)
        self.loads += [value or "" for name, value in attrs if name in ("src", "href")]

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        pass

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_stands_alone_and_is_escaped(packages: Callable[[str], Package]) -> None:
    told = explain(packages("gpt2"), PROMPT, **SETTINGS)
    nasty = Explanation(**{**vars(told), "text": "<script>alert('&')</script>"})
    written = page(nasty)
    assert "<script" not in written
    assert "&lt;script&gt;" in written
    tags = _Tags()
    tags.feed(written)
    assert tags.open == []
    assert tags.loads == []
    for step in told.steps:
        for c in step.continuations:
            assert f"{c.score:.4f}" in written


def test_the_command(demo: Package, tmp_path: Path) -> None:
    base = ["explain", "-m", str(demo.folder), "-p", "aspirin is", "--max-new-tokens", "6"]
    result = CliRunner().invoke(main, base)
    assert result.exit_code == 0, result.output
    told = explain(demo, "aspirin is", max_new_tokens=6)
    lines = result.output.splitlines()
    assert sum(line.endswith("<- the winner's") for line in lines) == len(told.hypotheses[0].ids)
    for fate in ("kept", "finished", "dropped"):
        count = sum(c.fate == fate for step in told.steps for c in step.continuations)
        assert sum(f"  {fate}: " in line for line in lines) == count > 0
    assert told.why[0] in result.output
    result = CliRunner().invoke(main, [*base, "--json"])
    assert json.loads(result.output) == json.loads(json.dumps(told.to_json()))
    for name in ("beams.html", "beams.svg"):
        path = tmp_path / name
        result = CliRunner().invoke(main, [*base, "-o", str(path)])
        assert result.exit_code == 0, result.output
        assert "<svg" in path.read_text()
        result = CliRunner().invoke(main, [*base, "-o", str(path)])
        assert "pass --force" in result.output
    result = CliRunner().invoke(main, [*base, "-o", str(tmp_path / "beams.png")])
    assert "end its name in .html or .svg" in result.output
    result = CliRunner().invoke(main, base[:3])
    assert "there has to be one prompt" in result.output
