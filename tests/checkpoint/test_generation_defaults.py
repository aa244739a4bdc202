"""Search settings, wherever they stand: a plain ``generate`` of transformers is the truth."""

from __future__ import annotations

import json
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from support.odd_checkpoints import PROMPT, edit_config

from beamgen import Generator, export, open_checkpoint
from beamgen.settings.config import SearchConfig

OF_FILE: dict[str, Any] = {"eos_token_id": 2, "pad_token_id": 0, "num_beams": 4, "max_length": 12}
OF_CONFIG: dict[str, Any] = {"num_beams": 3, "max_length": 14}
TASK = {"task_specific_params": {"text-generation": {"do_sample": True, "num_beams": 5}}}

#: What stands in generation_config.json, if there is one, and in config.json.
CASES: dict[str, tuple[dict[str, Any] | None, dict[str, Any]]] = {
    "the file goes first": (OF_FILE, {**OF_CONFIG, "no_repeat_ngram_size": 1}),
    "the file stands for the config": (
        {**OF_FILE, "_from_model_config": True},
        {**OF_CONFIG, "no_repeat_ngram_size": 1},
    ),
    "the config says nothing": ({**OF_FILE, "_from_model_config": True}, {}),
    "the config alone": (None, {**OF_CONFIG, "no_repeat_ngram_size": 1}),
    "the config spells a default": (None, {"num_beams": 1, "max_length": 13}),
    "newer fields in the config": (
        None,
        {"num_beams": 3, "max_new_tokens": 7, "min_new_tokens": 7},
    ),
    "20 counts new tokens": ({**OF_FILE, "max_length": 20}, {}),
    "20 counts new tokens in a config": (None, {"num_beams": 3, "max_length": 20}),
    "other tasks": (OF_FILE, TASK),
}


@pytest.mark.parametrize("case", CASES)
def test_a_package_gives_what_a_plain_generate_gives(
    checkpoints: Callable[[str], Path], tmp_path: Path, case: str
) -> None:
    from transformers import AutoModelForCausalLM

    of_file, of_config = CASES[case]
    folder = Path(shutil.copytree(checkpoints("gpt2"), tmp_path / "gpt2"))
    edit_config(folder, **of_config)
    (folder / "generation_config.json").unlink()
    if of_file is not None:
        (folder / "generation_config.json").write_text(json.dumps(of_file))
    model = AutoModelForCausalLM.from_pretrained(folder)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it advises against settings in a config
        expected = model.generate(torch.tensor([PROMPT]))[0].tolist()
    package = export(folder, tmp_path / "package", parity=False).package
    (found,) = Generator(package).generate([PROMPT])[0]
    assert [*found.prompt_ids, *found.token_ids] == expected


def test_a_length_that_is_asked_for_counts_the_prompt(checkpoints: Callable[[str], Path]) -> None:
    checkpoint = open_checkpoint(checkpoints("gpt2"))
    asked = SearchConfig.from_generation_config(checkpoint.generation_config, {"max_length": 20})
    assert asked.for_prompt(5).max_new_tokens == 15
