"""The decoder's prompt of a language and a task: ``language`` and ``task`` of ``generate``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from beamgen.errors import SettingError, close_matches
from beamgen.seq2seq_adapter import TaskTokens

#: Arguments of ``generate`` that decide the decoder's prompt, and nothing in a search.
TASK_SETTINGS = ("language", "task")


def split(settings: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """A caller's settings of a search, and those of the decoder's prompt that are not None."""
    task = {name: settings[name] for name in TASK_SETTINGS if settings.get(name) is not None}
    return {name: v for name, v in settings.items() if name not in TASK_SETTINGS}, task


def check_task(tokens: TaskTokens | None, language: str | None, task: str | None) -> None:
    """Refuse a language or a task that a model does not have.

    Args:
        tokens: the model's, None where it has none such.
        language: a code, a name in English, or HF's token; None where none was given.
        task: its name; None where none was given.

    Raises:
        SettingError: it has no such thing.
    """
    asked = " and ".join(n for n, v in (("language", language), ("task", task)) if v is not None)
    if not asked:
        return
    if tokens is None or not (tokens.languages or tokens.tasks):
        raise SettingError(
            f"a {asked} was given, and the model's generation config names no tokens for it",
            "leave it out; a decoder prompt says what the decoder begins with",
        )
    if not tokens.multilingual:
        raise SettingError(
            f"a {asked} was given, and the model knows one language only (is_multilingual)",
            "leave it out",
        )
    if language is not None:
        code_of(tokens, language)
    if task is not None and task not in tokens.tasks:
        listed = ", ".join(tokens.tasks)
        raise SettingError(
            f"there is no task called {task!r:.40}",
            close_matches(str(task), tokens.tasks) or f"there are {listed}",
        )


def code_of(tokens: TaskTokens, language: str) -> str:
    """The code of a language by its code, its name in English, or HF's token ``<|en|>``.

    Raises:
        SettingError: the model does not know it.
    """
    asked = str(language).lower().removeprefix("<|").removesuffix("|>")
    code = tokens.language_names.get(asked, asked)
    if code not in tokens.languages:
        known = [*tokens.languages, *tokens.language_names]
        listed = ", ".join([*tokens.languages][:12])
        more = ", ..." if len(tokens.languages) > 12 else ""
        raise SettingError(
            f"the model knows no language called {language!r:.40}",
            close_matches(asked, known) or f"there are {listed}{more}",
        )
    return code


def asks_for_language(tokens: TaskTokens, language: str | None, task: str | None) -> bool:
    """Whether the language has to be found out first, by the model itself.

    Source: ``WhisperGenerationMixin._retrieve_init_tokens``.
    """
    language, task = language or tokens.language, task or tokens.task
    forced = tokens.forced if language is None and task is None else ()
    return bool(tokens.languages) and language is None and forced[:1] in ((), (None,))


def task_prompt(
    tokens: TaskTokens,
    start: int,
    *,
    language: str | None = None,
    task: str | None = None,
    return_timestamps: bool = False,
    detected: int | None = None,
) -> list[int]:
    """The ids with which the decoder begins, as HF's ``generate`` puts them together.

    Args:
        tokens: the model's.
        start: ``decoder_start_token_id``.
        language: see ``check_task``; by default the model's.
        task: its name; by default the model's, or with a language ``transcribe``.
        return_timestamps: whether tokens of times are to come.
        detected: the id of the language where ``asks_for_language``; without one the prompt
            ends before it, and the model goes on with one.

    Raises:
        SettingError: see ``check_task``.

    Source: ``WhisperGenerationMixin._retrieve_init_tokens``.
    """
    check_task(tokens, language, task)
    open_language = asks_for_language(tokens, language, task)
    language, task = language or tokens.language, task or tokens.task
    if open_language and detected is None:
        return [start]
    found: list[int | None] = [start]
    if language is None and task is None:
        found += tokens.forced
    chosen = detected if open_language else None
    if language is not None:
        chosen = tokens.languages[code_of(tokens, language)]
    if chosen is not None:
        found[1:2] = [chosen]
    if task is not None:
        found.append(tokens.tasks[task])
    elif language is not None and not set(found) & set(tokens.tasks.values()):
        found.append(tokens.tasks.get("transcribe"))
    last = tokens.no_timestamps
    if not return_timestamps and last is not None and found[-1] != last:
        found.append(last)
    elif return_timestamps and found[-1] == last:
        found = found[:-1]
    return [token for token in found if token is not None]
