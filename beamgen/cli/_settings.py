"""The settings of a search as options, and as HF's values."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, TypeVar

import click

import beamgen

Command = TypeVar("Command", bound=Callable[..., Any])


class _Ids(click.ParamType[Any]):
    name = "ID|none"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if value == "none":
            return None
        try:
            return int(value)
        except ValueError:
            self.fail(f"{value!r} is neither a token id nor 'none'", param, ctx)


_SET = click.option(
    "--set",
    "pairs",
    multiple=True,
    metavar="NAME=VALUE",
    help="Any other setting of HF's, as JSON: --set 'bad_words_ids=[[5,9]]'.",
)


def search_settings(command: Command) -> Command:
    """Options for the settings that have one; collect them with ``chosen_settings``."""
    command = _SET(command)
    for setting in reversed(beamgen.SETTINGS):
        if setting.option and setting.asks is None:
            command = _option(setting)(command)
    return command


def speech_settings(command: Command) -> Command:
    """Options for what a model that hears is asked for, its own settings among them."""
    own = [each for each in beamgen.SETTINGS if each.option and each.asks is not None]
    for option in (
        *map(_option, own),
        click.option("--task", metavar="NAME", help="transcribe, or translate into English."),
        click.option(
            "--language",
            metavar="NAME",
            help="That is spoken: en or English.  [default: the model finds out]",
        ),
    ):
        command = option(command)
    return command


def _option(setting: beamgen.Setting) -> Callable[[Command], Command]:
    """An option in the setting's name and words."""
    kind, dashed = setting.kind, setting.name.replace("_", "-")
    line = f"{setting.meaning[0].upper()}{setting.meaning[1:]}."
    if kind.typed is bool:
        flags = f"--{dashed}/--no-{dashed.removeprefix('do-')}"
        return click.option(flags, default=None, help=line)
    if kind.choices:
        words = click.Choice(kind.choices, case_sensitive=False)
        return click.option(f"--{dashed}", type=words, help=line)
    if kind.repeatable:
        return click.option(
            f"--{dashed}", type=_Ids(), multiple=True, help=f"{line[:-1]}; repeatable."
        )
    return click.option(f"--{dashed}", type=kind.typed, help=line)


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
                f"--set {pair} is no NAME=VALUE", f"for example --set {name or 'min_p'}=0.1"
            )
        try:
            parsed = json.loads(value)
            chosen[name] = "default" if parsed is None else parsed
        except json.JSONDecodeError:
            if value[:1] in {"[", "{", '"'}:
                raise beamgen.BeamgenError(
                    f"--set {name} is given {value!r}, which is not JSON",
                    "quote it for the shell: --set 'bad_words_ids=[[5, 9]]'",
                ) from None
            chosen[name] = {"True": True, "False": False}.get(value, value)
    return chosen
