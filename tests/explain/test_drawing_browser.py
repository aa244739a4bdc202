"""The page of an explained search in a real browser, opened as a file."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from support.web_site import Reader

from beamgen import Explanation, Package, explain


@pytest.fixture(scope="module")
def explained(demos: Callable[[str], Package]) -> Explanation:
    return explain(demos("biogpt"), "a cat is", num_beams=5)


@pytest.fixture(scope="module")
def reader(
    browser: Any, explained: Explanation, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Reader]:
    opened = _opened(browser, explained, tmp_path_factory.mktemp("page"))
    yield opened
    opened.context.close()


def _opened(browser: Any, explained: Explanation, folder: Path, **context: Any) -> Reader:
    file = folder / "beams.html"
    file.write_text(explained.to_html(), encoding="utf-8")
    opened = Reader(browser, color_scheme="light", **context)
    opened.tab.goto(file.as_uri())
    return opened


def test_all_of_the_search_is_drawn(
    reader: Reader, explained: Explanation, shot: Callable[[Reader, str], None]
) -> None:
    nodes = reader.tab.query_selector_all(".node")
    assert len(nodes) == sum(len(step.continuations) for step in explained.steps)
    on_path = [
        (int(node.get_attribute("data-step")), int(node.get_attribute("data-rank")))
        for node in reader.tab.query_selector_all(".node.on-path")
    ]
    assert set(on_path) == set(explained.winning)
    answers = [button.inner_text() for button in reader.tab.query_selector_all("button.answer")]
    for shown, found in zip(answers, explained.hypotheses, strict=True):
        assert found.text in shown
    reasons = [item.inner_text() for item in reader.tab.query_selector_all(".reasons li")]
    assert len(reasons) == len(explained.reasons) + 1
    assert explained.stopped in reasons[-1]
    assert reader.cut_tokens() == []
    shot(reader, "explained-1280-light")


def test_each_step_says_why_something_was_dropped(reader: Reader, explained: Explanation) -> None:
    for step in explained.steps:
        rows = reader.tab.query_selector_all("#step-rows tr")
        for row, continuation in zip(rows, step.continuations, strict=True):
            said = row.query_selector_all("td")[4].inner_text()
            assert said.startswith(continuation.fate)
            assert continuation.fate != "dropped" or continuation.reason in said
        for place in step.displaced:
            text = explained.text_of(place[0], explained.at(*place))
            assert f"“{text}” was pushed out" in reader.tab.inner_text("#step-summary")
        if step is not explained.steps[-1]:
            reader.tab.click("#step-on")
    assert any(step.displaced for step in explained.steps)


def test_an_answer_shows_its_path(reader: Reader, explained: Explanation) -> None:
    reader.tab.query_selector_all("button.answer")[1].click()
    on_path = reader.tab.query_selector_all(".node.on-path")
    assert len(on_path) == len(explained.hypotheses[1].path)


def test_what_is_saved_is_the_record(reader: Reader, explained: Explanation) -> None:
    record = reader.saved()
    assert record["hypotheses"][0]["ids"] == list(explained.hypotheses[0].ids)
    assert record["why"] == list(explained.reasons)


def test_a_phone_shows_all_of_it(reader: Reader, shot: Callable[[Reader, str], None]) -> None:
    reader.tab.set_viewport_size({"width": 375, "height": 700})
    reader.tab.emulate_media(color_scheme="dark")
    assert reader.fits()
    shot(reader, "explained-375-dark")


def test_nothing_is_fetched_and_nothing_failed(reader: Reader) -> None:
    """After all of the above."""
    assert [url for url in reader.requests if not url.startswith(("file:", "blob:"))] == []
    assert len([url for url in reader.requests if url.startswith("file:")]) == 1
    assert reader.errors == []


def test_without_a_script_the_answers_are_there(
    browser: Any,
    explained: Explanation,
    tmp_path: Path,
    shot: Callable[[Reader, str], None],
) -> None:
    reader = _opened(browser, explained, tmp_path, java_script_enabled=False)
    assert explained.hypotheses[0].text in reader.tab.inner_text("#answers")
    assert "needs JavaScript" in reader.tab.inner_text("main")
    assert not reader.tab.is_visible("#tree")
    reader.context.close()


def test_a_model_without_a_tokenizer(
    browser: Any, packages: Callable[[str], Package], tmp_path: Path
) -> None:
    explained = explain(packages("gpt2"), [40, 8, 40], num_beams=3, max_new_tokens=5)
    reader = _opened(browser, explained, tmp_path)
    shown = reader.text("button.answer .text").split()
    assert [int(each) for each in shown] == [40, 8, 40, *explained.hypotheses[0].ids]
    assert reader.errors == []
    reader.context.close()
