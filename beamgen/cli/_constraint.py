"""Options that say what may be written, and what ends a text."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click

import beamgen
from beamgen.cli._options import LocalPath, parse_ids

Command = TypeVar("Command", bound=Callable[..., Any])

_FILE: dict[str, Any] = {"type": LocalPath(), "metavar": "FILE"}

#: What says what may be written, of which one is given.
_WAYS = ("regex", "json_schema", "catalogue", "constraint")


def pattern_options(command: Command) -> Command:
    """Add what a constraint is made of."""
    for option in (
        click.option(
            "--catalogue",
            help="Stay among these continuations: one entry per line, text or ids as the prompts "
            "are.",
            **_FILE,
        ),
        click.option(
            "--json-schema", help="Write JSON that this schema allows, and nothing else.", **_FILE
        ),
        click.option(
            "--regex",
            metavar="PATTERN",
            help="Write what matches this regular expression as a whole, and nothing else.",
        ),
    ):
        command = option(command)
    return command


def constraint_options(command: Command) -> Command:
    """Add what may be written, and what ends a text."""
    for option in (
        click.option(
            "--stop-string",
            "stop_strings",
            multiple=True,
            metavar="TEXT",
            help="End a text when this has come; repeatable.",
        ),
        click.option("--constraint", help="An .npz file that `beamgen constrain` wrote.", **_FILE),
        pattern_options,
    ):
        command = option(command)
    return command


def taken_constraint(values: dict[str, Any]) -> dict[str, Any]:
    """Take the options out of a command's values, and read their files.

    Raises:
        BeamgenError: several say what may be written, or a file cannot be read.
    """
    given = {name: values.pop(name) for name in _WAYS if name in values}
    said = {name: value for name, value in given.items() if value is not None}
    if len(said) > 1:
        options = " and ".join(f"--{name.replace('_', '-')}" for name in said)
        raise beamgen.BeamgenError(
            f"{options} were given, and each says alone what may be written", "give one of them"
        )
    stops = values.pop("stop_strings", ())
    read: dict[str, Any] = {"stop_strings": list(stops)} if stops else {}
    for name, value in said.items():
        if name == "regex":
            read[name] = value
        elif name == "constraint":
            read[name] = beamgen.Constraint.load(value)
        else:
            text = _text(value)
            lines = [line for line in text.splitlines() if line.strip()]
            read[name] = lines if name == "catalogue" else text
    return read


def with_ids(generator: beamgen.Generator, said: dict[str, Any]) -> dict[str, Any]:
    """The same, with lines of a catalogue as ids where there is no tokenizer."""
    lines: Sequence[str] | None = said.get("catalogue")
    if lines is None or generator.loaded_tokenizer is not None:
        return said
    return {**said, "catalogue": [parse_ids(line, "the catalogue's ids") for line in lines]}


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")  # Windows marks it
    except UnicodeDecodeError as error:
        raise beamgen.BeamgenError(
            f"{path} is not UTF-8: {error.reason} at byte {error.start}", "save it as UTF-8"
        ) from error
    except OSError as error:
        raise beamgen.BeamgenError(
            f"cannot read {path}: {error.strerror}", "check the path"
        ) from error
