"""The page in a real browser: answers, keyboard, narrow screens, and everything that can fail."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from support.web_site import (
    EXAMPLES,
    FOUND,
    READY,
    Page,
    Reader,
    Searcher,
    Site,
    serve,
)

from beamgen import Generator, Package, package_as

MINUS = "\N{MINUS SIGN}"


@pytest.fixture(scope="module")
def site(page: Page) -> Iterator[Site]:
    with serve(page.folder) as served:
        yield served


@pytest.fixture(scope="module")
def reader(browser: Any, site: Site) -> Iterator[Searcher]:
    """One page, loaded once; tests leave it ready."""
    opened = Searcher(browser, site, color_scheme="light")
    opened.open()
    yield opened
    opened.context.close()


def _same(record: dict[str, Any], expected: list[Any]) -> None:
    assert [each["ids"] for each in record["hypotheses"]] == [each.token_ids for each in expected]
    scores = [each["score"] for each in record["hypotheses"]]
    assert scores == pytest.approx([each.score for each in expected], rel=1e-4, abs=1e-4)


def test_the_answers_are_the_packages(
    reader: Searcher, page: Page, shot: Callable[[Reader, str], None]
) -> None:
    record = reader.search("A doctor is", num_beams=4, length_penalty=0.5)
    (expected,) = page.generator.generate(
        "A doctor is", num_beams=4, num_return_sequences=4, length_penalty=0.5
    )
    _same(record, expected)
    for button, answer in zip(reader.tab.query_selector_all(".answer"), expected, strict=True):
        shown = button.inner_text()
        assert answer.text in shown
        assert f"{answer.score:.3f}".replace("-", MINUS) in shown
    nodes = reader.tab.query_selector_all(".node")
    assert len(nodes) == sum(len(step["continuations"]) for step in record["steps"])
    assert f"4 answers after {len(record['steps'])} steps" in reader.text("#status")
    reader.tab.uncheck("#show-dropped")
    kept = [c for step in record["steps"] for c in step["continuations"] if c["fate"] != "dropped"]
    assert len(reader.tab.query_selector_all(".node")) == len(kept)
    reader.tab.check("#show-dropped")
    assert reader.cut_tokens() == []
    shot(reader, "found-1280-light")


def test_the_table_tells_each_step(reader: Searcher) -> None:
    record = reader.search("aspirin is", num_beams=3, length_penalty=1)
    for step in record["steps"][:4]:
        assert reader.text("#step-title") == f"Step {step['step']} of {len(record['steps'])}"
        rows = reader.tab.query_selector_all("#step-rows tr")
        for row, each in zip(rows, step["continuations"], strict=True):
            cells = [cell.inner_text() for cell in row.query_selector_all("td")]
            assert int(cells[0]) == each["rank"] + 1
            assert float(cells[3].replace(MINUS, "-")) == pytest.approx(each["score"], abs=6e-4)
            word = {"kept": f"kept as beam {(each['beam'] or 0) + 1}"}.get(each["fate"])
            assert cells[4].startswith(word or each["fate"])
        reader.tab.click("#step-on")


def test_chat_and_draws_are_the_packages(reader: Searcher, page: Page) -> None:
    reader.tab.check("#chat")
    reader.tab.click("#drawing summary")
    reader.tab.check("#do_sample")
    settings = {"temperature": 0.8, "top_k": 40, "top_p": 0.9, "seed": 2**62 + 1}
    record = reader.search("What is a doctor?", num_beams=3, **settings)
    (expected,) = page.generator.generate(
        "What is a doctor?",
        chat=True,
        num_beams=3,
        num_return_sequences=3,
        do_sample=True,
        **settings,
    )
    _same(record, expected)
    assert f"seed {2**62 + 1}" in reader.text("#status")
    reader.tab.uncheck("#do_sample")
    reader.tab.click("#drawing summary")
    reader.tab.uncheck("#chat")


def test_the_keyboard_is_enough(reader: Searcher) -> None:
    keys = reader.tab.keyboard
    reader.tab.focus("#prompt")
    reader.tab.fill("#prompt", "")
    keys.type("A doctor is")
    for _ in range(20):
        keys.press("Tab")
        if reader.tab.evaluate("document.activeElement.id") == "submit":
            break
    keys.press("Enter")
    reader.tab.wait_for_selector(FOUND)
    active = "document.activeElement"
    keys.press("Tab")
    assert reader.tab.evaluate(f"{active}.className") == "answer"
    keys.press("Tab")
    keys.press("Enter")
    pressed = "[...document.querySelectorAll('.answer')].map((b) => b.ariaPressed)"
    assert reader.tab.evaluate(pressed)[:3] == ["false", "true", "false"]
    record = reader.saved()
    best = record["hypotheses"][1]["path"]
    on_path = reader.tab.query_selector_all(".node.on-path")
    found = [
        [int(n.get_attribute("data-step")), int(n.get_attribute("data-rank"))] for n in on_path
    ]
    assert sorted(found) == sorted(best)

    reader.tab.focus(".node[tabindex='0']")
    assert reader.tab.evaluate(f"{active}.ariaLabel").startswith("Step 1, rank 1: ")
    keys.press("ArrowDown")
    assert reader.tab.evaluate(f"{active}.ariaLabel").startswith("Step 1, rank 2: ")
    keys.press("ArrowRight")
    chosen = reader.tab.evaluate(f"[{active}.dataset.step, {active}.dataset.rank].map(Number)")
    assert chosen[0] == 2
    child = next(c for c in record["steps"][1]["continuations"] if c["rank"] == chosen[1])
    assert child["parent"] == record["steps"][0]["continuations"][1]["beam"]
    assert reader.text("#step-title").startswith("Step 2 of ")
    keys.press("ArrowLeft")
    assert reader.tab.evaluate(f"{active}.ariaLabel").startswith("Step 1, rank 2: ")
    outline = f"getComputedStyle({active}).outlineStyle"
    assert reader.tab.evaluate(outline) == "solid", "where the focus is can be seen"
    assert reader.tab.evaluate("document.querySelectorAll('.node[tabindex=\"0\"]').length") == 1


WRONG = {
    "empty": ({"prompt": "  "}, "prompt", "The prompt is empty."),
    "long": ({"prompt": "word " * 300}, "prompt", "this model holds 256 tokens"),
    "no room": ({"max_new_tokens": "256"}, "max_new_tokens", "new tokens at most"),
    "no number": ({"num_beams": ""}, "num_beams", "Beams is a whole number"),
    "a fraction": ({"max_new_tokens": "2.5"}, "max_new_tokens", "New tokens is a whole number"),
    "many": ({"num_return_sequences": "9"}, "num_return_sequences", "Raise Beams"),
    "a penalty": ({"length_penalty": "-30"}, "length_penalty", "Choose one nearer to 0."),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_is_said_where_it_is(
    name: str, reader: Searcher, shot: Callable[[Reader, str], None]
) -> None:
    values, field, message = WRONG[name]
    before = {each: reader.tab.input_value(f"#{each}") for each in values}
    for each, value in values.items():
        reader.tab.fill(f"#{each}", value)
    reader.tab.click("#submit")
    reader.tab.wait_for_selector(f"#{field}[aria-invalid='true']")
    assert message in reader.text(f"#{field}-error")
    assert reader.tab.evaluate("document.activeElement.id") == field
    assert f"{field}-error" in reader.tab.get_attribute(f"#{field}", "aria-describedby")
    if name == "long":
        shot(reader, "wrong-1280-light")
    for each, value in before.items():
        reader.tab.fill(f"#{each}", value)
    assert not reader.tab.is_visible(f"#{field}-error")


def test_a_phone_shows_all_of_it(reader: Searcher, shot: Callable[[Reader, str], None]) -> None:
    reader.tab.set_viewport_size({"width": 375, "height": 700})
    reader.tab.emulate_media(color_scheme="dark")
    reader.search("A doctor is", num_beams=5)
    assert reader.fits()
    shot(reader, "found-375-dark")
    reader.tab.click("#drawing summary")
    assert reader.fits()
    small = """[...document.querySelectorAll('button:not(.node), input, textarea, summary')]
        .filter((e) => e.offsetParent && e.type !== 'checkbox' && e.offsetHeight < 22)"""
    assert reader.tab.evaluate(f"{small}.map((e) => e.outerHTML)") == []
    reader.tab.click("#drawing summary")
    reader.tab.set_viewport_size({"width": 1280, "height": 900})
    reader.tab.emulate_media(color_scheme="light")


def test_every_field_has_a_name(reader: Searcher) -> None:
    unnamed = """[...document.querySelectorAll('input, textarea')]
        .filter((e) => !e.labels.length).map((e) => e.id)"""
    assert reader.tab.evaluate(unnamed) == []


def test_nothing_left_this_machine_and_nothing_failed(reader: Searcher) -> None:
    """After all of the above."""
    assert len(reader.requests) > 10
    here = ("data:", f"blob:{reader.site.url}/", f"{reader.site.url}/")
    assert [url for url in reader.requests if not url.startswith(here)] == []
    assert reader.errors == []


FAILURES: dict[str, tuple[str, int | Callable[[bytes], bytes], str]] = {
    "no description": ("/page.json", 404, "The server has no page.json"),
    "no model": ("/model.onnx", 404, "The server has no model.onnx (it answered 404)"),
    "no runtime": ("/vendor/ort.wasm", 500, "The server has no ort.wasm (it answered 500)"),
    "half a model": ("/model.onnx", lambda file: file[:1000], "model.onnx is damaged"),
    "more than the model": ("/model.onnx", lambda file: file + b"!", "model.onnx is damaged"),
    "another model": (
        "/model.onnx",
        lambda file: file[:-1000] + bytes(1000),
        "model.onnx is damaged",
    ),
    "no program": ("/page/worker.js", 404, "program could not be started"),
    "a broken tokenizer": ("/tokenizer.json", lambda file: file[:99], "tokenizer.json is damaged"),
}


@pytest.mark.parametrize("name", FAILURES)
def test_what_cannot_be_loaded_is_said(
    name: str, browser: Any, page: Page, shot: Callable[[Reader, str], None]
) -> None:
    path, answer, message = FAILURES[name]
    with serve(page.folder) as site:
        whole = (page.folder / path[1:]).read_bytes()
        site.instead[path] = answer if isinstance(answer, int) else answer(whole)
        reader = Searcher(browser, site)
        reader.open(ready=False)
        assert message in reader.text("#failure-cause")
        assert len(reader.text("#failure-cure")) > 20
        assert reader.tab.get_attribute("#failure", "role") == "alert"
        assert not reader.tab.is_visible("#load")
        if name == "no description":
            site.instead.clear()
            reader.tab.click("#retry")
            reader.tab.wait_for_selector("#form:not([hidden])")
        if name == "no model":
            shot(reader, "failed-1280-light")
            reader.tab.set_viewport_size({"width": 375, "height": 700})
            assert reader.fits()
            site.instead.clear()
            reader.tab.click("#retry")
            reader.tab.wait_for_selector(READY)
            _same(reader.search("A doctor is"), _five(page))
        reader.context.close()


def test_a_large_model_is_fetched_when_asked_for(browser: Any, page: Page) -> None:
    with serve(page.folder) as site:
        large = page.description
        large["model"]["bytes"] = 498_000_000
        site.instead["/page.json"] = json.dumps(large).encode()
        reader = Searcher(browser, site)
        reader.tab.goto(site.url)
        reader.tab.wait_for_selector("#load-start:not([hidden])")
        assert reader.text("#load-start") == "Load the model (512 MB)"
        assert not any("model.onnx" in url for url in reader.requests)
        reader.tab.click("#load-start")
        reader.tab.wait_for_selector("#failure:not([hidden])")
        assert "model.onnx is damaged" in reader.text("#failure-cause")
        reader.context.close()


def _five(page: Page) -> list[Any]:
    return page.generator.generate("A doctor is", num_beams=5, num_return_sequences=5)[0]


@pytest.mark.slow
def test_isolated_pages_use_threads(browser: Any, page: Page) -> None:
    with serve(page.folder) as site:
        site.headers = {
            "Cross-Origin-Opener-Policy": "same-origin",
            "Cross-Origin-Embedder-Policy": "require-corp",
        }
        reader = Searcher(browser, site)
        reader.open()
        cores = reader.tab.evaluate("navigator.hardwareConcurrency")
        (threads,) = re.findall(r"in (\d+) threads?", reader.text("#about"))
        assert int(threads) == min(4, cores)
        _same(reader.search("A doctor is"), _five(page))
        assert reader.errors == []
        reader.context.close()


@pytest.mark.slow
def test_a_search_can_be_stopped(browser: Any, page: Page) -> None:
    with serve(page.folder) as site:
        reader = Searcher(browser, site)
        reader.open()
        reader.tab.fill("#prompt", "A doctor is")
        reader.tab.fill("#num_beams", "200")
        reader.tab.fill("#length_penalty", "4")
        reader.tab.fill("#max_new_tokens", "200")
        reader.tab.click("#submit")
        reader.tab.click("#stop")
        assert not reader.tab.is_visible("#results")
        reader.tab.wait_for_selector(READY)
        record = reader.search("A doctor is", num_beams=5, length_penalty=1, max_new_tokens=64)
        _same(record, _five(page))
        reader.context.close()


def test_a_page_of_token_ids(
    browser: Any,
    packages: Callable[[str], Package],
    node_modules: Path,
    tmp_path: Path,
    shot: Callable[[Reader, str], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A model that came without a tokenizer says so, and takes numbers."""
    package = packages("gpt2")
    # see test_web
    monkeypatch.setattr("beamgen.formats.web.format.check_in_node", lambda *_, **__: ([], False))
    done = package_as(package, "web", tmp_path / "page", node_modules=node_modules)
    with serve(done.folder) as site:
        reader = Searcher(browser, site)
        reader.open()
        assert "came without a tokenizer" in reader.text("#prompt-hint")
        record = reader.search("5, 6 7", num_beams=3, max_new_tokens=6)
        (expected,) = Generator(package).generate(
            [[5, 6, 7]], num_beams=3, num_return_sequences=3, max_new_tokens=6
        )
        _same(record, expected)
        assert record["prompt"] == {"text": None, "ids": [5, 6, 7]}
        shot(reader, "ids-1280-light")
        for prompt, message in (
            ("five", "“five” is no token id"),
            (f"{package.manifest.vocab_size}", "There is no token"),
            (" ", "Give at least one token id"),
        ):
            reader.tab.fill("#prompt", prompt)
            reader.tab.click("#submit")
            reader.tab.wait_for_selector("#prompt[aria-invalid='true']")
            assert message in reader.text("#prompt-error")
        reader.context.close()


def test_examples_are_offered(reader: Searcher) -> None:
    buttons = reader.tab.query_selector_all("#examples button")
    assert [button.inner_text() for button in buttons] == list(EXAMPLES)
    buttons[1].click()
    assert reader.tab.input_value("#prompt") == EXAMPLES[1]
