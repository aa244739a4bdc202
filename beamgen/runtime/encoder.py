"""A package with an encoder: its sources, and what the decoder behind it begins with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from beamgen.errors import PromptError
from beamgen.package.folder import Package
from beamgen.settings.kinds import is_int
from beamgen.settings.prompts import Ids
from beamgen.settings.sources import SourceBatch, check_source


def start_of_each(given: int | Sequence[int] | None, rows: int, start: int) -> list[int]:
    """The id that each of so many decoders begins with: HF's ``decoder_start_token_id``.

    Args:
        given: one for all, or one for each; None for the package's.
        rows: B.
        start: the package's.

    Raises:
        PromptError: there are more or fewer than sources, or it is no token id.
    """
    is_one = given is None or is_int(given) or isinstance(given, str)
    starts: list[Any] = [given] * rows if is_one else list(given)  # type: ignore[arg-type] # not one
    if len(starts) != rows:
        raise PromptError(
            f"decoder_start_token_id names {len(starts)} tokens for {rows} sources",
            "give one for all of them, or one for each",
        )
    wrong = next((each for each in starts if each is not None and not is_int(each)), None)
    if wrong is not None:
        raise PromptError(
            f"decoder_start_token_id has to be a token id, not {wrong!r:.60}",
            "give one for all sources, or one for each",
        )
    return [start if each is None else int(each) for each in starts]


def decoder_prompts(
    given: Sequence[Sequence[int]], starts: Sequence[int], languages: Sequence[int] = ()
) -> list[list[int]]:
    """A decoder prompt for each source, all of one length.

    Args:
        given: one for all, or one for each; none where the decoder begins with its start alone.
        starts: the id that each decoder begins with, which goes before them where none has its.
        languages: an id for each that goes between the start and what is given.

    Raises:
        PromptError: there are more or fewer than sources, or they differ in length.

    Source: ``GenerationMixin._prepare_decoder_input_ids_for_generation``.
    """
    rows = len(starts)
    prompts = [list(each) for each in given] or [[]]
    if len(prompts) not in (1, rows):
        raise PromptError(
            f"{len(prompts)} decoder prompts were given for {rows} sources",
            "give one for all of them, or one for each",
        )
    lengths = sorted({len(prompt) for prompt in prompts})
    if len(lengths) > 1:
        raise PromptError(
            f"decoder prompts of {lengths[0]} and of {lengths[-1]} tokens cannot be searched in "
            "one batch",
            "give prompts of one length, or search those sources in batches of their own",
        )
    prompts = prompts if len(prompts) == rows else [list(prompts[0]) for _ in starts]
    if all(prompt[:1] != [start] for prompt, start in zip(prompts, starts, strict=True)):
        prompts = [[start, *prompt] for prompt, start in zip(prompts, starts, strict=True)]
    for prompt, language in zip(prompts, languages, strict=False):
        if prompt[1:2] != [language]:
            prompt.insert(1, language)
    return prompts


def refuse_encoders(package: Package, given: Mapping[str, object]) -> None:
    """Refuse for a decoder alone what only one behind an encoder can be given.

    Args:
        package: of a decoder alone.
        given: by the name of the argument, None where it was not given.

    Raises:
        PromptError: something was given.
    """
    for name, value in given.items():
        if value is not None:
            raise PromptError(
                f"{name} was given, and {package.folder} has no encoder",
                "leave it out: what is continued is the prompt itself",
            )


def check_source_of(package: Package, source: SourceBatch | None, attention_mask: Ids) -> None:
    """Refuse a source without encoder, an encoder without source, and what it cannot read.

    Args:
        package: what is searched.
        source: what its encoder is to read.
        attention_mask: of the decoder's prompts, int64 ``[B, S]``.

    Raises:
        PromptError: there is such a thing.
    """
    encoder = package.manifest.encoder
    if encoder is None or source is None:
        if (encoder is None) == (source is None):
            return
        raise PromptError(
            f"{package.folder} has {'no' if encoder is None else 'an'} encoder",
            "leave out source" if encoder is None else "pass source=SourceBatch(ids, mask)",
        )
    check_source(source, package.manifest.vocab_size, encoder.max_positions)
    if len(source.input_ids) != len(attention_mask):
        raise PromptError(
            f"there are {len(source.input_ids)} sources and {len(attention_mask)} decoder prompts",
            "give one for each",
        )
    if not attention_mask.all():
        raise PromptError(
            "decoder prompts are padded, which transformers' encoder-decoders do not take",
            "search sources whose decoder prompts have one length",
        )
