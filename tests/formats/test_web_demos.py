"""Pages of the demos: Python, Node and a browser give the same tokens, texts and scores."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from support.packaged import check_verified
from support.pages import read_page
from support.web_site import Searcher, in_node, serve

from beamgen import Generator, Package, adapters, package_as

pytestmark = pytest.mark.slow

ENCODER_DECODERS = [
    each.name for each in adapters() if each.demo is not None and each.name in ("marian", "t5")
]

SENTENCES = (
    "Are you tired?",
    "translate English to German: The house is old.",
    "plural: this old knife",
    "spell out: 42",
)

WAYS: list[dict[str, Any]] = [
    {"num_beams": 4, "num_return_sequences": 4},
    {"num_beams": 1},
    {"num_beams": 3, "length_penalty": 0.0, "num_return_sequences": 2},
]

MakePage = Callable[[str], Path]


@pytest.fixture(scope="module")
def pages(
    once: Callable[..., Path], demos: Callable[[str], Package], node_modules: Path
) -> MakePage:
    """``pages("t5")``: the page of that demo; read-only."""

    def make(name: str) -> Path:
        def write(base: Path) -> None:
            base.mkdir()
            options = {"examples": SENTENCES[:2], "node_modules": node_modules}
            check_verified(package_as(demos(name), "web", base / "page", **options))

        return once(f"web-demos/{name}", write) / "page"

    return make


@pytest.fixture
def searcher(browser: Any) -> Iterator[Callable[[Path], Searcher]]:
    """``searcher(folder)`` has that page open."""
    with ExitStack() as opened:

        def open_page(folder: Path) -> Searcher:
            found = Searcher(browser, opened.enter_context(serve(folder)))
            opened.callback(found.context.close)
            found.open()
            return found

        yield open_page


def _same(record: dict[str, Any], expected: list[Any]) -> None:
    assert [each["ids"] for each in record["hypotheses"]] == [each.token_ids for each in expected]
    assert [each["text"] for each in record["hypotheses"]] == [each.new_text for each in expected]
    scores = [each["score"] for each in record["hypotheses"]]
    assert scores == pytest.approx([each.score for each in expected], rel=1e-4, abs=1e-4)


@pytest.mark.parametrize("name", ENCODER_DECODERS)
def test_encoder_decoders_answer_in_node(
    name: str, pages: MakePage, demos: Callable[[str], Package]
) -> None:
    asked = [(text, way) for text in SENTENCES for way in WAYS]
    searches = [{"prompt": {"text": text}, "settings": way} for text, way in asked]
    found = in_node(pages(name), {"searches": searches})["searches"]
    generator = Generator(demos(name))
    for record, (text, way) in zip(found, asked, strict=True):
        (expected,) = generator.generate(text, **way)
        _same(record, expected)


@pytest.mark.parametrize("name", ENCODER_DECODERS)
def test_encoder_decoders_answer_in_a_browser(
    name: str,
    pages: MakePage,
    demos: Callable[[str], Package],
    searcher: Callable[[Path], Searcher],
) -> None:
    page, generator = searcher(pages(name)), Generator(demos(name))
    for text in SENTENCES:
        for beams, penalty in ((4, 1.0), (2, 0.0)):
            record = page.search(text, num_beams=beams, length_penalty=penalty)
            settings = {"num_beams": beams, "length_penalty": penalty}
            (expected,) = generator.generate(text, num_return_sequences=beams, **settings)
            _same(record, expected)
    assert page.errors == []


def test_the_json_of_readme_is_written_everywhere(
    pages: MakePage,
    demos: Callable[[str], Package],
    searcher: Callable[[Path], Searcher],
    tmp_path: Path,
) -> None:
    """Under its schema, of its prompt: in Python, in Node and in a browser."""
    readme = read_page("README.md")
    schema = json.loads(re.findall(r"printf '(.*)' > kind.json", readme)[0])
    (prompt,) = re.findall(r'-m gpt2-onnx -p "(.*)" --json-schema', readme)
    generator = Generator(demos("gpt2"))
    generator.constraint(json_schema=schema).save(tmp_path / "kind.npz")
    settings = {"num_beams": 3, "num_return_sequences": 3}
    (expected,) = generator.generate(prompt, json_schema=schema, **settings)
    kinds = schema["properties"]["kind"]["enum"]
    assert all(json.loads(each.new_text)["kind"] in kinds for each in expected)
    folder = pages("gpt2")
    asked = {"prompt": {"text": prompt}, "settings": settings}
    given = {**asked, "constraint": str(tmp_path / "kind.npz")}
    (in_javascript,) = in_node(folder, {"searches": [given]})["searches"]
    _same(in_javascript, expected)
    page = searcher(folder)
    page.tab.set_input_files("#constraint", tmp_path / "kind.npz")
    _same(page.search(prompt, num_beams=3), expected)
    assert page.errors == []
