"""The site's reference of the command line: every command, as click knows it.

``<!-- commands -->`` in a page becomes a section for each command, with its help, its options and
its examples.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from typing import Any

import click

_PLACE = "<!-- commands -->"


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Fill the place in a page that has it (a hook of MkDocs)."""
    if _PLACE not in markdown:
        return markdown
    from beamgen.cli import main

    context = click.Context(main, info_name="beamgen")
    return markdown.replace(_PLACE, "\n\n".join(_section(main, context)))


def _section(command: click.Command, context: click.Context) -> Iterator[str]:
    """A command's section, and those of its subcommands."""
    parent = context.parent
    if parent is not None:
        yield f"{'#' * (_depth(context) + 1)} {context.command_path}"
        yield inspect.cleandoc(command.help or "").replace("\b\n", "")
        usage = [context.command_path, *command.collect_usage_pieces(context)]
        yield f"```console\n{' '.join(usage)}\n```"
        yield from _options(command, context)
        yield from _examples(command)
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            subcommand = command.get_command(context, name)
            assert subcommand is not None
            below = click.Context(subcommand, info_name=name, parent=context)
            yield from _section(subcommand, below)


def _depth(context: click.Context) -> int:
    return 0 if context.parent is None else 1 + _depth(context.parent)


def _options(command: click.Command, context: click.Context) -> Iterator[str]:
    records = [parameter.get_help_record(context) for parameter in command.get_params(context)]
    rows = [(names, _cell(meaning)) for names, meaning in filter(None, records)]
    if rows and not isinstance(command, click.Group):
        lines = [f"| `{names}` | {meaning} |" for names, meaning in rows]
        yield "\n".join(["| option | meaning |", "|---|---|", *lines])


def _cell(text: str) -> str:
    """Help in a table's cell; what stands in backticks is Markdown's already."""
    parts = " ".join(text.split()).split("`")
    escaped = (re.sub(r"([\[\]|*_])", r"\\\1", part) for part in parts[::2])
    parts[::2] = [part.replace("<", "&lt;") for part in escaped]
    return "`".join(parts)


def _examples(command: click.Command) -> Iterator[str]:
    """The lines of the epilog, which show how the command is used."""
    lines = inspect.cleandoc((command.epilog or "").replace("\b\n", "")).splitlines()
    if lines:
        yield "\n".join(["```console", *(line.strip() for line in lines[1:] or lines), "```"])
