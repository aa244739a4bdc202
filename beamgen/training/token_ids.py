"""Training rows as token ids, cut where a search cuts them.

The prompt's ids are those that ``Generator.encode`` gives, and the completion's are what
the tokenizer puts behind them, up to and with the EOS at which a search stops. An encoder reads
the prompt apart, and the completion is tokenized as a text of its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from beamgen.errors import CheckpointError, PromptError, TrainingDataError
from beamgen.runtime.texts import encode_target, encode_text
from beamgen.training.data import CHAT, TrainingData, refuse_lines

if TYPE_CHECKING:
    from beamgen.checkpoint.checkpoint import Checkpoint
    from beamgen.tokenizer.tokenizer import Tokenizer

#: The label of a token that is not learned, in torch and transformers.
IGNORE_INDEX = -100


@dataclass(frozen=True)
class TrainingRow:
    """One row as the trainer takes it; the arguments of HF's model.

    Attributes:
        input_ids: S prompt ids, then the completion's, the last of them an EOS. Of an
            encoder-decoder the prompt's alone.
        labels: ``IGNORE_INDEX`` for the S prompt ids, then the completion's ids. Of an
            encoder-decoder the completion's alone.
        decoder_input_ids: of an encoder-decoder, what it begins with and the completion's ids but
            the last; None of a decoder alone.
    """

    input_ids: list[int]
    labels: list[int]
    decoder_input_ids: list[int] | None = None


@dataclass(frozen=True)
class EncoderSide:
    """What stands before a decoder.

    Attributes:
        start: the token that the decoder begins with.
        limit: tokens that the encoder may read; None allows any number.
    """

    start: int
    limit: int | None


def stop_ids(checkpoint: Checkpoint, tokenizer: Tokenizer) -> tuple[int, ...]:
    """The EOS ids a search stops at; the tokenizer's own first, if it is one of them.

    Raises:
        CheckpointError: there are none, so that no completion could be seen to end.
    """
    found = checkpoint.generation_config.eos_token_id
    ids = [found] if isinstance(found, int) else list(found or ())
    own = tokenizer.eos_token_id
    if not ids and own is not None:
        ids = [own]
    if not ids:
        raise CheckpointError(
            f"{checkpoint.source} names no EOS, so a completion could not be seen to end",
            "set eos_token_id in its generation_config.json",
        )
    return tuple(sorted(ids, key=lambda token: token != own))


def tokenize_rows(
    data: TrainingData,
    tokenizer: Tokenizer,
    stops: Sequence[int],
    limit: int,
    encoder: EncoderSide | None = None,
) -> list[TrainingRow]:
    """Every row as ids and labels, in the order of the file.

    Args:
        data: the rows.
        tokenizer: the checkpoint's.
        stops: ids that end a completion; the first is appended where none comes.
        limit: tokens that a row may have, its EOS included; of an encoder-decoder its completion.
        encoder: reads the prompts, if there is one.

    Raises:
        TrainingDataError: rows that are too long, that the chat template refuses, or
            whose prompt is tokenized otherwise once the completion follows it; or chats for an
            encoder.
    """
    if data.kind == CHAT and encoder is not None:
        raise TrainingDataError(
            f"{data.path} holds chats, and an encoder-decoder is trained on pairs of texts",
            'pass rows of "prompt", which the encoder reads, and "completion"',
        )
    if data.kind == CHAT and not tokenizer.chat_template:
        raise TrainingDataError(
            f"{data.path} holds chats, but the checkpoint's tokenizer has no chat template",
            'pass rows of "prompt" and "completion"',
        )
    rows: list[TrainingRow] = []
    wrong: list[tuple[int, str]] = []
    for number, row in data.rows:
        try:
            if encoder is None:
                tokenized = _tokenize(row, tokenizer, stops)
            else:
                tokenized = _tokenize_pair(row, tokenizer, stops, encoder.start)
        except _RowError as error:
            wrong.append((number, str(error)))
            continue
        wrong += [(number, problem) for problem in _too_long(tokenized, limit, encoder)]
        rows.append(tokenized)
    refuse_lines(data.path, wrong, "correct or shorten these rows; none is cut, none left out")
    return rows


def _too_long(row: TrainingRow, limit: int, encoder: EncoderSide | None) -> Iterator[str]:
    """What is wrong with the lengths of a row, if anything is."""
    length = len(row.input_ids)
    if encoder is None:
        if length > limit:
            yield f"has {length} tokens, over {limit}"
        return
    if encoder.limit is not None and length > encoder.limit:
        yield f"has a prompt of {length} tokens, over {encoder.limit}"
    if len(row.labels) > limit:
        yield f"has a completion of {len(row.labels)} tokens, over {limit}"


class _RowError(Exception):
    """What is wrong with one row, to be said after its line number."""


def _tokenize(row: dict[str, Any], tokenizer: Tokenizer, stops: Sequence[int]) -> TrainingRow:
    """Prompt ids ``[S]`` as a search gets them, then the completion up to its EOS."""
    if "messages" in row:
        prompt, whole = _chat_ids(row["messages"], tokenizer)
    else:
        prompt, whole = _text_ids(row["prompt"], row["completion"], tokenizer)
    if not prompt:
        raise _RowError("has a prompt of no tokens")
    completion = _up_to_stop(_behind(prompt, whole, stops, tokenizer), stops, tokenizer)
    return TrainingRow([*prompt, *completion], [*[IGNORE_INDEX] * len(prompt), *completion])


def _tokenize_pair(
    row: dict[str, Any], tokenizer: Tokenizer, stops: Sequence[int], start: int
) -> TrainingRow:
    """What an encoder reads as a search gives it, and what the decoder is to give."""
    try:
        read = encode_text(tokenizer, row["prompt"])
        said = encode_target(tokenizer, row["completion"], add_special_tokens=True)
    except PromptError as error:
        raise _RowError(f"cannot be read: {error.cause}") from error
    if not read:
        raise _RowError("has a prompt of no tokens")
    labels = _up_to_stop(said, stops, tokenizer)
    return TrainingRow(read, labels, [start, *labels[:-1]])


def _text_ids(prompt: str, completion: str, tokenizer: Tokenizer) -> tuple[list[int], list[int]]:
    """Ids of the prompt, and of the whole."""
    try:
        return encode_text(tokenizer, prompt), encode_text(tokenizer, prompt + completion)
    except PromptError as error:
        raise _RowError(f"cannot be read: {error.cause}") from error


def _chat_ids(messages: list[dict[str, str]], tokenizer: Tokenizer) -> tuple[list[int], list[int]]:
    """Ids of the chat before its last answer, and of the whole."""
    try:
        prompt, whole = (
            tokenizer.chat_text(turns, add_generation_prompt=ask)
            for turns, ask in ((messages[:-1], True), (messages, False))
        )
    except PromptError as error:
        raise _RowError(f"is refused: {error.cause}") from error
    return (
        tokenizer.encode(prompt, add_special_tokens=False),
        tokenizer.encode(whole, add_special_tokens=False),
    )


def _behind(
    prompt: list[int], whole: list[int], stops: Sequence[int], tokenizer: Tokenizer
) -> list[int]:
    """What the tokenizer puts behind the prompt's ids."""
    if whole[: len(prompt)] == prompt:
        return whole[len(prompt) :]
    bare = prompt[:-1]
    if prompt[-1] in stops and whole[: len(bare)] == bare:  # an EOS it ends every text with
        return whole[len(bare) :]
    same = next((i for i, (a, b) in enumerate(zip(prompt, whole, strict=False)) if a != b), -1)
    raise _RowError(
        "merges the prompt's end with the completion's beginning, at "
        f"{tokenizer.decode(prompt[same:])!r}: let the completion begin with the space"
    )


def _up_to_stop(completion: list[int], stops: Sequence[int], tokenizer: Tokenizer) -> list[int]:
    """The completion with one EOS, at its end."""
    end = next((i for i, token in enumerate(completion) if token in stops), None)
    learned = completion if end is None else completion[:end]
    if not tokenizer.decode(learned, skip_special_tokens=True).strip():
        raise _RowError("has a completion of no text")
    if end is None:
        return [*completion, stops[0]]
    if tokenizer.decode(completion[end + 1 :], skip_special_tokens=True).strip():
        raise _RowError(
            f"goes on behind {tokenizer.decode([completion[end]])!r}, where a search stops"
        )
    return completion[: end + 1]
