"""genai_config.json: what it carries over, what it refuses, what it says is missing."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support.packaged import with_model

from beamgen import (
    BeamgenError,
    Packaged,
    find_adapter,
    open_checkpoint,
)
from beamgen.formats.genai.config import check_runs, genai_config, max_length, not_carried
from beamgen.settings.config import SearchConfig

og = pytest.importorskip("onnxruntime_genai", reason="onnxruntime-genai is not installed")


def test_several_eos_ids_mean_one_beam(phi3_demo: Packaged) -> None:
    search = json.loads((phi3_demo.folder / "genai_config.json").read_text())["search"]
    assert (search["num_beams"], search["num_return_sequences"]) == (1, 1)
    told = [check.what for check in phi3_demo.checks if check.passed is None]
    assert any("5 beams: it is 1" in what and "[1275, 1279]" in what for what in told)


def test_the_search_is_carried_over(packages, checkpoints) -> None:
    package = packages("gpt2")
    search = SearchConfig(
        *((2,), 0),
        num_beams=3,
        num_return_sequences=2,
        max_length=40,
        min_length=7,
        length_penalty=0.5,
        early_stopping=True,
        repetition_penalty=1.2,
        no_repeat_ngram_size=3,
        top_k=500,
        seed=7,
    )
    manifest = replace(package.manifest, search=search)
    checkpoint = open_checkpoint(checkpoints("gpt2"))
    written = genai_config(find_adapter("gpt2"), checkpoint, manifest)
    assert written["search"] == {
        "do_sample": False,
        "num_beams": 3,
        "num_return_sequences": 2,
        "max_length": 40,
        "min_length": 7,
        "length_penalty": 0.5,
        "early_stopping": True,
        "repetition_penalty": 1.2,
        "no_repeat_ngram_size": 3,
        "temperature": 1.0,
        "top_k": 96,
        "top_p": 1.0,
        "random_seed": 7,
        "past_present_share_buffer": False,
    }
    assert written["model"]["eos_token_id"] == [2]
    assert written["model"]["context_length"] == 256
    (line,) = not_carried(manifest)
    assert line.startswith("3 beams")


def test_genai_takes_every_setting_that_is_written(folders, tmp_path: Path) -> None:
    """A name that it does not know makes it refuse the folder."""
    folder = with_model(folders("gpt2").folder, tmp_path / "same")
    assert og.Model(str(folder)).type == "decoder"
    config = json.loads((folder / "genai_config.json").read_text())
    config["search"]["nonsense"] = 1
    (folder / "genai_config.json").write_text(json.dumps(config))
    with pytest.raises(RuntimeError, match="nonsense"):
        og.Model(str(folder))


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"max_new_tokens": 9}, "max_new_tokens 9: genai counts the prompt"),
        ({"min_new_tokens": 2}, "min_new_tokens 2: genai has no such setting"),
        ({"bad_words_ids": ((5,),)}, "bad_words_ids ((5,),): genai has no"),
        ({"early_stopping": "never"}, "early_stopping 'never'"),
        ({"eos_token_id": ()}, "no EOS"),
        ({"num_beams": 1, "do_sample": True, "min_p": 0.1}, "min_p 0.1: genai has no"),
        ({"num_beams": 1, "do_sample": True}, "random numbers of its own"),
    ],
)
def test_what_genai_has_not_is_said(settings: dict[str, Any], told: str, packages) -> None:
    manifest = packages("gpt2").manifest
    search = replace(manifest.search, **settings)
    plain = not_carried(manifest)
    lines = not_carried(replace(manifest, search=search))
    assert [line for line in lines if told in line]
    assert not [line for line in plain if told in line]


@pytest.mark.parametrize(
    ("settings", "cause"),
    [
        ({"num_beams": 33}, "32 beams at most, not 33"),
        ({"do_sample": True, "num_beams": 4}, "does not sample with beams"),
        (
            {"do_sample": True, "num_beams": 1, "num_return_sequences": 3},
            "as there are beams at most, 1, not 3",
        ),
    ],
)
def test_what_genai_fails_on_is_refused(settings: dict[str, Any], cause: str, packages) -> None:
    with pytest.raises(BeamgenError) as caught:
        check_runs(replace(packages("gpt2").manifest.search, **settings))
    assert cause in caught.value.cause


def test_a_long_context_does_not_reserve_gigabytes_for_beams() -> None:
    longest = max_length(SearchConfig((2,), 0, num_beams=5), 131072)
    assert 5 * longest * (longest + 1) // 2 * 4 <= 2**28 + 2**20
    assert longest > 4096
    assert max_length(SearchConfig((2,), 0, num_beams=1), 131072) == 131072
