"""``beamgen explain``: why a search found what it found."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

import beamgen
from beamgen.cli._constraint import pattern_options, taken_constraint
from beamgen.cli._options import (
    LocalPath,
    check_reads,
    check_takes_special_tokens,
    common,
    decoder_prompt_options,
    language_options,
    parse_decoder_prompt,
    parse_ids,
)
from beamgen.cli._print import print_json, status
from beamgen.cli._sections import SEARCH_SETTINGS, SectionedCommand, section
from beamgen.cli._settings import chosen_settings, search_settings, speech_settings

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
  beamgen explain -m whisper-onnx --audio hello.wav --language en
""",
)
@click.option("-m", "--model", required=True, help="Package folder that `export` wrote.")
@click.option("-p", "--prompt", help="The prompt, as text.")
@click.option("--ids", help="The prompt, as token ids.")
@decoder_prompt_options
@language_options
@click.option("--chat", is_flag=True, help="Put the prompt through the chat template.")
@click.option(
    "--no-special-tokens", is_flag=True, help="Without what the tokenizer puts around a text."
)
@section(
    "Speech",
    click.option(
        "--audio",
        type=LocalPath(),
        metavar="FILE",
        help="What a model that hears is to write down.",
    ),
    speech_settings,
)
@click.option("--lora", help="Search with this LoRA of the package.")
@click.option(
    "-o",
    "--output",
    type=LocalPath(dir_okay=False),
    help="Write a page (.html) or a picture (.svg) instead of text.",
)
@click.option("--force", is_flag=True, help="Replace an existing file.")
@section("What may be written", pattern_options)
@section(SEARCH_SETTINGS, search_settings)
@common
def command(
    model: str,
    prompt: str | None,
    ids: str | None,
    decoder_prompt: str | None,
    decoder_ids: str | None,
    src_lang: str | None,
    tgt_lang: str | None,
    chat: bool,
    no_special_tokens: bool,
    audio: Path | None,
    language: str | None,
    task: str | None,
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
    if sum(given is not None for given in (prompt, ids, audio)) != 1:
        raise beamgen.BeamgenError(
            "there has to be one prompt", 'pass -p "TEXT", --ids "1 2 3" or --audio FILE.wav'
        )
    if audio is None:
        check_reads(beamgen.open_package(model, verify=False))
    if no_special_tokens:
        check_takes_special_tokens(chat, prompt is not None)
    said = taken_constraint(values)
    if output is not None:
        _check_output(output, force)
    with status(f"loading {model}"):
        explanation = beamgen.explain(
            model,
            audio or (prompt if prompt is not None else parse_ids(ids or "")),
            decoder_prompt=parse_decoder_prompt(decoder_prompt, decoder_ids),
            src_lang=src_lang,
            tgt_lang=tgt_lang,
            chat=chat,
            add_special_tokens=not no_special_tokens,
            language=language,
            task=task,
            lora=lora,
            **chosen_settings(values),
            **said,
        )
    if output is not None:
        explanation.write(output)
    if as_json:
        print_json(explanation.to_json())
    elif output is not None:
        steps, hypotheses = len(explanation.steps), len(explanation.hypotheses)
        click.echo(f"{output}: {steps} steps, {hypotheses} hypotheses")
    else:
        _show(explanation)


def _check_output(output: Path, force: bool) -> None:
    if output.suffix not in (".html", ".svg"):
        raise beamgen.BeamgenError(
            f"{output} is neither a page nor a picture", "end its name in .html or .svg"
        )
    if output.exists() and not force:
        raise beamgen.BeamgenError(f"{output} exists", "pass --force to replace it")
    if not output.parent.is_dir():
        raise beamgen.BeamgenError(f"there is no folder {output.parent}", "make it first")


def _show(explanation: beamgen.Explanation) -> None:
    if explanation.source_ids is not None:
        source = _shown_text(explanation.source_text, explanation.source_ids)
        click.secho(source, bold=True)
    if explanation.source_ids is None or explanation.text != "":
        click.secho(_text(explanation), bold=True)
    click.echo(", ".join(f"{name} {value}" for name, value in explanation.settings.items()))
    heads = f"{'after':>{_AFTER}} | {'token':{_TOKEN}}   log-prob     summed     score"
    click.echo(f"\n    {heads}")
    for step in explanation.steps:
        told = ""
        if explanation.forbidden is not None:
            counts = explanation.forbidden[step.step - 1]
            told = f": {_forbade(counts, explanation.vocab_size)}"
        click.echo(f"step {step.step}{told}")
        for continuation in step.continuations:
            click.echo(_line(explanation, step.step, continuation))
        for at, rank in step.displaced:
            left = explanation.text_of(at, explanation.at(at, rank))
            click.echo(f"  displaced: the hypothesis {left!r}")
    click.echo(f"\nthe search ended: {explanation.stopped}\n")
    for found in explanation.hypotheses:
        click.echo(
            f"{found.rank + 1:3}  {found.score:9.4f}  {_text(found)}  ({found.finish_reason})"
        )
    click.echo()
    for reason in explanation.reasons:
        click.echo(reason)


def _forbade(counts: tuple[int, ...], vocab_size: int) -> str:
    """What a constraint forbade the running beams of a step."""
    least, most = min(counts, default=vocab_size), max(counts, default=vocab_size)
    span = f"{least:,}" if least == most else f"{least:,} to {most:,}"
    return f"the constraint forbade {span} of {vocab_size:,} tokens"


def _line(explanation: beamgen.Explanation, step: int, continuation: Any) -> str:
    """Columns for a wide terminal; nothing is cut at the end of the line."""
    rank, score, fate = continuation.rank, continuation.hypothesis_score, continuation.fate
    parent = explanation.parent(step, continuation)
    before = _tail("" if parent is None else explanation.text_of(step - 1, parent))
    ended = "" if score is None else f"{score:.4f}"
    shown = click.style(fate, fg=_COLOURS[fate], dim=fate == "dropped")
    won = (step, rank) in explanation.winning
    mark = click.style(" <- the winner's", fg="yellow") if won else ""
    return (
        f"{rank + 1:3} {before:>{_AFTER}} | {_visible(continuation.text):{_TOKEN}} "
        f"{continuation.log_prob:10.4f} {continuation.score:10.4f} {ended:>9}  "
        f"{shown}: {continuation.reason}{mark}"
    )


def _text(of: Any) -> str:
    """Of a prompt or a hypothesis, which may have its ids only."""
    return _shown_text(of.text, of.ids)


def _shown_text(text: str | None, ids: Sequence[int]) -> str:
    return _visible(text) if text is not None else " ".join(map(str, ids))


def _tail(text: str) -> str:
    """As much of the end as the column holds."""
    line = _visible(text)
    return line if len(line) <= _AFTER else f"…{line[1 - _AFTER :]}"


def _visible(text: str) -> str:
    """On one line, without what would move a terminal's cursor."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)
