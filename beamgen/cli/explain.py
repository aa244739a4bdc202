"""``beamgen explain``: why a search found what it found."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

import beamgen
from beamgen.cli._options import common, parse_ids
from beamgen.cli._print import print_json, status
from beamgen.cli._sections import SEARCH_SETTINGS, SectionedCommand, section
from beamgen.cli._settings import chosen_settings, search_settings

#: Columns for what a token comes after, and for itself.
_AFTER, _TOKEN = 20, 12

_COLOURS = {"kept": "cyan", "finished": "green", "dropped": None}


@click.command(
    cls=SectionedCommand,
    short_help="Show the beams of one generation, and why the winner won.",
    epilog="""\b
Examples:
  beamgen explain -m biogpt-onnx -p "aspirin is" --max-new-tokens 8
  beamgen explain -m biogpt-onnx -p "aspirin is" -o beams.html
  beamgen explain -m biogpt-onnx -p "aspirin is" --num-beams 3 -o beams.svg
""",
)
@click.option("-m", "--model", required=True, help="Package folder that `export` wrote.")
@click.option("-p", "--prompt", help="The prompt, as text.")
@click.option("--ids", help="The prompt, as token ids.")
@click.option("--chat", is_flag=True, help="Put the prompt through the chat template.")
@click.option("--lora", help="Search with this LoRA of the package.")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write a page (.html) or a picture (.svg) instead of text.",
)
@click.option("--force", is_flag=True, help="Replace an existing file.")
@section(SEARCH_SETTINGS, search_settings)
@common
def command(
    model: str,
    prompt: str | None,
    ids: str | None,
    chat: bool,
    lora: str | None,
    output: Path | None,
    force: bool,
    as_json: bool,
    **values: Any,
) -> None:
    """Search once, and show what each step kept, finished and dropped, and why.

    Takes the settings of `generate`. The hypotheses are those that it gives; all that
    the search held are shown, unless --num-return-sequences says how many.
    """
    if (prompt is None) == (ids is None):
        raise beamgen.BeamgenError("there has to be one prompt", 'pass -p "TEXT" or --ids "1 2 3"')
    if output is not None:
        _check_output(output, force)
    with status(f"loading {model}"):
        told = beamgen.explain(
            model,
            prompt if prompt is not None else parse_ids(ids or ""),
            chat=chat,
            lora=lora,
            **chosen_settings(values),
        )
    if output is not None:
        draw = beamgen.svg if output.suffix == ".svg" else beamgen.page
        output.write_text(draw(told), encoding="utf-8")
    if as_json:
        print_json(told.to_json())
    elif output is not None:
        click.echo(f"{output}: {len(told.steps)} steps, {len(told.hypotheses)} hypotheses")
    else:
        _show(told)


def _check_output(output: Path, force: bool) -> None:
    if output.suffix not in (".html", ".svg"):
        raise beamgen.BeamgenError(
            f"{output} is neither a page nor a picture", "end its name in .html or .svg"
        )
    if output.exists() and not force:
        raise beamgen.BeamgenError(f"{output} exists", "pass --force to replace it")
    if not output.parent.is_dir():
        raise beamgen.BeamgenError(f"there is no folder {output.parent}", "make it first")


def _show(told: beamgen.Explanation) -> None:
    click.secho(
        _visible(told.text) if told.text is not None else " ".join(map(str, told.ids)), bold=True
    )
    click.echo(", ".join(f"{name} {value}" for name, value in told.settings.items()))
    heads = f"{'after':>{_AFTER}} | {'token':{_TOKEN}}   log-prob     summed     score"
    click.echo(f"\n    {heads}")
    for step in told.steps:
        click.echo(f"step {step.step}")
        for continuation in step.continuations:
            click.echo(_line(told, step.step, continuation))
        for at, rank in step.displaced:
            left = told.text_of(at, told.at(at, rank))
            click.echo(f"  displaced: the hypothesis {left!r}")
    click.echo(f"\nthe search ended: {told.stopped}\n")
    for found in told.hypotheses:
        text = _visible(found.text) if found.text is not None else " ".join(map(str, found.ids))
        click.echo(f"{found.rank + 1:3}  {found.score:9.4f}  {text}  ({found.finish_reason})")
    click.echo()
    for line in told.why:
        click.echo(line)


def _line(told: beamgen.Explanation, step: int, c: Any) -> str:
    """Columns for a wide terminal; nothing is cut at the end of the line."""
    parent = told.parent(step, c)
    before = _tail("" if parent is None else told.text_of(step - 1, parent))
    ended = "" if c.hypothesis_score is None else f"{c.hypothesis_score:.4f}"
    fate = click.style(c.fate, fg=_COLOURS[c.fate], dim=c.fate == "dropped")
    won = click.style(" <- the winner's", fg="yellow") if (step, c.rank) in told.winning else ""
    return (
        f"{c.rank + 1:3} {before:>{_AFTER}} | {_visible(c.text):{_TOKEN}} "
        f"{c.log_prob:10.4f} {c.score:10.4f} {ended:>9}  {fate}: {c.reason}{won}"
    )


def _tail(text: str) -> str:
    """As much of the end as the column holds."""
    line = _visible(text)
    return line if len(line) <= _AFTER else f"…{line[1 - _AFTER :]}"


def _visible(text: str) -> str:
    """On one line, without what would move a terminal's cursor."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)
