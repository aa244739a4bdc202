"""``beamgen``: the group of all commands, and how an error ends them."""

from __future__ import annotations

import importlib
import traceback
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import Any, NoReturn

import click

from beamgen.cli._groups import FoundCommands, modules
from beamgen.cli._signals import orderly_end
from beamgen.cli._usage import cause_and_cure
from beamgen.errors import BeamgenError, BeamgenWarning


class _Failure(click.ClickException):
    """An error as two lines, one of cause and one of cure."""

    def __init__(self, cause: str, cure: str) -> None:
        super().__init__(cause)
        self.cure = cure

    def show(self, file: Any = None) -> None:
        label = click.style("error:", fg="red", bold=True)
        click.echo(f"{label} {_printable(self.message)}", err=True, file=file)
        cure = _printable(self.cure)
        click.echo(f"{click.style('  fix:', bold=True)} {cure}", err=True, file=file)


class _Misuse(_Failure):
    """A command that click cannot read."""

    exit_code = 2


def _printable(text: str) -> str:
    """One line: what was typed may hold a line's end, or a terminal's codes."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


class _Main(FoundCommands):
    """The group of all commands, which turns what they raise into two lines."""

    def main(self, *arguments: Any, **options: Any) -> Any:
        """Run a command; a signal that asks to end lets it clean up behind itself."""
        with orderly_end():
            return super().main(*arguments, **options)

    def make_context(self, *arguments: Any, **options: Any) -> click.Context:
        """Read what stands before the command's name."""
        with _two_lines():
            return super().make_context(*arguments, **options)

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command; with --debug an error shows its traceback, too."""
        try:
            with _own_warnings(), _two_lines():
                return super().invoke(ctx)
        except BeamgenError as error:
            _fail(ctx, error, error.cause, error.cure)
        except (click.ClickException, click.exceptions.Exit, click.Abort, BrokenPipeError):
            raise  # click's own; it knows that `| head` closes a pipe early
        except OSError as error:
            cause = f"{error.strerror or error}: {error.filename or ''}".rstrip(": ")
            _fail(ctx, error, cause, "check the path, its permissions and the free space")
        except Exception as error:  # a bug of ours: still two lines
            cause = f"internal error: {type(error).__name__}: {error}".splitlines()[0]
            _fail(ctx, error, cause, "run again with --debug and report what it prints")


@contextmanager
def _two_lines() -> Iterator[None]:
    """Tell what click cannot read as every other error, with its exit code of 2."""
    try:
        yield
    except click.exceptions.NoArgsIsHelpError:
        raise
    except click.UsageError as error:
        raise _Misuse(*cause_and_cure(error)) from error


@contextmanager
def _own_warnings() -> Iterator[None]:
    """Show what beamgen warns of in one line; other libraries' warnings go where they went."""
    with warnings.catch_warnings():
        warnings.simplefilter("always", BeamgenWarning)
        others = warnings.showwarning

        def show(message: Warning | str, category: type[Warning], *where: Any, **more: Any) -> None:
            if issubclass(category, BeamgenWarning):
                click.echo(f"{click.style('warning:', fg='yellow')} {message}", err=True)
            else:
                others(message, category, *where, **more)

        warnings.showwarning = show
        yield


def _fail(ctx: click.Context, error: BaseException, cause: str, cure: str) -> NoReturn:
    if ctx.meta.get("beamgen.debug"):
        traceback.print_exception(error)
    raise _Failure(cause, cure) from error


def _command(name: str) -> click.Command:
    command: click.Command = importlib.import_module(f"beamgen.cli.{name}").command
    return command


@click.group(
    cls=_Main,
    names=lambda: modules(Path(__file__).parent),
    load=_command,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Try: beamgen export --model-class BioGptModel --num-beams 5",
)
@click.version_option(metadata.version("beamgen"), prog_name="beamgen")
def main() -> None:
    """Turn a Hugging Face decoder into one .onnx file that runs the whole beam search.

    The file gives the tokens and scores of transformers' generate(), and
    every export proves it.
    """
