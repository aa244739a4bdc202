"""Parity reports as JUnit XML, which CI servers show as tests."""

from __future__ import annotations

from collections.abc import Sequence
from xml.etree import ElementTree
from xml.etree.ElementTree import Element, SubElement

from beamgen.parity.compared import Compared, printable
from beamgen.parity.report import CaseResult, Parting, Verdict


def junit_report(compared: Sequence[Compared]) -> str:
    """One suite for each report, one test for each case; a case that diverged is a failure.

    A near-tie passes; where the two part stands in the output of its test and of its suite.

    Source: the schema of Jenkins' xunit plug-in, junit-10.xsd.
    """
    root = Element("testsuites", name="beamgen parity")
    suites = [_suite(root, each) for each in compared]
    for count in ("tests", "failures", "errors"):
        root.set(count, str(sum(int(suite.get(count, "0")) for suite in suites)))
    ElementTree.indent(root)
    text = ElementTree.tostring(root, encoding="unicode")
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{text}\n'


def _suite(root: Element, compared: Compared) -> Element:
    results = compared.report.results
    failed = [result for result in results if not result.verdict.agrees]
    # no case alone: in none of them was there anything to compare
    as_a_whole = not compared.report.verdict.agrees and not failed
    suite = SubElement(
        root,
        "testsuite",
        name=printable(f"{compared.name}, {compared.grid} grid"),
        tests=str(len(results) + as_a_whole),
        failures=str(len(failed) + as_a_whole),
        errors="0",
        skipped="0",
    )
    properties = SubElement(suite, "properties")
    counts = {verdict.value: str(compared.report.count(verdict)) for verdict in Verdict}
    for name, value in {
        "verdict": compared.report.verdict.value,
        **counts,
        **compared.facts,
    }.items():
        SubElement(properties, "property", name=name, value=printable(value))
    width = len(str(len(results)))
    for number, result in enumerate(results, start=1):
        _case(suite, compared, f"{number:0{width}} {result.case.title}", result)
    if as_a_whole:
        verdict = compared.report.verdict.value
        test = SubElement(suite, "testcase", classname=_classname(compared), name="all cases")
        SubElement(test, "failure", type=verdict, message=verdict)
    noted = [result for result in results if result.verdict.agrees and _told(result)]
    if noted:
        SubElement(suite, "system-out").text = printable("\n".join(map(_told, noted)))
    return suite


def _case(suite: Element, compared: Compared, name: str, result: CaseResult) -> None:
    test = SubElement(
        suite,
        "testcase",
        classname=_classname(compared),
        name=printable(name),
    )
    told = printable(_told(result))
    if not result.verdict.agrees:
        first = next((p for p in result.partings if not p.verdict.agrees), None)
        SubElement(
            test,
            "failure",
            type=result.verdict.value,
            message=printable(_headline(first) if first else result.verdict.value),
        ).text = told
    elif told:
        SubElement(test, "system-out").text = told


def _classname(compared: Compared) -> str:
    return printable(f"{compared.name}.{compared.grid}")


def _told(result: CaseResult) -> str:
    """All that is to be said of a case, "" of one that is exact."""
    if result.verdict is Verdict.EXACT:
        return ""
    parts = [f"{result.verdict.value}: {result.case.title}", *map(parting_text, result.partings)]
    return "\n".join(parts)


def _headline(parting: Parting) -> str:
    return f"{parting.verdict.value} at step {parting.step}, row {parting.row}: {parting.reason}"


def parting_text(parting: Parting) -> str:
    """Where two searches part, and the tokens that each kept there, in three lines."""
    return (
        f"{_headline(parting)}\n"
        f"  file {parting.ours} score {parting.our_score}\n"
        f"  HF   {parting.reference} score {parting.reference_score}, margin {parting.margin}"
    )
