"""What was typed that no command takes: a cause, and what to type instead."""

from __future__ import annotations

import re
import shlex

import click

import beamgen
from beamgen.errors import close_matches

#: What other programs call an option, and its name here.
_ELSEWHERE = {
    "dtype": "precision",
    "torch-dtype": "precision",
    "quantize": "precision",
    "quantization": "precision",
    "bits": "precision",
    "device": "provider",
    "text": "prompt",
    "input": "prompt",
    "model-path": "model",
}


def cause_and_cure(error: click.UsageError) -> tuple[str, str]:
    """Two lines of what click has to say in several."""
    ctx = error.ctx
    words = ctx.command_path.split()[1:] if ctx is not None else []
    see = f"see {' '.join(['beamgen', *words, '--help'])}"
    hint = _hint(error)
    # click's own suggestions, which it appends, go by dashes too
    own = error.message and (hint or isinstance(error, click.NoSuchOption))
    cause = error.message if own else error.format_message()
    lines = " ".join(line.strip() for line in cause.splitlines())
    example = _example(ctx.command) if isinstance(error, click.MissingParameter) and ctx else ""
    return lines.rstrip("."), " ".join(filter(None, [hint, see + example]))


def _hint(error: click.UsageError) -> str:
    """What may have been meant, or ''."""
    ctx = error.ctx
    if isinstance(error, click.NoSuchOption) and isinstance(ctx and ctx.command, click.Group):
        return "options stand behind the command's name;"
    if isinstance(error, click.NoSuchOption) and ctx is not None:
        return _other_option(error.option_name, ctx.command)
    extra = re.fullmatch(r"Got unexpected extra argument \((.*)\)\.?", error.message)
    if extra is not None and ctx is not None:
        return _place_of(extra[1], ctx)
    hint: str = getattr(error, "hint", "")
    hint = hint or _meant(getattr(error, "possibilities", None) or [])
    if not hint and ctx is not None and error.message.startswith("No such command"):
        assert isinstance(ctx.command, click.Group)
        return f"there are {', '.join(ctx.command.list_commands(ctx))};"
    return hint


def _other_option(typed: str, command: click.Command) -> str:
    """The option that an unknown one was meant for."""
    words = [word for each in command.params for word in (*each.opts, *each.secondary_opts)]
    # without the dashes, which are alike in all of them
    known = [word.removeprefix("--") for word in words if word.startswith("--")]
    name = typed.lstrip("-").replace("_", "-")
    for same in (name, _ELSEWHERE.get(name)):
        if same in known:
            return _meant([f"--{same}"])
    setting = name.replace("-", "_")
    if "set" in known and setting in {each.name for each in beamgen.SETTINGS}:
        return f"pass --set {setting}=VALUE;"
    return re.sub(r"\b(mean|or) ", r"\1 --", close_matches(name, known))


def _place_of(extra: str, ctx: click.Context) -> str:
    """The option that a bare word was meant for: the model first, then a prompt."""
    known = {word for each in ctx.command.params for word in each.opts}
    for short, name in (("-m", "model"), ("-p", "prompts")):
        if short in known and not ctx.params.get(name):
            return _meant([f"{short} {shlex.quote(extra)}"])
    return ""


def _example(command: click.Command) -> str:
    """The command's first example, for where something is missing."""
    example = re.search(r"^Examples?:\n\s*(beamgen .*)$", command.epilog or "", re.MULTILINE)
    return f"; for example {example[1].strip()}" if example else ""


def _meant(names: list[str]) -> str:
    return f"did you mean {' or '.join(names)}?" if names else ""
