"""Help that shows options in sections, for a long list has no order that a reader sees."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

Function = TypeVar("Function", bound=Callable[..., Any])
Decorator = Callable[[Function], Function]

#: The title of HF's generation settings.
SEARCH_SETTINGS = "Search settings, under Hugging Face's names"

#: The title of what stands under no other.
_PLAIN = "Options"


def section(title: str, *options: Decorator[Any]) -> Decorator[Any]:
    """Put options under a title of their own, in the help of a ``SectionedCommand``.

    Args:
        title: without its colon.
        options: what ``click.option`` gives, or decorators of several.
    """

    def decorate(function: Function) -> Function:
        before = len(getattr(function, "__click_params__", ()))
        for option in reversed(options):
            function = option(function)
        for parameter in getattr(function, "__click_params__", ())[before:]:
            parameter.section = title
        return function

    return decorate


class SectionedCommand(click.Command):
    """A command whose help shows each section's options together."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the sections in the order in which they begin."""
        sections: dict[str, list[tuple[str, str]]] = {_PLAIN: []}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is not None:
                sections.setdefault(getattr(parameter, "section", _PLAIN), []).append(record)
        for title, records in sections.items():
            with formatter.section(title):
                formatter.write_dl(records)
