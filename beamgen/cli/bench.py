"""``beamgen bench``: the time that a search takes here, and in other runtimes."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.markup import escape
from rich.table import Table

import beamgen
from beamgen.cli._options import LocalPath, common, ignore_unread
from beamgen.cli._print import print_json, status
from beamgen.cli._sections import SectionedCommand, section


@click.command(
    cls=SectionedCommand,
    short_help="Time the search against other runtimes, tokens compared.",
    epilog="""\b
Examples:
  beamgen bench
  beamgen bench -m ./my-gpt2 --prompt-tokens 512 --new-tokens 64
  beamgen bench --shape biogpt --against ctranslate2,optimum-intel --batch-size 4
  beamgen bench --shape t5 --workload 128+64 --workload 512+64
  beamgen bench --workload 64+64 --workload 512+64 --workload 64+256 -o bench
  beamgen bench --busy --against beamgen,optimum-intel
  beamgen bench --against all --workdir /tmp/bench-gpt2 --turns 5 --json
""",
)
@section(
    "Who searches, and what",
    click.option(
        "-m", "--model", help="Checkpoint folder or hub id.  [default: random weights, see --shape]"
    ),
    click.option(
        "--shape",
        metavar="NAME",
        help="Random weights in the shape of gpt2, biogpt, phi3, t5, marian, or any adapter that "
        "has a full_config.  [default: the smallest decoder, GPT-2 small]",
    ),
    click.option(
        "--against",
        multiple=True,
        metavar="NAME,...|all",
        help=f"Who runs besides transformers; repeatable: {', '.join(beamgen.CONTESTANTS[1:])}.  "
        "[default: all that are installed]",
    ),
    click.option(
        "--prompt-tokens", type=int, help="Of each prompt, or what an encoder reads.  [default: 64]"
    ),
    click.option("--new-tokens", type=int, help="Generated for each prompt.  [default: 64]"),
    click.option(
        "--workload",
        "workloads",
        multiple=True,
        metavar="PROMPT+NEW",
        help="Instead of those two, and repeatable: several in one bench.",
    ),
    click.option("--num-beams", default=5, show_default=True, help="Beams per prompt."),
    click.option("--batch-size", default=1, show_default=True, help="Prompts searched together."),
    click.option("--seed", default=0, show_default=True, help="Of the prompts."),
)
@section(
    "How it is timed",
    click.option("--threads", type=int, help="Of every contestant.  [default: all cores]"),
    click.option(
        "--turns", default=3, show_default=True, help="Processes per contestant, taking turns."
    ),
    click.option("--runs", default=3, show_default=True, help="Timed searches per process."),
    click.option(
        "--timeout", default=3600.0, show_default=True, help="Seconds that one process may take."
    ),
    click.option(
        "--busy",
        type=int,
        is_flag=False,
        flag_value=1,
        default=0,
        metavar="[CORES]",
        help="Search once more in each turn while other processes keep a core busy, or so many.",
    ),
)
@click.option(
    "--workdir",
    type=LocalPath(file_okay=False),
    help="Keep the contestants' files there, for a bench to come.  [default: a temporary folder]",
)
@click.option(
    "-o",
    "--output",
    type=LocalPath(file_okay=False),
    help="Write bench.json and bench.svg into this folder.",
)
@click.option("--force", is_flag=True, help="Replace those two.")
@click.option("--trust-remote-code", is_flag=True, help="Run Python code of the checkpoint.")
@ignore_unread
@common
@click.pass_context
def command(
    ctx: click.Context,
    /,
    against: tuple[str, ...],
    prompt_tokens: int | None,
    new_tokens: int | None,
    workloads: tuple[str, ...],
    output: Path | None,
    force: bool,
    as_json: bool,
    **values: Any,
) -> None:
    """Time one beam search in every runtime that is installed: same weights, same prompts.

    Each contestant searches in processes of its own, which take turns. Its time counts
    only if its tokens are those of transformers' generate(); quantized weights have
    tokens of their own. No EOS comes, so all of them take all steps.

    Contestants called -int8 or -int4 have quantized weights, those called -default compute
    in the precision that their library chooses by itself. ortmodel is optimum's search over
    ONNX Runtime, genai is onnxruntime-genai. pip install 'beamgen[bench]' brings them all.

    Exit code 3: a float32 file of beamgen's has other tokens than transformers.
    """
    if workloads and (prompt_tokens is not None or new_tokens is not None):
        raise beamgen.BeamgenError(
            "--workload says both lengths, and others were given",
            "leave out --prompt-tokens and --new-tokens, or --workload",
        )
    asked = workloads or (
        f"{64 if prompt_tokens is None else prompt_tokens}"
        f"+{64 if new_tokens is None else new_tokens}",
    )
    if output is not None and not force:
        there = [path for path in (output / "bench.json", output / "bench.svg") if path.exists()]
        if there:
            raise beamgen.BeamgenError(f"{there[0]} exists", "pass --force to replace it")
    names = [name for each in against for name in each.replace(",", " ").split()]
    with status("starting") as progress:
        report = beamgen.bench(
            against=names or None,
            workloads=asked,
            command=["beamgen", *sys.argv[1:]],
            progress=progress,
            **values,
        )
    written = report.write(output) if output is not None else []
    if as_json:
        print_json(report.to_json())
    else:
        _show(report)
        for path in written:
            click.echo(f"wrote {path}")
    ctx.exit(report.exit_code)


def _show(report: beamgen.BenchReport) -> None:
    settings, machine = report.settings, report.machine
    flags = ", ".join(name for name, there in machine["flags"].items() if there) or "flags unknown"
    weights = report.model["weight_bytes"] / 1e6
    encoder = report.model["encoder_bytes"]
    once = "" if encoder is None else f", {encoder / 1e6:.0f} MB of the encoder once"
    click.secho(report.model["name"], bold=True, nl=False)
    click.echo(
        f"  {report.model['parameters'] / 1e6:.1f} million parameters, {settings['num_beams']} "
        f"beams, batch {settings['batch_size']}, threads: {settings['threads']}"
    )
    click.echo(f"{machine['cpu']} ({flags}), {machine['cores']} cores")
    click.echo(
        f"medians of {settings['turns'] * settings['runs']} runs (turns: {settings['turns']}); "
        f"floor: {weights:.0f} MB of float32 weights a step{once}, and the cache, at "
        f"{report.bandwidth / 1e9:.1f} GB/s"
    )
    for result in report.results:
        click.echo()
        _show_result(result)
    if report.below_floor:
        click.echo(
            "note: a float32 row is below the floor: something else ran while the bandwidth was "
            "measured, or the weights fit into a cache"
        )
    click.echo()
    for verdict, meaning in report.legend.items():
        click.echo(f"{verdict}: {meaning}")
    click.echo("N of M equal: so many first tokens are transformers' in every run")
    click.echo("first s: a search with one new token; ms/step: of the steps after it")
    if settings["busy"]:
        click.echo(f"busy s: while other processes keep cores busy: {settings['busy']}")
    click.echo("load s: imports and model; peak MB: of the process; x floor: times the floor")
    click.echo(f"again: {shlex.join(report.command)}")


_SPEED = ("seconds", "min-max", "x HF", "x beamgen", "tokens/s", "first s", "ms/step", "x floor")
_BUSY = ("busy s", "busy/quiet")
_COST = ("load s", "peak MB", "files MB")

#: No terminal is as wide as a table may be; on a narrow one its lines wrap.
_WIDE = Console(width=1000, highlight=False)


def _show_result(result: Any) -> None:
    table = Table(
        title=f"{result.workload} tokens; floor {result.floor_seconds:.2f} s",
        box=None,
        pad_edge=False,
        title_justify="left",
    )
    table.add_column("contestant", no_wrap=True)
    busy = any(row.busy is not None for row in result.rows)
    for title in (*_SPEED, *(_BUSY if busy else ()), *_COST):
        table.add_column(title, justify="right", no_wrap=True)
    table.add_column("tokens", no_wrap=True)
    reasons = []
    for row in result.rows:
        if row.median is None:
            reasons.append(f"{row.contestant}: {row.verdict}: {row.reason}")
            continue
        seconds = f"{row.median:.2f}"
        cells = [
            row.contestant,
            seconds if row.comparable else f"({seconds})",
            f"{min(row.seconds):.2f}-{max(row.seconds):.2f}",
            _number(result.times_as_fast(row, "transformers"), 2),
            _number(result.times_as_fast(row, "beamgen"), 2),
            _number(row.tokens_per_second, 1),
            _number(row.first, 3),
            _number(row.ms_per_step, 1),
            _number(row.times_floor, 2),
            *([_number(row.busy, 2), _number(row.slowed, 2)] if busy else ()),
            _number(row.load, 1),
            _number(row.peak_bytes / 1e6, 0),
            _number(row.file_bytes / 1e6, 0),
            row.verdict.removesuffix(" tokens") + _equal(row),
        ]
        table.add_row(*map(escape, cells), style=None if row.comparable else "dim")
    _WIDE.print(table)
    for reason in reasons:
        click.echo(reason)


def _equal(row: Any) -> str:
    """How many first tokens equal those of transformers, where not all have to."""
    return "" if row.verdict == "same tokens" else f", {row.equal_tokens} of {row.new_tokens} equal"


def _number(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:.{digits}f}"
