"""Decoder prompts of a language and a task, against those of HF's ``generate``."""

from __future__ import annotations

import itertools
from types import SimpleNamespace

import pytest
import torch
from support.hearing import DE, EN, NO_TIMES, SAID, START, TRANSCRIBE, TRANSLATE
from transformers import GenerationConfig
from transformers.models.whisper.generation_whisper import WhisperGenerationMixin

from beamgen import BeamgenError, find_adapter
from beamgen.seq2seq_adapter import TaskTokens
from beamgen.settings.task_prompt import asks_for_language, check_task, task_prompt

DETECTED = DE
ADAPTER = find_adapter("whisper")
FORCED = [[1, None], [2, TRANSLATE]]

CHECKPOINTS = {
    "of today": {},
    "with defaults": {"language": "german", "task": "translate"},
    "with a language": {"language": "<|en|>"},
    "of old": {"forced_decoder_ids": FORCED},
    "of old, with a language": {"forced_decoder_ids": [[1, EN], [2, TRANSCRIBE], [3, NO_TIMES]]},
    "of one language": {
        "is_multilingual": False, "lang_to_id": None, "task_to_id": None,
        "forced_decoder_ids": [[1, NO_TIMES]],
    },
    "bare": dict.fromkeys(
        ("lang_to_id", "task_to_id", "is_multilingual", "no_timestamps_token_id")
    ),
    "without times": {"no_timestamps_token_id": None},
}  # fmt: skip
CASES = [
    case
    for case in itertools.product(
        CHECKPOINTS, (None, "de", "English"), (None, "translate", "transcribe"), (False, True)
    )
    if not (case[0] in ("bare", "without times") and case[3])  # which no search takes
]


def _config(name: str) -> GenerationConfig:
    said = {**SAID, **CHECKPOINTS[name]}
    return GenerationConfig(**{key: value for key, value in said.items() if value is not None})


def _hf(config: GenerationConfig, language: str | None, task: str | None, timed: bool) -> list[int]:
    """What HF's ``generate`` does before it searches."""
    hears = WhisperGenerationMixin
    config.return_timestamps = timed
    hears._set_language_and_task(language, task, None, config)
    model = SimpleNamespace(device="cpu", detect_language=lambda **_: torch.tensor([DETECTED]))
    model_config = SimpleNamespace(forced_decoder_ids=None)
    found = hears._retrieve_init_tokens(model, None, 1, config, model_config, 3000, {})
    return found[0].tolist()


@pytest.mark.parametrize(("name", "language", "task", "timed"), CASES)
def test_a_prompt_is_hfs(name: str, language: str | None, task: str | None, timed: bool) -> None:
    tokens = ADAPTER.task_tokens(_config(name), ADAPTER.tiny_config())
    asked = {"language": language, "task": task, "return_timestamps": timed}
    try:
        expected = _hf(_config(name), language, task, timed)
    except (ValueError, AttributeError):
        with pytest.raises(BeamgenError):
            check_task(tokens, language, task)
        return
    if tokens is None:  # the start token is all
        assert expected == [START]
        check_task(tokens, language, task)
        return
    open_language = asks_for_language(tokens, language, task)
    found = task_prompt(tokens, START, **asked, detected=DETECTED if open_language else None)
    assert found == expected


def test_without_a_language_the_model_goes_on_from_its_start() -> None:
    tokens = ADAPTER.task_tokens(_config("of today"), ADAPTER.tiny_config())
    assert task_prompt(tokens, START) == [START]
    assert task_prompt(tokens, START, language="de") == [START, DE, TRANSCRIBE, NO_TIMES]


@pytest.mark.parametrize("language", ["en", "EN", "english", "English", "<|en|>"])
def test_a_language_goes_by_several_names(language: str) -> None:
    tokens = ADAPTER.task_tokens(_config("of today"), ADAPTER.tiny_config())
    assert task_prompt(tokens, START, language=language)[1] == EN


@pytest.mark.parametrize(
    ("name", "language", "task", "cause", "cure"),
    [
        ("of today", "germann", None, "no language called 'germann'", "did you mean german?"),
        ("of today", "fr", None, "no language called 'fr'", "there are de, en"),
        ("of today", None, "translat", "no task called 'translat'", "did you mean translate?"),
        ("of one language", "en", None, "a language was given, and", "decoder prompt"),
        ("bare", "en", "translate", "a language and task was given", "decoder prompt"),
    ],
)
def test_what_a_model_does_not_have_is_told(name, language, task, cause, cure) -> None:
    tokens = ADAPTER.task_tokens(_config(name), ADAPTER.tiny_config())
    with pytest.raises(BeamgenError) as error:
        check_task(tokens, language, task)
    assert cause in error.value.cause
    assert cure in error.value.cure


def test_a_model_of_one_language_says_so() -> None:
    tokens = TaskTokens({"en": EN}, {}, {"transcribe": TRANSCRIBE}, multilingual=False)
    with pytest.raises(BeamgenError, match="one language only"):
        check_task(tokens, "en", None)


def test_forced_ids_with_a_gap_are_refused() -> None:
    config = GenerationConfig(**{**SAID, "forced_decoder_ids": [[1, EN], [3, TRANSCRIBE]]})
    with pytest.raises(BeamgenError, match="are not those of places 1, 2"):
        ADAPTER.task_tokens(config, ADAPTER.tiny_config())
