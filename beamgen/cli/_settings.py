"""The settings of a search as options, and as HF's values."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, TypeVar

import click

import beamgen

Command = TypeVar("Command", bound=Callable[..., Any])


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
