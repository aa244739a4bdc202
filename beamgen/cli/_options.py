"""Options that several commands share."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

import beamgen

Command = TypeVar("Command", bound=Callable[..., Any])


class LocalPath(click.Path):
    """A path that is expanded as Python's functions expand theirs: ``~`` may be quoted."""

    def __init__(self, **options: Any) -> None:
        """Take what ``click.Path`` does; values are ``pathlib.Path``."""
        super().__init__(path_type=Path, **options)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Expand it before it is looked at."""
        return super().convert(os.path.expanduser(value), param, ctx)


def _remember_debug(ctx: click.Context, _: click.Parameter, value: bool) -> None:
    if value:
        ctx.meta["beamgen.debug"] = True


def common(command: Command) -> Command:
    """Add ``--json`` and ``--debug``, which every command has."""
    command = click.option(
        "--debug",
        is_flag=True,
        expose_value=False,
        callback=_remember_debug,
        help="Show a traceback with errors.",
    )(command)
    return click.option("--json", "as_json", is_flag=True, help="Print JSON.")(command)


def ignore_unread(command: Command) -> Command:
    """Add what of a checkpoint may stay unread."""
    return click.option(
        "--ignore-unread",
        multiple=True,
        metavar="NAME",
        help="A key of config.json, or tensors (v_head.*), that transformers does not read and "
        "that mean nothing; repeatable.",
    )(command)


def quantization(command: Command) -> Command:
    """Add how int8 weights are stored, and on what text the loss of quality is measured."""
    command = click.option(
        "--quality-text",
        type=click.Path(),
        metavar="FILE",
        help="Texts, one a line, on which to measure what rounding costs; of an encoder-decoder "
        "source and target, with a tab between them.",
    )(command)
    return click.option(
        "--int8-weights",
        type=click.Choice(["auto", "s8", "u8"]),
        default="auto",
        show_default=True,
        help="Signed or unsigned; auto asks this CPU which it adds exactly.",
    )(command)


def decoder_prompt_options(command: Command) -> Command:
    """Add what the decoder of an encoder-decoder begins with."""
    command = click.option("--decoder-ids", metavar='"1 2 3"', help="The same as ids.")(command)
    return click.option(
        "--decoder-prompt",
        metavar="TEXT",
        help="Of an encoder-decoder, which reads the prompts: with what the decoder goes on.",
    )(command)


def language_options(command: Command) -> Command:
    """Add from which language into which, of tokenizers that are told."""
    command = click.option(
        "--tgt-lang",
        metavar="CODE",
        help="The language to translate into: its token is the forced_bos_token_id.",
    )(command)
    return click.option(
        "--src-lang", metavar="CODE", help="The language of the prompts, of many that a model has."
    )(command)


def parse_decoder_prompt(text: str | None, ids: str | None) -> str | list[int] | None:
    """With what a decoder behind an encoder goes on, for all prompts."""
    if text is not None and ids is not None:
        raise beamgen.BeamgenError(
            "--decoder-prompt and --decoder-ids were given", "leave one of the two out"
        )
    return text if ids is None else parse_ids(ids, "--decoder-ids")


def parse_ids(text: str, given: str = "--ids") -> list[int]:
    """Read token ids that are separated by spaces or commas.

    Args:
        text: what was typed, or a line of a file.
        given: what it was typed for.
    """
    try:
        return [int(token) for token in text.replace(",", " ").split()]
    except ValueError:
        example = f'{given} "1 2 3"' if given.startswith("--") else "the line 1 2 3"
        raise beamgen.BeamgenError(
            f"{given} {text!r} are not whole numbers", f"for example {example}"
        ) from None


def check_takes_special_tokens(chat: bool, any_text: bool) -> None:
    """Refuse ``--no-special-tokens`` where it would say nothing."""
    if chat:
        raise beamgen.BeamgenError(
            "--no-special-tokens was given with --chat, whose template writes its own",
            "leave one of the two out",
        )
    if not any_text:
        raise beamgen.BeamgenError(
            "--no-special-tokens was given, and no prompt is text",
            "leave it out: ids stay as they are",
        )


def check_reads(package: beamgen.Package) -> None:
    """Refuse text for a model that hears."""
    if package.manifest.features is not None:
        raise beamgen.BeamgenError(
            f"{package.folder} hears, and was given text", "pass --audio FILE.wav"
        )
