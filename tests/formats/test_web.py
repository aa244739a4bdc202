"""The page's modules in Node against Python: answers, the record of their search, text."""

from __future__ import annotations

import dataclasses
import json
import random
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
from support.web_site import EXAMPLES, Page, in_node

from beamgen import explain, package_as
from beamgen.errors import PackageError, PromptError
from beamgen.formats.web.node_check import check_in_node
from beamgen.runtime.feeds import parameter_feeds
from beamgen.runtime.session import session_of
from beamgen.runtime.trace import SearchTrace, read_trace
from beamgen.search.traced import with_trace_outputs
from beamgen.settings.prompts import left_pad
from beamgen.tokenizer.added_text import token_text
from beamgen.tokenizer.hard_texts import TEXTS as COMPARED

SEARCHES: dict[str, dict[str, Any]] = {
    "beams": {"num_beams": 5, "num_return_sequences": 5},
    "long answers": {"num_beams": 4, "num_return_sequences": 4, "length_penalty": 2.0},
    "short answers": {"num_beams": 3, "num_return_sequences": 2, "length_penalty": -0.5},
    "stop early": {"num_beams": 3, "num_return_sequences": 3, "early_stopping": True},
    "never stop early": {"num_beams": 3, "early_stopping": "never", "max_new_tokens": 20},
    "the length ends it": {"num_beams": 4, "num_return_sequences": 4, "max_new_tokens": 3},
    "one step": {"num_beams": 4, "num_return_sequences": 4, "max_new_tokens": 1},
    "penalties": {"num_beams": 3, "repetition_penalty": 1.3, "no_repeat_ngram_size": 2},
    "greedy": {"num_beams": 1, "num_return_sequences": 1},
    "chains": {"num_beams": 1, "num_return_sequences": 4, "do_sample": True, "seed": 7},
    "drawn beams": {
        "num_beams": 4,
        "num_return_sequences": 4,
        "do_sample": True,
        "seed": 2**62 + 7,
    },
}
TEXTS = ("A doctor is", "a small animal")
CASES = [(name, text) for name in SEARCHES for text in TEXTS]


def _to_json(settings: dict[str, Any]) -> dict[str, Any]:
    # JavaScript would round a large seed
    return {name: str(v) if name == "seed" else v for name, v in settings.items()}


@pytest.fixture(scope="module")
def answers(page: Page, once: Callable[..., Path]) -> dict[str, Any]:
    """One Node process answers all."""
    draw = random.Random(0)
    size = len(page.generator.tokenizer)
    lists = [[draw.randrange(size) for _ in range(draw.randrange(1, 12))] for _ in range(300)]
    searches = [
        {"prompt": {"text": text, "chat": False}, "settings": _to_json(SEARCHES[name])}
        for name, text in CASES
    ]
    texts = [page.generator.encode(text) for text in COMPARED]
    tokens = [(ids[:i], token) for ids in [*texts, *lists] for i, token in enumerate(ids)]
    request = {
        "searches": searches,
        "texts": COMPARED,
        "chats": COMPARED,
        "ids": lists,
        "tokens": tokens,
    }

    def make(base: Path) -> None:
        base.mkdir()
        (base / "answers.json").write_text(json.dumps(in_node(page.folder, request)))

    found = json.loads((once("web/answers", make) / "answers.json").read_text())
    return {**found, "lists": lists, "asked": tokens}


@pytest.fixture(scope="module")
def traced(page: Page) -> Callable[[str, dict[str, Any]], SearchTrace]:
    """What Python's trace of a search is."""
    session = session_of(with_trace_outputs(ir.load(page.package.model)), page.package.folder)
    names = [output.name for output in session.get_outputs()]

    def trace(text: str, settings: dict[str, Any]) -> SearchTrace:
        ids, mask = left_pad([page.generator.encode(text)], 0)
        config = page.generator.search.with_overrides(settings)
        room = page.package.manifest.limits.room(ids.shape[1])
        config = config.for_prompt(ids.shape[1], room)
        parameters = parameter_feeds(page.package.manifest, [config])
        feeds = {"input_ids": ids, "attention_mask": mask, **parameters}
        return read_trace(dict(zip(names, session.run(names, feeds), strict=True)))

    return trace


@pytest.mark.parametrize(("name", "text"), CASES)
def test_the_answers_are_the_packages(
    name: str, text: str, page: Page, answers: dict[str, Any]
) -> None:
    record = answers["searches"][CASES.index((name, text))]
    (expected,) = page.generator.generate(text, **SEARCHES[name])
    assert [each["ids"] for each in record["hypotheses"]] == [each.token_ids for each in expected]
    assert [each["text"] for each in record["hypotheses"]] == [each.new_text for each in expected]
    assert [each["finish_reason"] for each in record["hypotheses"]] == [
        each.finish_reason for each in expected
    ]
    np.testing.assert_allclose(
        [each["score"] for each in record["hypotheses"]],
        [each.score for each in expected],
        rtol=1e-4,
        atol=1e-4,
    )
    assert record["prompt"] == {"text": text, "ids": page.generator.encode(text)}


@pytest.mark.parametrize(("name", "text"), CASES)
def test_the_record_is_the_trace(
    name: str,
    text: str,
    answers: dict[str, Any],
    traced: Callable[[str, dict[str, Any]], SearchTrace],
) -> None:
    """After every step the same beams run, and the same hypotheses are held."""
    record = answers["searches"][CASES.index((name, text))]
    (expected,) = traced(text, SEARCHES[name])
    assert len(record["steps"]) == len(expected)
    beams: dict[int, tuple[tuple[int, ...], float]] = {0: ((), 0.0)}
    ended: dict[tuple[int, ...], float] = {}
    one_beam = SEARCHES[name]["num_beams"] == 1
    for number, (step, after) in enumerate(zip(record["steps"], expected, strict=True), start=1):
        assert step["step"] == number
        running = {}
        for each in step["continuations"]:
            before, score = beams[each["parent"]]
            tokens = (*before, each["token"])
            assert each["score"] == pytest.approx(score + each["log_prob"], abs=1e-4)
            if each["fate"] == "kept":
                running[each["beam"]] = (tokens, each["score"])
            elif each["fate"] == "finished":
                ended[tokens] = each["hypothesis_score"]
        held = {tuple(tokens): score for tokens, score in after.finished.items()}
        if one_beam:  # the trace lets chains that ended run on
            ended_now = {t: score for t, score in ended.items() if len(t) == number}
            for tokens, score in [*running.values(), *ended_now.items()]:
                assert after.running[tokens] == pytest.approx(score, abs=1e-3)
        else:
            assert {
                tokens: pytest.approx(score, abs=1e-3) for tokens, score in running.values()
            } == (after.running)
            best = sorted(ended.items(), key=lambda item: -item[1])[: SEARCHES[name]["num_beams"]]
            assert {t: pytest.approx(score, abs=1e-3) for t, score in best} == held
        beams = running


@pytest.mark.parametrize(("name", "text"), CASES)
def test_paths_lead_to_the_answers(
    name: str, text: str, page: Page, answers: dict[str, Any]
) -> None:
    record = answers["searches"][CASES.index((name, text))]
    eos = page.package.manifest.search.eos_token_id
    for hypothesis in record["hypotheses"]:
        on_path = [
            next(c for c in record["steps"][step - 1]["continuations"] if c["rank"] == rank)
            for step, rank in hypothesis["path"]
        ]
        assert [each["token"] for each in on_path] == hypothesis["ids"]
        assert on_path[-1]["hypothesis_score"] == pytest.approx(hypothesis["score"], abs=1e-4)
        spelled = "".join(each["text"] for each in on_path if each["token"] not in eos)
        assert spelled == hypothesis["text"]


@pytest.mark.parametrize("name", ["beams", "stop early", "the length ends it", "drawn beams"])
def test_the_record_is_that_of_explain(name: str, page: Page, answers: dict[str, Any]) -> None:
    record = answers["searches"][CASES.index((name, TEXTS[0]))]
    found = explain(page.package, TEXTS[0], verify=False, **SEARCHES[name])
    expected = json.loads(json.dumps(found.to_json()))
    assert record["prompt"] == expected["prompt"]
    settings = {**record["settings"], "seed": int(record["settings"]["seed"] or 0)}
    assert expected["settings"].items() <= settings.items()
    for step, other in zip(record["steps"], expected["steps"], strict=True):
        assert step["step"] == other["step"]
        _alike(step["continuations"], other["continuations"])
    _alike(record["hypotheses"], expected["hypotheses"])


def _alike(ours: list[dict[str, Any]], theirs: list[dict[str, Any]]) -> None:
    """Theirs may tell more; numbers are those of two builds of ONNX Runtime."""
    for each, other in zip(ours, theirs, strict=True):
        for name, value in each.items():
            is_float = isinstance(other[name], float)
            assert value == (pytest.approx(other[name], abs=1e-3) if is_float else other[name])


def test_text_becomes_the_tokenizers_ids_and_back(page: Page, answers: dict[str, Any]) -> None:
    tokenizer = page.generator.tokenizer
    for text, ids, chat in zip(COMPARED, answers["texts"], answers["chats"], strict=True):
        assert ids == page.generator.encode(text), text
        assert chat == page.generator.encode(text, chat=True), text
    for ids, text in zip(answers["lists"], answers["ids"], strict=True):
        assert text == tokenizer.decode(ids, skip_special_tokens=True), ids


def test_tokens_read_the_same_after_others(page: Page, answers: dict[str, Any]) -> None:
    """Special ones, bytes of characters and all."""
    text = token_text(page.generator.tokenizer)
    expected = [text(before, token) for before, token in answers["asked"]]
    assert answers["tokens"] == expected
    assert "<|end|>" in expected
    assert any("\ufffd" in each for each in expected)


def test_what_was_verified_is_said(page: Page) -> None:
    lines = page.output.splitlines()
    assert sum(line.startswith("verified: ") for line in lines) == 3, page.output
    assert f"tokens and scores of {2 * 5} answers" in page.output
    assert "with onnxruntime-web@1.30.0" in page.output
    assert re.fullmatch(r"next: python -m http\.server -d \S+/web/phi3/page 8000", lines[-2])
    assert [each["text"] for each in page.description["examples"]] == list(EXAMPLES)


def test_a_page_that_answers_otherwise_is_found_out(page: Page, tmp_path: Path) -> None:
    """Each of the three checks fails where its part of the page is wrong."""
    broken = shutil.copytree(page.folder, tmp_path / "page")
    text = json.loads((broken / "tokenizer.json").read_text())
    text["model"]["merges"] = text["model"]["merges"][::-1]
    (broken / "tokenizer.json").write_text(json.dumps(text))
    description = page.description
    description["inputs"]["length_penalty"]["value"] = 1.5
    description["text"]["chat"]["template"] += "!"
    description["session_options"]["graphOptimizationLevel"] = "disabled"
    (broken / "page.json").write_text(json.dumps(description))
    prompts = [page.generator.encode("A doctor is")]
    found, chat_holds = check_in_node(
        page.generator, broken, page.generator.tokenizer, prompts, chat=True
    )
    assert [check.passed for check in found] == [False, False]
    assert not chat_holds
    assert "'aspirin is'" in found[1].what


def test_a_page_that_does_not_run_is_found_out(page: Page, tmp_path: Path) -> None:
    broken = shutil.copytree(page.folder, tmp_path / "page")
    (broken / "model.onnx").write_bytes(b"nothing")
    (check,), _ = check_in_node(page.generator, broken, None, [[5]], chat=False)
    assert check.passed is False
    assert "failed in Node.js" in check.what


def test_without_node_nothing_is_claimed(
    page: Page, node_modules: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    done = package_as(page.package, "web", tmp_path / "page", node_modules=node_modules)
    assert [check.passed for check in done.checks] == [None, None]
    assert done.exit_code == 0
    assert "left out" in done.checks[1].what, "a chat template that nobody saw render"
    description = json.loads((done.folder / "page.json").read_text())
    assert description["text"]["chat"] is None
    for name in ("model.onnx", "vendor/ort.wasm", "tokenizer.json", "page/trace.js", "index.html"):
        assert (done.folder / name).read_bytes() == (page.folder / name).read_bytes(), name
    with pytest.raises(PackageError, match="no npm to fetch it"):
        package_as(page.package, "web", tmp_path / "other")
    assert not (tmp_path / "other").exists()


SETTINGS: dict[str, dict[str, Any]] = {
    "none": {},
    "max_length": {"max_length": 30, "min_length": 12},
    "min_new_tokens": {"max_new_tokens": 9, "min_new_tokens": 4},
    "more than there is room for": {"max_new_tokens": 300},
}


@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
def test_defaults_are_resolved_as_in_python(settings: dict[str, Any], page: Page) -> None:
    config = page.generator.search.with_overrides(settings)
    limits = dataclasses.replace(page.package.manifest.limits, recompute_boundary=40)
    description = {
        **page.description,
        "search": config.to_json(),
        "limits": vars(limits),
    }
    lengths = [1, 5, 29, 40, 41, 250, 256, 300]
    script = """
        import { resolve, room, problems } from './page/settings.js';
        const [page, lengths] = JSON.parse(process.argv[1]);
        console.log(JSON.stringify(lengths.map((length) => {
            const record = resolve(page, length, {});
            const { max_new_tokens, min_new_tokens } = record;
            const [wrong] = problems(page, length, record).map(({ field }) => field);
            return [room(page, length), max_new_tokens, min_new_tokens, wrong ?? null];
        })));
    """
    done = subprocess.run(
        ["node", "--input-type=module", "-e", script, json.dumps([description, lengths])],
        cwd=page.folder,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    for length, (room, longest, shortest, wrong) in zip(
        lengths, json.loads(done.stdout), strict=True
    ):
        assert room == limits.room(length)
        try:
            expected = config.for_prompt(length, room)
        except PromptError:
            assert wrong == "max_new_tokens"
            continue
        assert (longest, shortest) == (expected.max_new_tokens, expected.min_new_tokens)
        too_long = longest > room
        assert wrong == (("prompt" if room < 1 else "max_new_tokens") if too_long else None)
