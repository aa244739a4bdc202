"""``beamgen doctor``: what this machine and installation can do."""

from __future__ import annotations

from dataclasses import asdict
from enum import Enum
from pathlib import Path
from typing import Any

import click

import beamgen
from beamgen.cli._options import common
from beamgen.cli._print import OUT, print_json
from beamgen.cli._sections import SEARCH_SETTINGS, SectionedCommand, section
from beamgen.cli._settings import chosen_settings, search_settings

_MARKS = {"good": ("ok", "green"), "note": ("note", "yellow"), "problem": ("PROBLEM", "red")}


@click.command(
    cls=SectionedCommand,
    short_help="Look at machine, installation and a package's needs.",
    epilog="""\b
Examples:
  beamgen doctor
  beamgen doctor -m biogpt-onnx
  beamgen doctor -m biogpt-onnx --rows 16 --prompt-tokens 512 --num-beams 10 --json
""",
)
@click.option("-m", "--model", help="A package folder: does it have room here?")
@section(
    "The search whose memory is estimated",
    click.option(
        "--rows", type=click.IntRange(min=1), default=1, show_default=True, help="Prompts at once."
    ),
    click.option(
        "--prompt-tokens",
        type=click.IntRange(min=1),
        default=64,
        show_default=True,
        help="Of each prompt.",
    ),
)
@section(SEARCH_SETTINGS, search_settings)
@common
@click.pass_context
def command(
    ctx: click.Context,
    /,
    model: str | None,
    rows: int,
    prompt_tokens: int,
    as_json: bool,
    **values: Any,
) -> None:
    """Look at versions, providers, threads, instructions, memory, limits and missing extras.

    With -m also at what a package needs: the same estimate by which `batch` packs rows, and
    `generate` refuses a search that has no room. Exit code 1 where something will not work.
    """
    found = beamgen.doctor(model, rows=rows, prompt_tokens=prompt_tokens, **chosen_settings(values))
    if as_json:
        print_json({"is_well": found.is_well, **_plain(asdict(found))})
    else:
        _show(found)
    if not found.is_well:
        ctx.exit(1)


def _show(found: beamgen.Diagnosis) -> None:
    machine, limits = found.machine, found.limits
    flags = [name.upper() for name, there in machine["flags"].items() if there]
    shown = {
        "processor": f"{machine['cpu']}, {machine['cores']} cores"
        + (f", {' '.join(flags)}" if flags else ""),
        "system": machine["system"],
        "versions": ", ".join(f"{name} {v}" for name, v in found.versions.items() if v),
        "providers": ", ".join(found.providers),
        "threads": f"{found.threads} for an operator, by default",
        "memory": f"{_told(limits.free_memory)} free of {_told(limits.memory)}",
        "limits": f"{limits.open_files or 'any number of'} open files, "
        f"{_told(limits.free_disk)} of disk for temporary files",
    }
    for name, value in shown.items():
        OUT.print(f"{name:<10} {value}", markup=False)
    for finding in found.findings:
        word, colour = _MARKS[finding.level.value]
        OUT.print(f"[{colour}]{word}[/]: ", end="")
        OUT.print(finding.what, markup=False)
        if finding.cure:
            OUT.print(f"  fix: {finding.cure}", markup=False)


def _told(count: int | None) -> str:
    return "unknown" if count is None else f"{count / 2**30:.1f} GiB"


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, Enum):
        return value.value
    return str(value) if isinstance(value, Path) else value
