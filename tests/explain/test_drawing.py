"""The picture and the page of an explained search, and the script that they share."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import json
import re
import subprocess
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from html.parser import HTMLParser
from typing import Any

import pytest
from support.web_site import skip_without

from beamgen import Explanation, Package, explain
from beamgen.explain.beams import FATES, Continuation
from beamgen.explain.layout import SIZE, lay_out
from beamgen.explain.token_signs import percent, spelled
from beamgen.formats.web.page_parts import constants, script
from beamgen.settings.config import DEFAULT_MAX_NEW_TOKENS
from beamgen.settings.result import DEAD, FINISH_REASONS
from beamgen.settings.search import EARLY_STOPPING

PROMPT = [40, 8, 40]
EOS = [2, 3, 4, 5, 6, 7]
SETTINGS = {"num_beams": 4, "max_new_tokens": 12, "eos_token_id": EOS, "length_penalty": 0.7}


@pytest.fixture(scope="module")
def explained(packages: Callable[[str], Package]) -> Explanation:
    """Without a tokenizer."""
    return explain(packages("gpt2"), PROMPT, **SETTINGS)


@pytest.fixture(scope="module")
def with_text(demos: Callable[[str], Package]) -> Explanation:
    return explain(demos("biogpt"), "aspirin is", num_beams=4, max_new_tokens=24)


def test_the_picture_is_whole(with_text: Explanation) -> None:
    root = ElementTree.fromstring(with_text.to_svg())
    space = "{http://www.w3.org/2000/svg}"
    boxes = root.findall(f"{space}g")
    assert len(boxes) == sum(len(step.continuations) for step in with_text.steps)
    winning = [box for box in boxes if "on-path" in box.attrib["class"].split()]
    assert len(winning) == len(with_text.hypotheses[0].ids)
    paths = root.findall(f"{space}path")
    assert len(paths) == len(boxes)  # the first step's lead from the prompt
    lines = [path for path in paths if path.attrib["class"] == "on-path"]
    assert len(lines) == len(winning)
    left, top, width, height = map(float, root.attrib["viewBox"].split())
    for box in boxes:
        rect = box.find(f"{space}rect")
        assert left <= float(rect.attrib["x"])
        assert float(rect.attrib["x"]) + float(rect.attrib["width"]) <= left + width
        assert top <= float(rect.attrib["y"])
        assert float(rect.attrib["y"]) + float(rect.attrib["height"]) <= top + height
        assert box.find(f"{space}title").text


def _nasty(explained: Explanation) -> Explanation:
    """With a prompt and tokens that no file may hold as they are."""
    steps = [
        dataclasses.replace(
            step,
            continuations=tuple(
                dataclasses.replace(c, text="\x06\uffff</script><!--") for c in step.continuations
            ),
        )
        for step in explained.steps
    ]
    text = "<script>alert('&')</script>a\x01\x1b[31m\ufffe\ud800b"
    return dataclasses.replace(explained, text=text, steps=tuple(steps))


def test_control_characters_are_drawn(explained: Explanation) -> None:
    nasty = _nasty(explained)
    picture = nasty.to_svg()
    ElementTree.fromstring(picture)
    assert "\u2406" in picture
    page = nasty.to_html()
    assert not {c for c in page if (c < " " and c not in "\n\t\r") or c in "\uffff\ufffe"}
    page.encode("utf-8")


class _Tags(HTMLParser):
    """Whether what opens is closed, what a page would load, and what its scripts and styles are."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.loads: list[str] = []
        self.contents: list[tuple[str, str]] = []
        self.policy = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        if values.get("http-equiv") == "Content-Security-Policy":
            self.policy = values["content"]
        if tag not in ("meta", "input"):
            self.open.append(tag)
        if tag in ("script", "style"):
            self.contents.append((values.get("type", tag), ""))
        self.loads += [values[name] for name in ("src", "href") if name in values]

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] in ("script", "style"):
            kind, before = self.contents[-1]
            self.contents[-1] = kind, before + data

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_stands_alone_and_is_escaped(explained: Explanation) -> None:
    nasty = _nasty(explained)
    page = nasty.to_html()
    assert "<script>alert" not in page
    assert "&lt;script&gt;" in page
    tags = _Tags()
    tags.feed(page)
    assert tags.open == []
    assert tags.loads == []
    contents = dict(tags.contents)
    assert list(contents) == ["style", "application/json", "script"]
    assert json.loads(contents["application/json"]) == json.loads(json.dumps(nasty.to_json()))
    for kind in ("style", "script"):
        digest = base64.b64encode(hashlib.sha256(contents[kind].encode()).digest()).decode()
        assert f"{kind}-src 'sha256-{digest}'" in tags.policy
    assert not re.search(r"^\s*(import|export)\b", contents["script"], re.MULTILINE)


def test_the_answers_are_read_without_a_script(
    explained: Explanation, with_text: Explanation
) -> None:
    page, ids = with_text.to_html(), explained.to_html()
    for found, other in zip(with_text.hypotheses, explained.hypotheses, strict=True):
        assert found.text is not None
        assert found.text in page
        assert f"{found.score:.4f}" in page
        assert " ".join(map(str, other.ids)) in ids


def test_constants_are_those_of_python() -> None:
    shared = constants()
    assert shared["DEAD"] == DEAD
    assert shared["FINISH_REASONS"] == list(FINISH_REASONS)
    assert set(shared["ENDINGS"]) == set(FINISH_REASONS) - {"none"}
    assert shared["FATES"] == list(FATES)
    assert {value: i for i, value in enumerate(shared["EARLY_STOPPING"])} == EARLY_STOPPING
    assert shared["DEFAULT_MAX_NEW_TOKENS"] == DEFAULT_MAX_NEW_TOKENS


def _in_node(code: str, given: Any) -> Any:
    """What the page's script makes of a value."""
    skip_without("node")
    program = f"""{script("results")}
        const given = {json.dumps(given)};
        console.log(JSON.stringify({code}));"""
    done = subprocess.run(["node", "-"], input=program, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_the_page_lays_out_the_same(with_text: Explanation) -> None:
    def width_of(continuation: Continuation) -> int:
        return 10 + continuation.token % 50

    ours = lay_out(with_text.steps, width_of)
    theirs = _in_node(
        "layout.layOut(given.steps, ({ token }) => 10 + token % 50, true)", with_text.to_json()
    )
    assert (theirs["width"], theirs["rows"]) == (ours.width, ours.rows)
    for column, other in zip(ours.columns, theirs["columns"], strict=True):
        assert (column.step, column.x, column.width) == (other["step"], other["x"], other["width"])
        assert [c.rank for c in column.continuations] == [each["rank"] for each in other["nodes"]]
    for line, other in zip(ours.lines, theirs["lines"], strict=True):
        assert (line.step, line.continuation.rank) == (other["step"], other["rank"])
        assert (list(line.start), list(line.end)) == (other["from"], other["to"])
    assert ours.columns[1].x == SIZE["root"] + 2 * SIZE["gap"] + ours.columns[0].width


def test_the_page_spells_the_same(with_text: Explanation) -> None:
    eos = with_text.settings["eos_token_id"]
    (first, *_) = with_text.steps[0].continuations
    odd = [dataclasses.replace(first, text=text) for text in ("", " a\n\t\r", "日本", "🙂·")]
    tokens = [*odd, *(c for step in with_text.steps for c in step.continuations)]
    log_probs = [0.0, -1e-9, -1e-4, -0.001, -0.01, -0.1, -1.0, -2.3514, -6.9, -7.0, -700.0, 1.0]
    log_probs += [c.log_prob for c in tokens]
    theirs = _in_node(
        "[given[0].map((each) => format.spelled(each, given[1])), given[2].map(format.percent)]",
        [[dataclasses.asdict(c) for c in tokens], eos, log_probs],
    )
    assert theirs == [[spelled(c, eos) for c in tokens], [percent(each) for each in log_probs]]
    assert constants()["END"] in theirs[0]
