"""``beamgen batch``: generate for every row of a file."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

import beamgen
from beamgen.cli._constraint import constraint_options, taken_constraint, with_ids
from beamgen.cli._options import LocalPath, common
from beamgen.cli._print import ERR, print_json
from beamgen.cli._sections import SEARCH_SETTINGS, SectionedCommand, section
from beamgen.cli._settings import chosen_settings, search_settings

#: Seconds between two lines where there is no terminal.
_A_LINE_EVERY = 60.0

_UNITS = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30}


class _Bytes(click.ParamType[int]):
    """A size: 512M, 2G."""

    name = "SIZE"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """See ``click.ParamType``."""
        found = re.fullmatch(r"(\d+)([kmg]?)i?b?", str(value).lower())
        if found is None:
            self.fail(f"{value!r} is no size such as 512M or 2G", param, ctx)
        return int(found[1]) * _UNITS[found[2]]


@click.command(
    cls=SectionedCommand,
    short_help="Generate for every row of a file.",
    epilog="""\b
Examples:
  beamgen batch -m biogpt-onnx --input prompts.jsonl --output answers
  beamgen batch -m gpt2-onnx --input prompts.csv --column question --output answers
  beamgen batch -m t5-onnx --input texts.parquet --output german --num-return-sequences 4
  beamgen batch -m phi3-onnx --input chats.jsonl --column messages --output answers --chat
  beamgen batch -m gpt2-onnx --input prompts.txt --output answers --engine ray
""",
)
@click.option("-m", "--model", required=True, help="Package folder that `export` wrote.")
@click.option(
    "-i", "--input", "source", required=True, type=LocalPath(), metavar="FILE",
    help="JSONL, CSV, TSV, TXT (a prompt on each line) or Parquet.",
)  # fmt: skip
@click.option(
    "-o", "--output", required=True, type=LocalPath(), metavar="DIR",
    help="Folder of the results, new or of the same job.",
)  # fmt: skip
@section(
    "Prompts",
    click.option(
        "--column",
        default="text",
        show_default=True,
        help="Of the prompts: texts, token ids or chat messages.",
    ),
    click.option(
        "--input-format",
        type=click.Choice(["jsonl", "csv", "tsv", "txt", "parquet"]),
        help="Where the name of the input does not say it.",
    ),
    click.option("--chat", is_flag=True, help="Put texts through the chat template."),
    click.option(
        "--no-special-tokens",
        is_flag=True,
        help="Leave out what the tokenizer puts around every text, such as a BOS or an EOS.",
    ),
    click.option(
        "--decoder-prompt",
        metavar="TEXT",
        help="Of an encoder-decoder, which reads the prompts: with what the decoder goes on.",
    ),
    click.option("--src-lang", metavar="CODE", help="The language of texts, such as eng_Latn."),
    click.option("--tgt-lang", metavar="CODE", help="The language to translate into."),
    click.option("--lora", help="A LoRA of the package, for all rows."),
    click.option(
        "--no-settings-from-columns",
        is_flag=True,
        help="Carry columns called like a setting along as any other.",
    ),
)
@section("What may be written", constraint_options)
@section(
    "How it runs",
    click.option(
        "--format",
        type=click.Choice(["jsonl", "parquet"]),
        help="Of the results.  [default: as the input is, or jsonl]",
    ),
    click.option(
        "--batch-size",
        type=click.IntRange(min=1),
        help="Rows searched together at most.  [default: by beams and memory]",
    ),
    click.option(
        "--memory", type=_Bytes(), help="What a batch may take beside the weights: 512M, 2G."
    ),
    click.option(
        "--processes",
        type=click.IntRange(min=1),
        help="[default: one per core, if their weights have room]",
    ),
    click.option("--threads", type=click.IntRange(min=1), help="Of each process."),
    click.option("--provider", multiple=True, help="ONNX Runtime execution provider; repeatable."),
    click.option("--no-verify", is_flag=True, help="Do not compare files with their hashes."),
)
@section(
    "On Ray",
    click.option(
        "--engine",
        type=click.Choice(["local", "ray"]),
        default="local",
        show_default=True,
        help="This machine's processes, or actors of Ray Data.",
    ),
    click.option("--ray-address", help="A cluster that is there.  [default: one for this job]"),
    click.option(
        "--actors", type=click.IntRange(min=1), help="[default: as many as cores are here]"
    ),
    click.option(
        "--cpus-per-actor", type=float, default=1.0, show_default=True, help="Parts of one, too."
    ),
    click.option(
        "--gpus-per-actor", type=float, default=0.0, show_default=True, help="Parts of one, too."
    ),
)
@section(SEARCH_SETTINGS, search_settings)
@common
def command(
    model: str,
    source: Path,
    output: Path,
    no_special_tokens: bool,
    no_settings_from_columns: bool,
    provider: tuple[str, ...],
    no_verify: bool,
    as_json: bool,
    **values: Any,
) -> None:
    """Generate for every row of a file, in batches; each gets what it would get alone.

    Writes results.jsonl (or .parquet) in the order of the input, with all its columns, and
    failed.jsonl with the rows that could not be searched and the reason. Killed at any moment,
    the same command goes on where it was. A column called like a setting, `lora` or
    `decoder_prompt` holds each row's own. Exit code 1 where no row could be searched.
    """
    ways = {name: values.pop(name) for name in _WAYS}
    said = taken_constraint(values)
    settings = chosen_settings(values)
    if said:
        reader = beamgen.Generator(beamgen.open_package(model, verify=False), load=False)
        settings |= with_ids(reader, said)
    with _shown() as tell:
        report = beamgen.batch(
            model,
            source,
            output,
            add_special_tokens=not no_special_tokens,
            settings_from_columns=not no_settings_from_columns,
            providers=provider or None,
            verify=not no_verify,
            progress=tell,
            **ways,
            **settings,
        )
    if as_json:
        print_json({name: _plain(value) for name, value in asdict(report).items()})
    else:
        click.echo(_summary(report))
    if not report.answered_rows:
        raise beamgen.BeamgenError(
            f"none of {report.rows:,} rows could be searched", f"see {report.failed}"
        )


#: Options that the function takes as they are.
_WAYS = (
    "column", "input_format", "format", "chat", "decoder_prompt", "src_lang", "tgt_lang", "lora",
    "batch_size", "memory", "processes", "threads", "engine", "ray_address", "actors",
    "cpus_per_actor", "gpus_per_actor",
)  # fmt: skip


def _plain(value: Any) -> Any:
    return str(value) if isinstance(value, Path) else value


def _summary(report: beamgen.BatchReport) -> str:
    now = report.answered_rows + report.failed_rows - report.resumed_rows
    lines = [f"{report.results}: {report.answered_rows:,} rows"]
    if report.failed_rows:
        lines.append(f"{report.failed}: {report.failed_rows:,} rows that could not be searched")
    if not now:
        return "\n".join([*lines, "it was done before"])
    rate = (
        f"{now / report.seconds:.1f} rows and {report.tokens / report.seconds:,.0f} tokens a second"
    )
    earlier = f", {report.resumed_rows:,} by earlier runs" if report.resumed_rows else ""
    lines.append(f"{now:,} rows in {_time(report.seconds)}{earlier}: {rate}; {report.engine}")
    return "\n".join(lines)


@contextmanager
def _shown() -> Iterator[Callable[[beamgen.BatchProgress], None]]:
    """A bar on a terminal, and a line a minute elsewhere."""
    if ERR.is_terminal:
        with _bar() as tell:
            yield tell
    else:
        yield _Lines()


@contextmanager
def _bar() -> Iterator[Callable[[beamgen.BatchProgress], None]]:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
        TextColumn("[red]{task.fields[failed]}"),
    )
    with Progress(*columns, console=ERR, transient=True) as bar:
        task = bar.add_task("", total=None, rate="", failed="")
        heading = ""

        def tell(now: beamgen.BatchProgress) -> None:
            nonlocal heading
            if _heading(now) != heading:
                heading = _heading(now)
                bar.console.print(heading)
            bar.update(
                task,
                description=now.stage,
                total=now.rows or None,
                completed=now.done,
                rate=_rate(now),
                failed=f"{now.failed:,} failed" if now.failed else "",
            )

        yield tell


class _Lines:
    """What a log is told."""

    def __init__(self) -> None:
        self._told, self._heading = time.monotonic(), ""

    def __call__(self, now: beamgen.BatchProgress) -> None:
        if _heading(now) != self._heading:
            self._heading = _heading(now)
            click.echo(self._heading, err=True)
        if time.monotonic() - self._told < _A_LINE_EVERY:
            return
        self._told = time.monotonic()
        failed = f", {now.failed:,} failed" if now.failed else ""
        left = _left(now)
        click.echo(
            f"{now.done:,} of {now.rows:,} rows{failed}, {_rate(now)}"
            f"{f', {_time(left)} left' if left is not None else ''}",
            err=True,
        )


def _heading(now: beamgen.BatchProgress) -> str:
    if not now.engine:
        return ""
    own = f"; settings from columns: {', '.join(now.settings)}" if now.settings else ""
    resumed = f"; {now.resumed:,} were done before" if now.resumed else ""
    return f"{now.rows:,} rows, {now.engine}{own}{resumed}"


def _rate(now: beamgen.BatchProgress) -> str:
    done = now.done - now.resumed
    return f"{done / now.seconds:.1f} rows/s" if done and now.seconds else ""


def _left(now: beamgen.BatchProgress) -> float | None:
    """Seconds, if it goes on like that."""
    done = now.done - now.resumed
    return (now.rows - now.done) * now.seconds / done if done else None


def _time(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
