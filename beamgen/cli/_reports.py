"""Parity reports as files, for CI: ``--junit`` and ``--summary``."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click

import beamgen
from beamgen.cli._options import LocalPath

Command = TypeVar("Command", bound=Callable[..., Any])


def reports(command: Command) -> Command:
    """Add ``--junit`` and ``--summary``."""
    command = click.option(
        "--summary",
        type=LocalPath(),
        metavar="FILE",
        help="Append the verdict in Markdown, for example to $GITHUB_STEP_SUMMARY.",
    )(command)
    return click.option(
        "--junit",
        type=LocalPath(),
        metavar="FILE",
        help="Write each case as a test, in JUnit's XML, which CI servers show.",
    )(command)


def check_report_paths(junit: Path | None, summary: Path | None) -> None:
    """Refuse a file that cannot be written, before minutes of work.

    Raises:
        BeamgenError: it is a folder, or lies in none.
    """
    for option, path in (("--junit", junit), ("--summary", summary)):
        if path is None:
            continue
        if path.is_dir():
            raise beamgen.BeamgenError(
                f"{option} {path} is a folder", f"name a file: {path}/parity"
            )
        if not path.parent.is_dir():
            raise beamgen.BeamgenError(
                f"{option} {path} lies in no folder", f"make it first: mkdir -p {path.parent}"
            )


def write_reports(
    compared: Sequence[beamgen.Compared], junit: Path | None, summary: Path | None
) -> None:
    """Write the files that were asked for.

    Raises:
        BeamgenError: a file cannot be written.
    """
    verdicts = ", ".join(each.report.verdict for each in compared)
    for path, write in ((junit, _write_junit), (summary, _append_summary)):
        if path is None:
            continue
        try:
            write(path, compared)
        except OSError as error:
            raise beamgen.BeamgenError(
                f"the verdict is {verdicts}, but {path} cannot be written: {error.strerror}",
                "check its permissions and the free space, or name another file",
            ) from error


def _write_junit(path: Path, compared: Sequence[beamgen.Compared]) -> None:
    text = beamgen.junit_report(compared)
    target = path.resolve()  # what a link names is replaced, not the link
    if target.exists() and not target.is_file():  # a pipe or /dev/stdout
        target.write_text(text, encoding="utf-8")
        return
    partial = target.with_name(f".{target.name}.{os.getpid()}.partial")
    try:
        partial.write_text(text, encoding="utf-8")
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)


def _append_summary(path: Path, compared: Sequence[beamgen.Compared]) -> None:
    with path.open("a", encoding="utf-8", errors="backslashreplace") as stream:
        stream.write(f"\n{beamgen.markdown_report(compared)}\n")
