"""``beamgen package``: a package in the format of what will run it."""

from __future__ import annotations

import importlib
import inspect
from pathlib import Path
from typing import Any

import click

import beamgen
from beamgen.cli._groups import FoundCommands
from beamgen.cli._options import common
from beamgen.cli._print import print_check, print_json, status
from beamgen.cli._sections import SEARCH_SETTINGS, SectionedCommand, section
from beamgen.cli._settings import chosen_settings, search_settings

_SHARED = (
    click.option("-m", "--model", required=True, help="Package folder that `export` wrote."),
    click.option("-o", "--output", type=click.Path(path_type=Path), help="Folder to write."),
    click.option("--force", is_flag=True, help="Replace an existing folder of that format."),
)


def _subcommand(name: str) -> click.Command:
    """A format's own command, with the options that all formats share."""
    own: click.Command = importlib.import_module(f"beamgen.formats.{name}.command").command
    assert own.callback is not None
    fixes_settings = "settings" in inspect.signature(own.callback).parameters

    def write(
        ctx: click.Context,
        /,
        model: str,
        output: Path | None,
        force: bool,
        as_json: bool,
        **values: Any,
    ) -> None:
        options = {parameter.name: values.pop(parameter.name) for parameter in own.params}
        if fixes_settings:
            options["settings"] = chosen_settings(values)
        package = beamgen.open_package(model)
        with status("reading the package") as progress:
            done = beamgen.package_as(
                package, name, output, force=force, progress=progress, **ctx.invoke(own, **options)
            )
        _show(done, as_json)
        ctx.exit(done.exit_code)

    shared = common(click.pass_context(write))
    if fixes_settings:
        shared = section(SEARCH_SETTINGS, search_settings)(shared)
    for option in reversed(_SHARED):
        shared = option(shared)
    command = click.command(
        name, cls=SectionedCommand, help=own.help, short_help=own.short_help, epilog=own.epilog
    )(shared)
    command.params[len(_SHARED) : len(_SHARED)] = own.params
    return command


@click.group(
    cls=FoundCommands,
    names=lambda: beamgen.FORMATS,
    load=_subcommand,
    short_help="Write a package in the format of what will run it.",
    epilog="""\b
Examples:
  beamgen package text -m gpt2-onnx
  beamgen package genai -m biogpt-onnx
  beamgen package triton -m biogpt-onnx --batching ragged
  beamgen package web -m gpt2-onnx --example "a bird is"
""",
)
def command() -> None:
    """Write a package in the format of what will run it, and check it there.

    The package itself is not changed. Each format is checked with its real consumer
    where that is installed. Exit code 0: nothing disagreed; 3: something did.
    """


def _show(done: beamgen.Packaged, as_json: bool) -> None:
    if as_json:
        print_json(
            {
                "folder": str(done.folder),
                "format": done.format,
                "checks": [vars(check) for check in done.checks],
            }
        )
        return
    click.secho(f"{done.folder}/", bold=True)
    for check in done.checks:
        print_check(check)
    for line in done.after:
        click.echo(f"next: {line}")
