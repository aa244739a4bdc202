"""A package with an encoder: its sources, and what the decoder behind it begins with."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from beamgen.errors import PromptError
from beamgen.package.folder import Package
from beamgen.settings.kinds import is_int
from beamgen.settings.prompts import Ids
from beamgen.settings.sources import AnySource, FeatureBatch, check_features, check_source


def start_of_each(given: int | Sequence[int] | None, rows: int, start: int) -> list[int]:
    """The id that each of so many decoders begins with: HF's ``decoder_start_token_id``.

    Args:
        given: one for all, or one for each; None for the package's.
        rows: B.
        start: the package's.

    Raises:
        PromptError: there are more or fewer than sources, or it is no token id.
    """
    starts = one_for_each("decoder_start_token_id", given, rows)
    wrong = next((each for each in starts if each is not None and not is_int(each)), None)
    if wrong is not None:
        raise PromptError(
            f"decoder_start_token_id has to be a token id, not {wrong!r:.60}",
            "give one for all of them, or one for each",
        )
    return [start if each is None else int(each) for each in starts]


def one_for_each(name: str, given: Any, rows: int) -> list[Any]:
    """What was given for each of so many sources: one value for all, or one for each.

    Raises:
        PromptError: there are more or fewer than sources.
    """
    if given is None or isinstance(given, str) or not isinstance(given, Iterable):
        return [given] * rows
    values = list(given)
    if len(values) != rows:
        raise PromptError(
            f"{name} has {len(values)} values for {rows} sources",
            "give one for all of them, or one for each",
        )
    return values


def decoder_prompts(
    given: Sequence[Sequence[int]], starts: Sequence[int], *, prepends_start: bool = True
) -> list[list[int]]:
    """A decoder prompt for each source, all of one length.

    Args:
        given: one for all, or one for each; none where the decoder begins with its start alone.
        starts: ``decoder_start_token_id`` of each, which goes before them where none begins
            with its own.
        prepends_start: whether it does so.

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
    prompts = prompts if len(prompts) == rows else prompts * rows
    begun = list(zip(prompts, starts, strict=True))
    if not given or (prepends_start and all(prompt[:1] != [start] for prompt, start in begun)):
        return [[start, *prompt] for prompt, start in begun]
    return prompts


def begin_with(token: int, prompt: Sequence[int], start: int) -> list[int]:
    """A decoder prompt with a token before it, behind the start where that is there already."""
    begun, rest = ([start], list(prompt[1:])) if prompt[:1] == [start] else ([], list(prompt))
    return [*begun, *rest] if rest[:1] == [token] else [*begun, token, *rest]


def refuse_for_decoder(package: Package, given: Mapping[str, object]) -> None:
    """Refuse what only a decoder behind an encoder can be given, for one that has its prompt.

    Args:
        package: of a decoder alone.
        given: by the argument's name, None where it was not given.

    Raises:
        PromptError: something was given.
    """
    for name, value in given.items():
        if value is not None:
            raise PromptError(
                f"{name} was given, and {package.folder} has no encoder",
                "leave it out: what is continued is the prompt itself",
            )


def _kind(package: Package) -> str:
    """What to pass as a source, for messages."""
    features = package.manifest.features
    if features is None:
        return "SourceBatch(ids, mask)"
    return f"FeatureBatch({features[0]!r}, array)"


def check_source_of(package: Package, source: AnySource | None, attention_mask: Ids) -> None:
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
            "leave out source" if encoder is None else f"pass source={_kind(package)}",
        )
    features = package.manifest.features
    if isinstance(source, FeatureBatch) != (features is not None):
        raise PromptError(
            f"the encoder of {package.folder} reads {'text' if features is None else features[0]}, "
            f"and was given {type(source).__name__}",
            f"pass source={_kind(package)}",
        )
    if isinstance(source, FeatureBatch):
        check_features(source, *(features or ("", ())))
    else:
        check_source(source, package.manifest.vocab_size, encoder.max_positions)
    if len(source) != len(attention_mask):
        raise PromptError(
            f"there are {len(source)} sources and {len(attention_mask)} decoder prompts",
            "give one for each",
        )
    if not attention_mask.all():
        raise PromptError(
            "decoder prompts are padded, which transformers' encoder-decoders do not take",
            "search sources whose decoder prompts have one length",
        )
