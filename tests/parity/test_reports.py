"""Reports that other programs read: JUnit's XML against its schema, Markdown through a renderer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import xmlschema
from markdown_it import MarkdownIt

from beamgen import Compared, Package, SearchConfig, junit_report, markdown_report
from beamgen.parity.report import CaseResult, ParityCase, ParityReport, Parting, Verdict

#: Of Jenkins' xunit plug-in, as pytest 8.4.2 has it in testing/example_scripts.
SCHEMA = xmlschema.XMLSchema(Path(__file__).parent / "schemas" / "junit-10.xsd")

#: All that a name may hold: markup, a table's and a code's marks, control characters, no UTF-8.
ODD = "a|b`c``<script>&amp;\n]]>\x00\x1b[0m\ud800\ufffe é 😀 **x** | | $(rm)"

OURS, THEIRS = [5, 9, 7], [5, 9, 11]


def case(name: str, **settings: Any) -> ParityCase:
    return ParityCase(name, ((5, 6),), 2, SearchConfig((2, 7), 0, **settings))


def parted(verdict: Verdict, name: str = "batch 1", reason: str = "another is kept") -> CaseResult:
    parting = Parting(verdict, 0, 3, reason, OURS, THEIRS, -1.5, -1.25, 0.25)
    return CaseResult(case(name), verdict, float("nan"), [parting])


def exact(name: str = "batch 1") -> CaseResult:
    return CaseResult(case(name, temperature=0.5), Verdict.EXACT, 1e-6, [], same_tokens=True)


@pytest.fixture
def compared(packages: Callable[[str], Package]) -> Callable[..., Compared]:
    def make(*results: CaseResult, **fields: Any) -> Compared:
        return Compared(packages("gpt2"), ParityReport([*results]), **fields)

    return make


def suites(text: str) -> list[ElementTree.Element]:
    """Those of a report that its schema allows."""
    SCHEMA.validate(text)
    return ElementTree.fromstring(text.encode("utf-8")).findall("testsuite")


def properties(suite: ElementTree.Element) -> dict[str, str]:
    return {each.attrib["name"]: each.attrib["value"] for each in suite.iter("property")}


def test_each_case_is_a_test(compared: Callable[..., Compared]) -> None:
    results = [exact("first"), parted(Verdict.NEAR_TIE), parted(Verdict.DIVERGED), exact("last")]
    text = junit_report([compared(*results, grid="full", seed=3), compared(exact(), lora="drugs")])
    full, lora = suites(text)
    assert (full.get("tests"), full.get("failures"), full.get("errors")) == ("4", "1", "0")
    assert full.get("name") == "gpt2, full grid"
    assert lora.get("name") == "gpt2 with drugs, quick grid"
    root = ElementTree.fromstring(text.encode())
    assert (root.get("tests"), root.get("failures")) == ("5", "1")
    names = [test.attrib["name"] for test in full.iter("testcase")]
    assert [name.partition(",")[0] for name in names] == [
        "1 first", "2 batch 1", "3 batch 1", "4 last"
    ]  # fmt: skip
    assert names[0].endswith("temperature 0.5")
    assert {test.get("classname") for test in full.iter("testcase")} == {"gpt2.full"}


def test_a_case_that_diverged_fails_with_its_step_and_both_rows(
    compared: Callable[..., Compared],
) -> None:
    (suite,) = suites(junit_report([compared(parted(Verdict.DIVERGED), exact())]))
    (failure,) = suite.iter("failure")
    assert failure.get("type") == "diverged"
    assert failure.get("message") == "diverged at step 3, row 0: another is kept"
    assert f"file {OURS} score -1.5" in (failure.text or "")
    assert f"HF   {THEIRS} score -1.25, margin 0.25" in (failure.text or "")
    assert [test.find("failure") is not None for test in suite.iter("testcase")] == [True, False]


def test_of_a_case_with_both_the_divergence_is_the_message(
    compared: Callable[..., Compared],
) -> None:
    both = parted(Verdict.DIVERGED)
    tie = replace(both.partings[0], verdict=Verdict.NEAR_TIE, row=1, step=2)
    (suite,) = suites(junit_report([compared(replace(both, partings=[tie, *both.partings]))]))
    (failure,) = suite.iter("failure")
    assert (failure.get("message") or "").startswith("diverged at step 3, row 0")
    assert "near-tie at step 2, row 1" in (failure.text or "")


def test_a_near_tie_passes_and_is_seen(compared: Callable[..., Compared]) -> None:
    (suite,) = suites(junit_report([compared(parted(Verdict.NEAR_TIE), exact())]))
    assert list(suite.iter("failure")) == []
    tie, other = suite.iter("testcase")
    assert "near-tie at step 3" in (tie.findtext("system-out") or "")
    assert other.find("system-out") is None
    assert "near-tie at step 3" in (suite.findtext("system-out") or "")
    assert properties(suite)["verdict"] == "near-tie"
    assert properties(suite)["near-tie"] == "1"


def test_where_nothing_was_compared_a_test_fails(compared: Callable[..., Compared]) -> None:
    """In a case, or in all of them, each of which could have been empty by right."""
    for verdict in (Verdict.EMPTY, Verdict.EXACT):
        one = compared(replace(exact(), verdict=verdict, anything=False))
        assert one.report.exit_code == 3
        (suite,) = suites(junit_report([one]))
        assert [f.get("message") for f in suite.iter("failure")] == ["nothing compared"]
        assert suite.get("failures") == "1"
        assert suite.get("tests") == str(len(list(suite.iter("testcase"))))
        assert markdown_report([one]).startswith("## ❌ Parity of `gpt2`: nothing compared")


def test_the_attention_that_was_compared_with_is_said(compared: Callable[..., Compared]) -> None:
    one = compared(exact())
    assert "attention" not in one.facts
    eager = replace(one, report=replace(one.report, forgetful_default="sdpa"))
    assert eager.facts["attention"] == "eager, for sdpa forgets"


def test_a_report_says_what_was_compared(compared: Callable[..., Compared]) -> None:
    import onnxruntime
    import transformers

    one = compared(exact(), grid="settings", seed=7)
    (suite,) = suites(junit_report([one]))
    said = properties(suite)
    assert said["compared with transformers"] == transformers.__version__
    assert said["compared with onnxruntime"] == onnxruntime.__version__
    assert said["grid, seed"] == "settings, 7"
    digest = one.package.manifest.files["model.onnx"]["sha256"]
    assert said["SHA-256 of model.onnx"] == digest
    folder = Path(one.package.manifest.source["model"])
    assert folder.is_absolute()
    assert str(folder.parent) not in junit_report([one]) + markdown_report([one])


def test_any_text_is_still_xml(compared: Callable[..., Compared]) -> None:
    one = compared(parted(Verdict.DIVERGED, ODD, ODD), parted(Verdict.NEAR_TIE, ODD), lora=ODD)
    text = junit_report([one])
    (suite,) = suites(text)
    first = next(suite.iter("testcase")).attrib["name"]
    assert "<script>&amp;" in first
    assert "😀 **x** | | $(rm)" in first
    assert r"\x00\x1b[0m\xd800\xfffe" in first


# -- Markdown


def rendered(text: str) -> tuple[list[list[list[str]]], str]:
    """Tables, as the text of their cells by row, and the HTML of all."""
    html = MarkdownIt("commonmark", {"html": True}).enable("table").render(text)
    parsed = ElementTree.fromstring(f"<body>{html.replace('<hr>', '')}</body>")
    tables = [
        [["".join(cell.itertext()) for cell in row] for row in table.iter("tr")]
        for table in parsed.iter("table")
    ]
    return tables, html


def test_a_summary_begins_with_the_verdict_and_ends_with_all_cases(
    compared: Callable[..., Compared],
) -> None:
    text = markdown_report([compared(exact(), exact("second"), grid="full")])
    lines = text.splitlines()
    assert lines[0] == "## ✅ Parity of `gpt2`: exact"
    assert "2 of 2 cases have the same tokens and scores" in lines[2]
    (counts, facts, cases), html = rendered(text)
    assert dict(zip(*counts, strict=True)) == {
        "cases": "2", "exact": "2", "contrib rule": "0", "near-tie": "0", "diverged": "0",
        "nothing compared": "0",
        "largest score difference": "1.0e-06",
    }  # fmt: skip
    assert dict(facts[1:])["grid, seed"] == "full, 0"
    assert [row[1] for row in cases] == ["verdict", "✅ exact", "✅ exact"]
    assert "<details><summary>All 2 cases</summary>" in html


def test_the_first_differences_are_told_the_worst_first(
    compared: Callable[..., Compared],
) -> None:
    ties = [parted(Verdict.NEAR_TIE, f"tie {i}") for i in range(4)]
    text = markdown_report([compared(*ties, parted(Verdict.DIVERGED, "wrong"))])
    assert text.startswith("## ❌ Parity of `gpt2`: diverged")
    assert text.index("diverged at step 3, row 0") < text.index("near-tie at step 3, row 0")
    assert f"file {OURS} score -1.5" in text
    assert "and 2 more" in text
    assert '<pre><code class="language-text">diverged at step 3, row 0' in rendered(text)[1]


def test_any_text_stays_in_its_cell(compared: Callable[..., Compared]) -> None:
    one = compared(parted(Verdict.DIVERGED, ODD, ODD), exact(ODD), lora=ODD)
    tables, html = rendered(markdown_report([one]))
    assert [len(row) for row in tables[2]] == [3, 3, 3]
    assert r"a|b`c``<script>&amp; ]]>\x00\x1b" in tables[2][1][0]
    assert "<script>" not in html
    assert "<strong>x</strong>" not in html
