"""LoRAs in one session, each equal to HF + peft."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime
import peft
import pytest
import torch
from support.architectures import ARCHITECTURES
from support.lora_packages import PROMPTS

from beamgen import (
    BeamgenError,
    Generator,
    Package,
    open_checkpoint,
    open_package,
)
from beamgen.parity.check import check_parity

#: A decoder reads its LoRAs in every step, an encoder once.
ENCODERS = [
    pytest.param(name, marks=[pytest.mark.transformers_4, *marks])
    for name, marks in (("t5", []), ("bart_seq2seq", [pytest.mark.slow]))
]


def _ids(generations) -> list[list[list[int]]]:
    return [[found.token_ids for found in row] for row in generations]


@pytest.mark.parametrize(
    ("name", "backend"),
    [
        ("gpt2", "loop"),
        ("gpt2", "contrib"),
        pytest.param("biogpt", "loop", marks=pytest.mark.slow),
        pytest.param("phi3", "loop", marks=pytest.mark.slow),
        *(
            pytest.param(*each.values, "loop", marks=[*each.marks, pytest.mark.slow])
            for each in ENCODERS
        ),
    ],
)
def test_each_equals_hf_and_peft(
    name: str,
    backend: str,
    slotted: Callable[..., Package],
    loras: Callable[[str], dict[str, Path]],
    checkpoints: Callable[[str], Path],
) -> None:
    """EOS allowed, batch 1 and 4; the contrib backend by the rule of its operator."""
    package, base = slotted(name, backend), open_checkpoint(checkpoints(name))
    for lora, folder in loras(name).items():
        report = check_parity(package, base.with_lora(folder), lora=lora)
        verdicts = {"exact"} if backend == "loop" else {"exact", "contrib rule"}
        assert {result.verdict.value for result in report.results} <= verdicts, lora
        assert len(report.results) == 12 if backend == "loop" else len(report.results) > 0


def test_parity_finds_the_wrong_lora(
    slotted: Callable[..., Package],
    loras: Callable[[str], dict[str, Path]],
    checkpoints: Callable[[str], Path],
) -> None:
    package, base = slotted("gpt2"), open_checkpoint(checkpoints("gpt2"))
    assert check_parity(package, base.with_lora(loras("gpt2")["b"]), lora="a").exit_code == 3


@pytest.mark.parametrize("backend", ["loop", "contrib"])
def test_switching_in_one_session_leaves_nothing_behind(
    backend: str, slotted: Callable[..., Package]
) -> None:
    generator = Generator(slotted("phi3", backend))
    assert generator.loras == ["a", "b", "some"]
    order = [None, "a", "b", None, "some", "a", None]
    found = [_ids(generator.generate(PROMPTS, lora=lora)) for lora in order]
    assert found[0] == found[3] == found[6]
    assert found[1] == found[5]
    assert len({json.dumps(each) for each in found}) == 4, "each says something else"


@pytest.mark.parametrize("name", [*ARCHITECTURES, *ENCODERS])
def test_rows_of_one_batch_have_their_own(name: str, slotted: Callable[..., Package]) -> None:
    """As each prompt alone with its LoRA, and as peft's ``adapter_names``."""
    generator = Generator(slotted(name))
    choice = ["b", None, "a"]
    together = generator.generate(PROMPTS, lora=choice, num_return_sequences=2)
    for prompt, lora, found in zip(PROMPTS, choice, together, strict=True):
        (alone,) = generator.generate(prompt, lora=lora, num_return_sequences=2)
        assert [f.token_ids for f in found] == [f.token_ids for f in alone]
        np.testing.assert_allclose([f.score for f in found], [f.score for f in alone], atol=1e-5)


@pytest.mark.parametrize("name", ["gpt2", *ENCODERS])
def test_rows_of_one_batch_equal_pefts_mixed_batch(
    name: str,
    slotted: Callable[..., Package],
    loras: Callable[[str], dict[str, Path]],
    checkpoints: Callable[[str], Path],
) -> None:
    base, folders = open_checkpoint(checkpoints(name)).load_model(), loras(name)
    model = peft.PeftModel.from_pretrained(base, str(folders["a"]), adapter_name="a")
    model.load_adapter(str(folders["b"]), "b")
    model.eval()
    prompts = [[5, 6, 7], [8, 9, 10], [11, 12, 13]]
    with torch.no_grad():
        expected = model.generate(
            input_ids=torch.tensor(prompts),
            attention_mask=torch.ones(3, 3, dtype=torch.long),
            adapter_names=["a", "__base__", "b"],
            num_beams=4,
            max_new_tokens=10,
            eos_token_id=2,
            pad_token_id=0,
        )
    found = Generator(slotted(name)).generate(prompts, lora=["a", None, "b"])
    before = 1 if base.config.is_encoder_decoder else 3
    for row, tokens in zip(found, expected[:, before:].tolist(), strict=True):
        ids = row[0].token_ids
        assert tokens[: len(ids)] == ids
        assert set(tokens[len(ids) :]) <= {0}


def test_a_contrib_package_takes_one_for_all_rows(slotted: Callable[..., Package]) -> None:
    generator = Generator(slotted("gpt2", "contrib"))
    same = generator.generate(PROMPTS, lora=["a"] * 3)
    assert _ids(same) == _ids(generator.generate(PROMPTS, lora="a"))
    with pytest.raises(BeamgenError, match=r"one LoRA for all prompts.*\n.*--search loop"):
        generator.generate(PROMPTS, lora=["a", "b", "a"])


def test_names_are_checked(slotted: Callable[..., Package], packages: Callable) -> None:
    generator = Generator(slotted("gpt2"))
    with pytest.raises(BeamgenError, match=r"no LoRA called 'som'\ndid you mean some"):
        generator.generate(PROMPTS, lora="som")
    for nonsense in (
        3,
        True,
        Path("a"),
        {"a", "b"},
        [["a"], ["b"]],
        ["a", 3, None],
        ["a", ["b"], None],
        b"ab",
    ):
        with pytest.raises(BeamgenError, match=r"is neither a name nor a list of names"):
            generator.generate(PROMPTS, lora=nonsense)
    with pytest.raises(BeamgenError, match=r"2 LoRAs were given for 3 prompts"):
        generator.generate(PROMPTS, lora=["a", "b"])
    with pytest.raises(BeamgenError, match=r"has no slots for LoRAs\n.*--lora-slots"):
        Generator(packages("gpt2")).generate(PROMPTS, lora="a")


@pytest.mark.parametrize("backend", ["loop", "contrib"])
def test_raw_onnxruntime_runs_the_same_files(backend: str, slotted: Callable[..., Package]) -> None:
    package = slotted("gpt2", backend)
    generator = Generator(package)
    dtype = np.int64 if backend == "loop" else np.int32
    feeds = {
        "input_ids": np.array([PROMPTS[0]], dtype),
        "attention_mask": np.ones((1, 4), dtype),
    }
    if backend == "contrib":
        feeds["max_length"] = np.array([14], np.int32)
    for name in ("a", "b"):
        adapter = onnxruntime.LoraAdapter()
        adapter.Load(str(package.loras[name]))
        options = onnxruntime.RunOptions()
        options.add_active_adapter(adapter)
        session = onnxruntime.InferenceSession(package.model, providers=["CPUExecutionProvider"])
        sequences = session.run(["sequences"], feeds, options)[0]
        ((expected,),) = generator.generate([PROMPTS[0]], lora=name, num_return_sequences=1)
        ids = sequences[0, 0, 4 : 4 + len(expected.token_ids)].tolist()
        assert ids == expected.token_ids


def test_a_damaged_or_foreign_file_in_a_package(
    slotted: Callable[..., Package], tmp_path: Path
) -> None:
    package = open_package(shutil.copytree(slotted("gpt2").folder, tmp_path / "p"))
    damaged = package.loras["a"]
    damaged.write_bytes(damaged.read_bytes()[:-50])
    with pytest.raises(BeamgenError, match=r"adapters/a.onnx_adapter has \d+ bytes"):
        open_package(package.folder)
    generator = Generator(package.folder, verify=False)
    with pytest.raises(BeamgenError, match=r"a.onnx_adapter is no .onnx_adapter file, or damaged"):
        generator.generate(PROMPTS, lora="a")
    shutil.copyfile(slotted("phi3").loras["a"], package.folder / "adapters/stray.onnx_adapter")
    with pytest.raises(BeamgenError, match=r"down_proj.lora_A.weight has no slot"):
        generator.generate(PROMPTS, lora="stray")
    assert generator.generate(PROMPTS, lora="b"), "the others are not touched"


def test_without_slots_a_package_is_what_it_was(
    checkpoints: Callable[[str], Path], packages: Callable[[str], Package]
) -> None:
    manifest = packages("gpt2").manifest
    assert manifest.lora_slots == ()
    assert manifest.source["lora"] is None
    session = Generator(packages("gpt2")).session
    assert not [v.name for v in session.get_overridable_initializers() if "lora" in v.name]
