"""Options that several commands share, and how they are shown."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import click
from rich.console import Console
from rich.table import Table

import beamgen

Command = TypeVar("Command", bound=Callable[..., Any])

#: Results go to stdout, everything about the way there to stderr.
OUT = Console(highlight=False, soft_wrap=True)
ERR = Console(stderr=True, highlight=False)


def _remember_debug(ctx: click.Context, _: click.Parameter, value: bool) -> None:
    if value:
        ctx.meta["beamgen.debug"] = True


def common(command: Command) -> Command:
    """``--json`` and ``--debug``."""
    command = click.option(
        "--debug",
        is_flag=True,
        expose_value=False,
        callback=_remember_debug,
        help="Show a traceback with errors.",
    )(command)
    return click.option("--json", "as_json", is_flag=True, help="Print JSON.")(command)


class _EosIds(click.ParamType[Any]):
    name = "ID|none"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if value == "none":
            return None
        try:
            return int(value)
        except ValueError:
            self.fail(f"{value!r} is neither a token id nor 'none'", param, ctx)


_SEARCH_OPTIONS = (
    click.option("--num-beams", type=int, help="Beams per prompt; 1 is greedy search."),
    click.option("--num-return-sequences", type=int, help="Hypotheses returned per prompt."),
    click.option("--max-new-tokens", type=int, help="Tokens generated at most."),
    click.option("--max-length", type=int, help="Prompt + generated tokens at most."),
    click.option("--min-new-tokens", type=int, help="No EOS before that many tokens."),
    click.option("--min-length", type=int, help="No EOS before prompt + generated tokens."),
    click.option("--length-penalty", type=float, help="Exponent on the length; any sign."),
    click.option(
        "--early-stopping",
        type=click.Choice(["false", "true", "never"], case_sensitive=False),
        help="When a finished prompt stops being searched.",
    ),
    click.option(
        "--eos-token-id", type=_EosIds(), multiple=True, help="Ends a sequence; repeatable."
    ),
    click.option("--pad-token-id", type=int, help="Fills finished sequences."),
    click.option(
        "--repetition-penalty", type=float, help="Above 1 makes tokens seen before unlikely."
    ),
    click.option("--no-repeat-ngram-size", type=int, help="No n-gram comes twice."),
    click.option("--do-sample/--no-sample", default=None, help="Draw tokens, or take the best."),
    click.option("--temperature", type=float, help="Below 1 sharpens what is drawn from."),
    click.option("--top-k", type=int, help="Draw among that many tokens; 0: all.  [HF: 50]"),
    click.option("--top-p", type=float, help="Draw among the likeliest of that total."),
    click.option("--seed", type=int, help="The same seed draws the same tokens everywhere."),
    click.option(
        "--set",
        "pairs",
        multiple=True,
        metavar="NAME=VALUE",
        help="Any other setting of HF's, as JSON: --set 'bad_words_ids=[[5,9]]'.",
    ),
)


def search_settings(command: Command) -> Command:
    """HF's generation settings; collect them with ``chosen_settings``."""
    for option in reversed(_SEARCH_OPTIONS):
        command = option(command)
    return command


def quantization(command: Command) -> Command:
    """How int8 weights are stored, and on what text the loss is measured."""
    command = click.option(
        "--quality-text",
        type=click.Path(),
        metavar="FILE",
        help="Texts, one a line, on which to measure what rounding costs.",
    )(command)
    return click.option(
        "--int8-weights",
        type=click.Choice(["auto", "s8", "u8"]),
        default="auto",
        show_default=True,
        help="Signed or unsigned; auto asks this CPU which it adds exactly.",
    )(command)


def print_precision(precision: beamgen.Precision) -> None:
    """How the weights are stored, and what that costs; nothing in fp32."""
    if precision.name == "fp32":
        return
    click.echo(str(precision))
    click.echo(f"quality: {precision.quality}")
    if precision.noise is not None:
        click.echo(
            f"noise: {precision.noise:.1e} in a token's log-probability, from values at the border "
            "of two numbers; parity allows twice that"
        )


def chosen_settings(values: dict[str, Any]) -> dict[str, Any]:
    """What was given on the command line, as HF's values."""
    chosen = {name: value for name, value in values.items() if value is not None}
    further = _parse_set(chosen.pop("pairs", ()))
    stopping = chosen.get("early_stopping")
    if stopping is not None:
        chosen["early_stopping"] = {"false": False, "true": True}.get(stopping, "never")
    eos = chosen.pop("eos_token_id", ())
    if None in eos and len(eos) > 1:
        raise beamgen.BeamgenError(
            "--eos-token-id none says that there is none, and others were given", "leave one out"
        )
    if eos:
        chosen["eos_token_id"] = tuple(token for token in eos if token is not None)
    return {**further, **chosen}


def _parse_set(pairs: tuple[str, ...]) -> dict[str, Any]:
    """``--set NAME=VALUE`` pairs; a value is JSON, or else a plain string.

    ``null`` is HF's word for "as it is by default".
    """
    chosen: dict[str, Any] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not name:
            raise beamgen.BeamgenError(
                f"--set {pair} is no NAME=VALUE", "for example --set do_sample=false"
            )
        try:
            parsed = json.loads(value)
            chosen[name] = "default" if parsed is None else parsed
        except json.JSONDecodeError:
            chosen[name] = {"True": True, "False": False}.get(value, value)
    return chosen


def parse_ids(text: str) -> list[int]:
    """Token ids, separated by spaces or commas."""
    try:
        return [int(token) for token in text.replace(",", " ").split()]
    except ValueError:
        raise beamgen.BeamgenError(
            f"--ids {text!r} are not whole numbers", 'for example --ids "1 2 3"'
        ) from None


@contextmanager
def status(first: str) -> Iterator[Callable[[str], None]]:
    """A line that says what is going on, on a terminal only."""
    if not ERR.is_terminal:
        yield lambda line: None
        return
    with ERR.status(first) as spinner:
        yield spinner.update


def print_json(value: Any) -> None:
    """One JSON document on stdout."""
    click.echo(json.dumps(value, indent=2, ensure_ascii=False))


def print_check(check: beamgen.Check) -> None:
    """One line: whether something written holds, or what else there is to know."""
    word, colour = {
        True: ("verified", "green"),
        False: ("DIFFERS", "red"),
        None: ("note", "yellow"),
    }[check.passed]
    OUT.print(f"[{colour}]{word}[/]: ", end="")
    OUT.print(check.what, markup=False)


_SHOWN_PARTINGS = 5
_COLOURS = {"exact": "green", "contrib rule": "cyan", "near-tie": "yellow", "diverged": "red"}


def print_parity(report: beamgen.ParityReport, lora: str | None = None) -> None:
    """A small table, the partings, and the verdict below them."""
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
            " ".join(map(str, config.eos_token_id)),
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
    kinds = [v for v in type(report.verdict) if v.value != "contrib rule" or report.count(v)]
    counts = ", ".join(f"{report.count(v)} {v.value}" for v in kinds)
    if any(v.value == "contrib rule" for v in kinds):
        counts += f"; the tokens are HF's in {report.same_tokens}"
    OUT.print(
        f"{f'{lora}: ' if lora else ''}parity with transformers "
        f"{'+ peft' if lora else 'generate'}: [{_COLOURS[verdict]}]{verdict}[/] "
        f"({len(report.results)} cases: {counts})"
    )
