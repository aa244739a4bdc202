"""The format genai, run by onnxruntime-genai itself and held against transformers."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from support.architectures import ARCHITECTURES
from support.onnx_functions import run as run_function
from support.packaged import with_model
from support.peft_folders import save_lora
from transformers import AutoModelForCausalLM, AutoTokenizer, Phi3Config

from beamgen import (
    BeamgenError,
    Package,
    Packaged,
    export,
    find_adapter,
    open_checkpoint,
    package_as,
)
from beamgen.checkpoint.checkpoint import demo_checkpoint
from beamgen.cli import main
from beamgen.export import save
from beamgen.formats.genai.check import check_folder, ended
from beamgen.parity.grids.shapes import ordinary_ids
from beamgen.parity.reference import Reference
from beamgen.search.functions.padding import masked_step, windowed_step
from beamgen.settings.config import SearchConfig
from beamgen.settings.prompts import left_pad
from beamgen.testing import tiny_model

og = pytest.importorskip("onnxruntime_genai", reason="onnxruntime-genai is not installed")

ROOT = Path(__file__).parents[2]


def _search(folder: Path, prompts: list[list[int]], pad: int, **search: Any) -> list[list[int]]:
    """All that genai returns, without the prompts; it leaves out the EOS."""
    model = og.Model(str(folder))
    longest = max(map(len, prompts))
    params = og.GeneratorParams(model)
    params.set_search_options(batch_size=len(prompts), **search)
    generator = og.Generator(model, params)
    rows = [[*prompt, *[pad] * (longest - len(prompt))] for prompt in prompts]
    generator.append_tokens(np.array(rows, np.int32))
    while not generator.is_done():
        generator.generate_next_token()
    count = len(prompts) * search.get("num_return_sequences", 1)
    return [generator.get_sequence(row).tolist()[longest:] for row in range(count)]


def _without_eos(row: list[int], eos: tuple[int, ...]) -> list[int]:
    row = ended(row, eos)
    return row[:-1] if row and row[-1] in eos else row


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_greedy_search_is_that_of_transformers(name: str, folders) -> None:
    made = folders(name)
    assert made.exit_code == 0
    greedy = made.checks[0]
    assert greedy.passed
    assert "in 8 of 8 cases" in greedy.what


def test_the_check_finds_other_weights(folders, packages, tmp_path: Path) -> None:
    tiny_model(find_adapter("gpt2").tiny_config(), seed=1).save_pretrained(tmp_path)
    checks = check_folder(
        *(folders("gpt2").folder, packages("gpt2"), open_checkpoint(tmp_path), print),
        with_tokenizer=False,
        trust_remote_code=False,
    )
    assert [check.passed for check in checks] == [False]


def test_a_folder_that_cannot_be_loaded_fails_the_check(
    folders, packages, checkpoints, tmp_path: Path
) -> None:
    folder = with_model(folders("gpt2").folder, tmp_path / "broken", type="nonsense")
    checks = check_folder(
        *(folder, packages("gpt2"), open_checkpoint(checkpoints("gpt2")), print),
        with_tokenizer=False,
        trust_remote_code=False,
    )
    assert checks[0].passed is False
    assert "cannot load it" in checks[0].what


def test_without_genai_nothing_is_verified(folders, packages, checkpoints, monkeypatch) -> None:
    arguments = (folders("gpt2").folder, packages("gpt2"), open_checkpoint(checkpoints("gpt2")))
    monkeypatch.setitem(sys.modules, "onnxruntime_genai", None)
    (check,) = check_folder(*arguments, print, with_tokenizer=True, trust_remote_code=False)
    assert check.passed is None
    assert "pip install 'beamgen[genai]'" in check.what


@pytest.mark.parametrize("length_penalty", [0.0, -0.5])
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_beams_agree_where_the_length_is_no_reward(
    name: str, length_penalty: float, folders, packages, checkpoints, tmp_path: Path
) -> None:
    """docs/genai.md: the best hypothesis, one EOS id, no processors."""
    package = packages(name)
    reference = Reference(open_checkpoint(checkpoints(name)).load_model())
    draw, pad = np.random.default_rng(5), package.manifest.search.pad_token_id
    ids = ordinary_ids(package)
    ends = 0
    for case, lengths in enumerate(([6], [6, 6, 6], [3, 8, 5])):
        prompts = [draw.choice(ids, length).tolist() for length in lengths]
        batch = left_pad(prompts, pad)
        prompt_len = batch[0].shape[1]
        settings = SearchConfig((2,), pad, num_beams=4, max_new_tokens=10)
        first = reference.generate(*batch, settings, scores=False).sequences[:, 0]
        eos = (int(first[0, prompt_len + 4]),)  # which does occur
        config = replace(settings, eos_token_id=eos, length_penalty=length_penalty)
        expected = reference.generate(*batch, config, scores=False).sequences[:, 0, prompt_len:]
        folder = with_model(folders(name).folder, tmp_path / f"{case}", eos_token_id=list(eos))
        found = _search(
            *(folder, prompts, pad),
            max_length=prompt_len + 10,
            num_beams=4,
            length_penalty=length_penalty,
            early_stopping=False,
        )
        assert found == [_without_eos(row.tolist(), eos) for row in expected]
        ends += sum(len(row) < 10 for row in found)
    assert ends, "some sequence has to end before the others"


def test_with_two_eos_ids_genai_takes_a_stale_token(folders, tmp_path: Path) -> None:
    """Why such a package gets one beam: candidates run out, where HF would have a third."""

    def second_step(eos: list[int]) -> list[int]:
        folder = with_model(folders("gpt2").folder, tmp_path / f"{len(eos)}", eos_token_id=eos)
        model = og.Model(str(folder))
        params = og.GeneratorParams(model)
        params.set_search_options(max_length=16, num_beams=2)
        generator = og.Generator(model, params)
        generator.append_tokens(np.array([[5, 6, 7]], np.int32))
        logits = np.zeros((2, 2, 1, 96), np.float32)  # step, beam
        logits[0, :, :, 10], logits[0, :, :, 11] = 5, 4.9
        logits[1, :, :, [20, 21]], logits[1, 0, :, 30], logits[1, 1, :, 31] = 13, 14, 12
        for step in logits:
            generator.get_logits()
            generator.set_logits(step)
            generator.generate_next_token()
        return generator.get_next_tokens().tolist()

    assert second_step([20]) == [30, 21]
    assert second_step([20, 21]) == [30, 11], "31 is the next best, and 11 the token before"


def test_an_option_of_another_format_is_refused(packages, tmp_path: Path) -> None:
    with pytest.raises(BeamgenError, match="takes no nonsense"):
        package_as(packages("gpt2"), "genai", tmp_path / "out", nonsense=1)
    assert not (tmp_path / "out").exists()


def _phi3(**config: Any) -> Phi3Config:
    tiny = find_adapter("phi3").tiny_config().to_dict()
    return Phi3Config(**{**tiny, **config})


def test_a_sliding_window_is_in_the_decoder(tmp_path: Path) -> None:
    tiny_model(_phi3(sliding_window=4)).save_pretrained(tmp_path / "checkpoint")
    made = export(tmp_path / "checkpoint", tmp_path / "onnx", parity=False)
    packaged = package_as(made.package, "genai", tmp_path / "genai")
    assert packaged.checks[0].passed, "prompts of 14 tokens, 12 new ones"
    config = json.loads((tmp_path / "genai" / "genai_config.json").read_text())
    assert "sliding_window" not in config["model"]["decoder"], "genai must not cut the cache"


def _tiny_package(name: str, folder: Path) -> Package:
    tiny_model(find_adapter(name).tiny_config()).save_pretrained(folder / "checkpoint")
    return export(folder / "checkpoint", folder / "onnx", parity=False).package


def test_padding_that_hf_counts_is_none_of_genai(tmp_path: Path) -> None:
    """BART's positions count a batch's padding in ``generate``, and genai pads on the right."""
    packaged = package_as(_tiny_package("bart", tmp_path), "genai", tmp_path / "genai")
    greedy = packaged.checks[0]
    assert greedy.passed
    assert "in 8 of 8 cases" in greedy.what
    assert "each gets what it gets alone" in greedy.what


def test_values_of_another_width_are_refused(tmp_path: Path) -> None:
    """genai makes the cache of both of one size."""
    with pytest.raises(BeamgenError, match="keys of 24 and values of 16 for each head"):
        package_as(_tiny_package("deepseek_v3", tmp_path), "genai", tmp_path / "genai")
    assert not (tmp_path / "genai").exists()


def test_a_recompute_boundary_is_the_context(tmp_path: Path) -> None:
    scaling = {"type": "longrope", "short_factor": [1.05] * 8, "long_factor": [3.0] * 8}
    boundary = {"max_position_embeddings": 64, "original_max_position_embeddings": 32}
    tiny_model(_phi3(rope_scaling=scaling, **boundary)).save_pretrained(tmp_path / "checkpoint")
    made = export(tmp_path / "checkpoint", tmp_path / "onnx", parity=False)
    packaged = package_as(made.package, "genai", tmp_path / "genai")
    assert packaged.checks[0].passed
    assert any("context_length is 32 of 64" in check.what for check in packaged.checks)
    with pytest.raises(RuntimeError, match="max_length"):
        _search(packaged.folder, [[5, 6, 7]], 0, max_length=33)


def test_a_large_decoder_keeps_its_weights_beside_it(packages, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(save, "EXTERNAL_DATA_BYTES", 1000)
    made = package_as(packages("biogpt"), "genai", tmp_path / "out")
    assert (tmp_path / "out" / "model.onnx.data").stat().st_size > 100_000
    assert made.checks[0].passed


def test_loras_are_adapters_of_genai(checkpoints, tmp_path: Path) -> None:
    base = checkpoints("gpt2")
    lora = save_lora(base, tmp_path / "drugs")
    made = export(base, tmp_path / "onnx", parity=False, lora=[lora], lora_slots=[])
    packaged = package_as(made.package, "genai", tmp_path / "genai")
    plain, with_lora = packaged.checks[:2]
    assert plain.passed
    assert with_lora.passed
    assert "with the LoRA drugs" in with_lora.what
    # the two checks compare different answers, or the LoRA would prove nothing
    answers = [_greedy_with(packaged.folder, name) for name in (None, "drugs")]
    assert answers[0] != answers[1]


def _greedy_with(folder: Path, lora: str | None) -> list[int]:
    model = og.Model(str(folder))
    params = og.GeneratorParams(model)
    params.set_search_options(max_length=16, num_beams=1)
    generator = og.Generator(model, params)
    adapters = og.Adapters(model)
    if lora is not None:
        adapters.load(str(folder / "adapters" / f"{lora}.onnx_adapter"), lora)
        generator.set_active_adapter(adapters, lora)
    generator.append_tokens(np.array([[5, 9, 7]], np.int32))
    while not generator.is_done():
        generator.generate_next_token()
    return generator.get_sequence(0).tolist()


@pytest.mark.slow
def test_a_merged_lora_is_merged_again(checkpoints, tmp_path: Path) -> None:
    base = checkpoints("gpt2")
    lora = save_lora(base, tmp_path / "drugs")
    made = export(base, tmp_path / "onnx", parity=False, lora=[lora])
    packaged = package_as(made.package, "genai", tmp_path / "genai")
    assert packaged.checks[0].passed, "against HF + peft"
    assert not (packaged.folder / "adapters").exists()


def test_the_command_on_a_demo_without_a_fast_tokenizer(tmp_path: Path) -> None:
    package = tmp_path / "biogpt-onnx"
    export(model_class="BioGptModel", output=package, parity=False)
    arguments = ["package", "genai", "-m", str(package), "--json"]
    result = CliRunner().invoke(main, [*arguments, "-o", str(tmp_path / "biogpt-genai")])
    assert result.exit_code == 0, result.output
    checks = json.loads(result.stdout)["checks"]
    assert checks[0]["passed"] is True
    assert any("no tokenizer" in check["what"] for check in checks)
    assert sorted(path.name for path in (tmp_path / "biogpt-genai").iterdir()) == [
        "beamgen-genai.json",
        "config.json",
        "genai_config.json",
        "generation_config.json",
        "model.onnx",
    ]


def test_the_tokenizer_is_compared(phi3_demo: Packaged) -> None:
    greedy, tokenizer = phi3_demo.checks[:2]
    assert greedy.passed
    assert tokenizer.passed
    assert "5 texts and the text of a chat" in tokenizer.what


@pytest.mark.parametrize("prompt", ["What is a doctor?", "What is a small animal?"])
def test_a_chat_streams_the_greedy_answer(prompt: str, phi3_demo: Packaged) -> None:
    source = demo_checkpoint(find_adapter("phi3")).folder
    tokenizer = AutoTokenizer.from_pretrained(source)
    model = AutoModelForCausalLM.from_pretrained(source)
    chat = tokenizer.apply_chat_template(
        [{"role": "user", "content": prompt}],
        add_generation_prompt=True,
        return_tensors="pt",
        return_dict=True,
    )
    ids = model.generate(**chat, do_sample=False, num_beams=1, max_new_tokens=40)
    answer = ids[0, chat["input_ids"].shape[1] :]
    assert len(answer) > 5
    expected = tokenizer.decode(answer, skip_special_tokens=True)
    result = subprocess.run(
        [
            *(sys.executable, ROOT / "examples" / "genai" / "chat.py", phi3_demo.folder),
            *("--prompt", prompt, "--max-new-tokens", "40"),
        ],
        text=True,
        capture_output=True,
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip() == expected.strip()


def test_padding_may_be_on_either_side() -> None:
    ids = np.zeros((3, 3), np.int64)
    mask = [[1, 1, 1], [1, 0, 0], [0, 1, 1]]
    bias, last = run_function(masked_step, ids, mask)
    assert last.tolist() == [2, 0, 2]
    seen = (bias[:, 0] == 0).tolist()
    assert seen[0] == [[True, False, False], [True, True, False], [True, True, True]]
    assert seen[1] == [[True, False, False]] * 3
    assert seen[2] == [[False] * 3, [False, True, False], [False, True, True]]


def test_a_window_does_not_count_padding() -> None:
    mask = [[1, 1, 1, 1, 1], [1, 0, 0, 1, 1]]
    bias, last = run_function(windowed_step, np.zeros((2, 1), np.int64), mask, [3])
    assert last.tolist() == [0, 0]
    assert (bias[:, 0, 0] == 0).tolist() == [
        [False, False, True, True, True],
        [True, False, False, True, True],
    ]
