"""What was typed that no command takes: a cause, and what to type instead."""

from __future__ import annotations

import click

import beamgen
from beamgen.errors import close_matches


def cause_and_cure(error: click.UsageError) -> tuple[str, str]:
    """Two lines of what click has to say in several."""
    ctx = error.ctx
    words = ctx.command_path.split()[1:] if ctx is not None else []
    see = f"see {' '.join(['beamgen', *words, '--help'])}"
    hint = _hint(error)
    cause = error.message if hint else error.format_message()
    lines = " ".join(line.strip() for line in cause.splitlines())
    return lines.rstrip("."), f"{hint} {see}" if hint else see


def _hint(error: click.UsageError) -> str:
    """What may have been meant, or ''."""
    ctx = error.ctx
    if isinstance(error, click.NoSuchOption) and ctx is not None:
        setting = error.option_name.lstrip("-").replace("-", "_")
        known = [word for each in ctx.command.params for word in (*each.opts, *each.secondary_opts)]
        if "--set" in known and setting in {each.name for each in beamgen.SETTINGS}:
            return f"pass --set {setting}=VALUE;"
        return close_matches(error.option_name, [word for word in known if word.startswith("-")])
    hint: str = getattr(error, "hint", "")
    return hint or _meant(getattr(error, "possibilities", None) or [])


def _meant(names: list[str]) -> str:
    return f"did you mean {' or '.join(names)}?" if names else ""
