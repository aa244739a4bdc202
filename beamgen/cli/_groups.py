"""A group that finds its commands by their names, so that a new one is a file and no list."""

from __future__ import annotations

import pkgutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click

from beamgen.errors import close_matches


class MisspeltError(click.UsageError):
    """A command that there is not, and what may have been meant."""

    def __init__(self, message: str, hint: str, ctx: click.Context) -> None:
        """Keep the two apart: a hint is '' where nothing is near."""
        super().__init__(message, ctx)
        self.hint = hint

    def format_message(self) -> str:
        """Both in one line, as click shows them."""
        return f"{self.message} {self.hint[:1].upper()}{self.hint[1:]}".strip()


class FoundCommands(click.Group):
    """A group whose commands are modules, each imported when it is asked for."""

    def __init__(
        self,
        *arguments: Any,
        names: Callable[[], Sequence[str]],
        load: Callable[[str], click.Command],
        **options: Any,
    ) -> None:
        """Keep how to find them.

        Args:
            arguments: of ``click.Group``.
            names: gives the names of all commands.
            load: gives the command of a name.
            options: of ``click.Group``.
        """
        super().__init__(*arguments, **options)
        self._names, self._load = names, load

    def list_commands(self, ctx: click.Context) -> list[str]:
        """In alphabetical order."""
        return sorted(self._names())

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The one of that name, or None."""
        return self._load(cmd_name) if cmd_name in self._names() else None

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Suggest what a misspelt command may have meant; click knows only what was loaded."""
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            hint = close_matches(args[0], self.list_commands(ctx))
            raise MisspeltError(error.message, hint, ctx) from error


def modules(folder: Path) -> list[str]:
    """Names of a folder's modules that do not begin with an underscore."""
    found = (module.name for module in pkgutil.iter_modules([str(folder)]))
    return [name for name in found if not name.startswith("_")]
