"""What commands print: JSON, verdicts and the stage at hand."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import click
from rich.console import Console
from rich.table import Table

import beamgen

#: Results go to stdout, everything about the way there to stderr.
OUT = Console(highlight=False, soft_wrap=True)
ERR = Console(stderr=True, highlight=False)


@contextmanager
def status(first: str) -> Iterator[Callable[[str], None]]:
    """Show the stage at hand in one line, on a terminal only."""
    if not ERR.is_terminal:
        yield lambda line: None
        return
    with ERR.status(first) as spinner:
        yield spinner.update


def print_json(value: Any) -> None:
    """Print one JSON document on stdout."""
    click.echo(json.dumps(finite(value), indent=2, ensure_ascii=False, allow_nan=False))


def finite(value: Any) -> Any:
    """A value with null for numbers that JSON has none of: not-a-number and infinities."""
    if isinstance(value, dict):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def print_precision(precision: beamgen.Precision) -> None:
    """Print how the weights are stored, and what that costs; nothing in fp32."""
    if precision.name == "fp32":
        return
    click.echo(str(precision))
    click.echo(f"quality: {precision.quality}")
    if precision.noise is not None:
        click.echo(
            f"noise: {precision.noise:.1e} in a token's log-probability, from values at the border "
            "of two numbers; parity allows twice that"
        )


def print_check(check: beamgen.Check) -> None:
    """Print in one line whether something written holds, or what else there is to know."""
    word, colour = {
        True: ("verified", "green"),
        False: ("DIFFERS", "red"),
        None: ("note", "yellow"),
    }[check.passed]
    OUT.print(f"[{colour}]{word}[/]: ", end="")
    OUT.print(check.what, markup=False)


_SHOWN_PARTINGS, _SHOWN_IDS = 5, 1
_COLOURS = {"exact": "green", "contrib rule": "cyan", "near-tie": "yellow",
            "nothing compared": "red", "diverged": "red"}  # fmt: skip


def _ids(ids: Sequence[int]) -> str:
    """As many as a narrow terminal has room for in one line."""
    more = f" +{len(ids) - _SHOWN_IDS}" if len(ids) > _SHOWN_IDS else ""
    return " ".join(map(str, ids[:_SHOWN_IDS])) + more


def print_parity(report: beamgen.ParityReport, lora: str | None = None) -> None:
    """Print a small table of all cases, where they part from HF, and the verdict below them."""
    table = Table(box=None, pad_edge=False)
    for title in ("parity case", "beams", "penalty", "stop", "EOS ids", "verdict", "diff"):
        # the ids give way on a narrow terminal, the figure does not
        table.add_column(
            title, no_wrap=title != "EOS ids", min_width=5 if title == "diff" else None
        )
    for result in report.results:
        config, verdict = result.case.config, result.verdict.value
        table.add_row(
            result.case.name,
            str(config.num_beams),
            f"{config.length_penalty:g}",
            str(config.early_stopping),
            _ids(config.eos_token_id),
            f"[{_COLOURS[verdict]}]{verdict}[/]",
            "" if result.partings else f"{result.score_difference:.0e}",
        )
    OUT.print(table)
    partings = [(result, parting) for result in report.results for parting in result.partings]
    for result, parting in partings[:_SHOWN_PARTINGS]:
        OUT.print(
            f"{parting.verdict.value} at step {parting.step}, row {parting.row} of "
            f"{result.case.title}: {parting.reason}\n"
            f"  file {parting.ours} score {parting.our_score}\n"
            f"  HF   {parting.reference} score {parting.reference_score}"
            f", margin {parting.margin}",
            markup=False,
        )
    if len(partings) > _SHOWN_PARTINGS:
        OUT.print(f"... and {len(partings) - _SHOWN_PARTINGS} more; --json lists them all")
    verdict = report.verdict.value
    rare = ("contrib rule", "nothing compared")
    kinds = [v for v in type(report.verdict) if v.value not in rare or report.count(v)]
    counts = ", ".join(f"{report.count(v)} {v.value}" for v in kinds)
    if any(v.value == "contrib rule" for v in kinds):
        counts += f"; the tokens are HF's in {report.same_tokens}"
    OUT.print(
        f"{f'{lora}: ' if lora else ''}parity with transformers "
        f"{'+ peft' if lora else 'generate'}: [{_COLOURS[verdict]}]{verdict}[/] "
        f"({len(report.results)} cases: {counts})"
    )
    if report.forgetful_default:
        OUT.print(
            f"compared with {report.attention} attention: {report.forgetful_default}, "
            "transformers' default, computes something else with this config"
        )


def told_decoder(record: Mapping[str, Any]) -> str:
    """A decoder file of somebody else's, as a manifest has it, in one line."""
    producer = f" of {record['producer']}" if record["producer"] else ""
    return f"{record['file']}{producer}, SHA-256 {record['sha256']}"
