"""What sampling alone heeds does not count where nothing is drawn, as people write for greedy."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from transformers import AutoModelForCausalLM, GenerationConfig

from beamgen import BeamgenError, Generator, SearchConfig, export
from beamgen.cli import main
from beamgen.settings.given import known_settings
from beamgen.settings.rules import UNSAID

GREEDY = {"do_sample": False, "temperature": 0.0, "top_p": 0, "top_k": -1}
BASE = SearchConfig(eos_token_id=(2,), pad_token_id=1)
IDS = [5, 6, 7, 8]


@pytest.mark.parametrize("where", ["in the file", "by the caller"])
def test_impossible_draws_do_not_count_where_there_are_none(where: str) -> None:
    stored: dict[str, Any] = {"eos_token_id": 2}
    given: dict[str, Any] = {}
    (stored if where == "in the file" else given).update(GREEDY)
    config = GenerationConfig.from_dict(stored)
    found = SearchConfig.from_generation_config(config, given, frozenset(stored))
    assert (found.temperature, found.top_p, found.top_k) == (0.0, 0, -1)
    assert known_settings(given, stored, UNSAID) == vars(found)
    known_settings(given, None, UNSAID)
    assert SearchConfig.from_json(json.loads(json.dumps(found.to_json()))) == found
    with pytest.raises(BeamgenError, match="temperature must be a number above 0, not 0"):
        found.with_overrides({"do_sample": True})
    assert found.with_overrides({"do_sample": True, "temperature": 1, "top_p": 1, "top_k": 0})


@pytest.mark.parametrize("do_sample", [True, None])
def test_they_count_where_a_checkpoint_samples(do_sample: bool | None) -> None:
    stored = {"eos_token_id": 2, "do_sample": True}
    given = {"temperature": 0.0, "do_sample": do_sample}
    config = GenerationConfig.from_dict(stored)
    for refuse in (
        lambda: SearchConfig.from_generation_config(config, given, frozenset(stored)),
        lambda: known_settings(given, stored, UNSAID),
    ):
        with pytest.raises(BeamgenError, match="temperature must be a number above 0"):
            refuse()
    given = {"temperature": 0.0, "do_sample": False}
    assert known_settings(given, stored, UNSAID)["temperature"] == 0.0


@pytest.mark.parametrize("value", ["hot", [0.5], float("nan"), float("inf"), 1e39, True])
def test_what_no_file_can_hold_is_refused_all_the_same(value: Any) -> None:
    with pytest.raises(BeamgenError, match="temperature must be"):
        BASE.with_overrides({"do_sample": False, "temperature": value})


@pytest.mark.parametrize("value", [2.5, "all", 2**31, -(2**31)])
def test_what_no_file_can_count_is_refused_all_the_same(value: Any) -> None:
    with pytest.raises(BeamgenError, match="top_k"):
        BASE.with_overrides({"do_sample": False, "top_k": value})


def test_what_says_greedy_needs_no_other_word() -> None:
    for given in ({"temperature": 0.0}, {"temperature": 0.7, "do_sample": False}, {"top_k": -1}):
        assert not BASE.with_overrides(given).do_sample
    with pytest.raises(BeamgenError, match=r"temperature would change nothing") as error:
        BASE.with_overrides({"temperature": 0.7, "top_k": -1})
    assert "--do-sample" in error.value.cure


def test_a_checkpoint_written_for_greedy_gives_hfs_tokens(
    checkpoints: Callable[[str], Path], tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(checkpoints("gpt2"), tmp_path / "checkpoint"))
    stored = {"eos_token_id": 2, "pad_token_id": 0, "num_beams": 1, **GREEDY}
    (folder / "generation_config.json").write_text(json.dumps(stored))
    made = export(folder, tmp_path / "package", settings={"max_new_tokens": 8})
    assert made.parity is not None
    assert made.exit_code == 0
    model = AutoModelForCausalLM.from_pretrained(checkpoints("gpt2")).eval()
    logits = [IDS]
    for _ in range(8):  # greedy by hand
        last = model(input_ids=model.dummy_inputs["input_ids"].new_tensor(logits)).logits[0, -1]
        logits[0] = [*logits[0], int(last.argmax())]
        if logits[0][-1] == 2:
            break
    found = Generator(made.package).generate([IDS], do_sample=False, temperature=0.0)
    np.testing.assert_array_equal(found[0][0].token_ids, logits[0][len(IDS) :])

    line = ["generate", "-m", str(tmp_path / "package"), "--ids", "5 6 7 8"]
    assert CliRunner().invoke(main, [*line, "--no-sample", "--temperature", "0"]).exit_code == 0
    refused = CliRunner().invoke(main, [*line, "--do-sample"])
    assert refused.exit_code == 1
    assert "temperature must be a number above 0" in refused.stderr


def test_a_number_too_large_is_told_so() -> None:
    with pytest.raises(BeamgenError, match=r"10{12} is more than a file can count") as error:
        BASE.with_overrides({"max_new_tokens": 10**12})
    assert error.value.cure == "set max_new_tokens to at most 2147483647"
