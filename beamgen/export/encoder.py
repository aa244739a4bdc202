"""What an export of an encoder-decoder begins with, and what no file of one can be yet."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from beamgen.checkpoint.checkpoint import Checkpoint
from beamgen.errors import CheckpointError, SettingError
from beamgen.export.checks import check_ids
from beamgen.seq2seq_adapter import Seq2SeqAdapter, TaskTokens
from beamgen.settings.task_prompt import check_task, code_of


def check_supported(options: Mapping[str, Any]) -> None:
    """Refuse what a file with an encoder in it cannot be yet; see ``ExportOptions``.

    Raises:
        SettingError: it is asked for.
    """
    what = "an encoder-decoder"
    if options.get("backend", "loop") != "loop":
        raise SettingError(
            f"ONNX Runtime's operators are written for decoders here, not for {what}",
            "leave out --search contrib",
        )


def decoder_start(checkpoint: Checkpoint, settings: Mapping[str, Any]) -> int:
    """The id that the decoder begins with, as ``generate`` takes it.

    Args:
        checkpoint: whose defaults it stands in.
        settings: a caller's, which go first.

    Raises:
        CheckpointError: the checkpoint names none that a file can hold.

    Source: ``GenerationMixin._prepare_special_tokens``.
    """
    defaults = {**checkpoint.generation_config.to_dict(), **settings}
    start = defaults.get("decoder_start_token_id")
    start = defaults.get("bos_token_id") if start is None else start
    if not isinstance(start, int) or not 0 <= start < checkpoint.vocab_size:
        found = "none" if start is None else f"{start!r:.60}"
        raise CheckpointError(
            f"{checkpoint.source} has to name the token that its decoder begins with, and "
            f"decoder_start_token_id is {found}",
            "pass --set decoder_start_token_id=ID, or set it in generation_config.json, to an id "
            "of the vocabulary",
        )
    return start


def task_tokens(
    checkpoint: Checkpoint, adapter: Seq2SeqAdapter, asked: Mapping[str, Any]
) -> TaskTokens | None:
    """The tokens that ask for a language or a task, with what a caller wants by default.

    Args:
        checkpoint: whose generation config names them.
        adapter: the architecture's, which reads it.
        asked: ``language`` and ``task``, as far as they are given.

    Raises:
        AdapterError: see ``Seq2SeqAdapter.task_tokens``.
        SettingError: the model has no such language or task, or ids beyond its vocabulary.
    """
    tokens = adapter.task_tokens(checkpoint.generation_config, checkpoint.config)
    language, task = asked.get("language"), asked.get("task")
    check_task(tokens, language, task)
    if tokens is None:
        return None
    check_ids(
        {
            "lang_to_id": tuple(tokens.languages.values()),
            "task_to_id": tuple(tokens.tasks.values()),
            "forced_decoder_ids": tuple(i for i in tokens.forced if i is not None),
        },
        checkpoint.vocab_size,
    )
    if language is not None:
        tokens = replace(tokens, language=code_of(tokens, language))
    return tokens if task is None else replace(tokens, task=task)
