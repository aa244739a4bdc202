"""Parity reports as GitHub's Markdown: the summary of a job, or a comment on a pull request."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from beamgen.parity.compared import Compared, printable
from beamgen.parity.report import CaseResult, Verdict
from beamgen.parity.report_junit import parting_text

_SIGNS = {Verdict.EXACT: "✅", Verdict.CONTRIB_RULE: "✅", Verdict.NEAR_TIE: "⚠️"}
#: Differences that are told in full.
_SHOWN = 3


def markdown_report(compared: Sequence[Compared]) -> str:
    """The verdict, counts, the first differences, what was compared, and all cases, folded."""
    return "\n".join(line for each in compared for line in [*_section(each), ""])


def _section(compared: Compared) -> Iterator[str]:
    report = compared.report
    yield f"## {_sign(report.verdict)} Parity of {_code(compared.name)}: {report.verdict.value}"
    yield ""
    yield _sentence(compared)
    yield ""
    yield from _table(
        ["cases", *(verdict.value for verdict in Verdict), "largest score difference"],
        [[len(report.results), *map(report.count, Verdict), f"{report.score_difference:.1e}"]],
    )
    yield from _differences(report.results)
    yield ""
    yield from _table(
        ["compared", ""], [[name, _code(value)] for name, value in compared.facts.items()]
    )
    yield from _all_cases(report.results)


def _sentence(compared: Compared) -> str:
    report = compared.report
    version = compared.facts["compared with transformers"]
    yardstick = f"`generate` of transformers {version}{' + peft' if compared.lora else ''}"
    same = f"{report.count(Verdict.EXACT)} of {len(report.results)} cases"
    return f"Compared with {yardstick}: {same} have the same tokens and scores."


def _differences(results: Sequence[CaseResult]) -> Iterator[str]:
    """The worst first."""
    parted = [(result, parting) for result in results for parting in result.partings]
    parted.sort(key=lambda found: found[1].verdict.agrees)
    for result, parting in parted[:_SHOWN]:
        yield ""
        yield f"{_sign(parting.verdict)} {_code(result.case.title)}"
        yield ""
        yield from _fenced(printable(parting_text(parting)))
    if len(parted) > _SHOWN:
        yield ""
        yield f"... and {len(parted) - _SHOWN} more; `--json` lists them all."


def _all_cases(results: Sequence[CaseResult]) -> Iterator[str]:
    yield ""
    yield f"<details><summary>All {len(results)} cases</summary>"
    yield ""
    yield from _table(
        ["case", "verdict", "score difference"],
        [
            [
                _code(result.case.title),
                f"{_sign(result.verdict)} {result.verdict.value}",
                "" if result.partings else f"{result.score_difference:.0e}",
            ]
            for result in results
        ],
    )
    yield ""
    yield "</details>"


def _sign(verdict: Verdict) -> str:
    return _SIGNS.get(verdict, "❌")


def _table(titles: Sequence[str], rows: Sequence[Sequence[object]]) -> Iterator[str]:
    for cells in (titles, ["---"] * len(titles), *rows):
        # a table's cells are split before code is told from text
        yield "| " + " | ".join(str(cell).replace("|", r"\|") for cell in cells) + " |"


def _code(text: str) -> str:
    """A span of code, which holds any text but a line's end."""
    text = " ".join(printable(text).split()) or " "
    fence = "`" * (1 + max(map(len, re.findall("`+", text)), default=0))
    pad = " " if text.startswith("`") or text.endswith("`") else ""
    return f"{fence}{pad}{text}{pad}{fence}"


def _fenced(text: str) -> Iterator[str]:
    yield "```text"
    yield text
    yield "```"
