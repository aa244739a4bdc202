"""LoRAs that are merged or get slots; what is refused."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import huggingface_hub
import numpy as np
import pytest
from support.lora_packages import PROMPTS, SETTINGS
from support.peft_folders import save_lora

from beamgen import (
    BeamgenError,
    Generator,
    convert_lora,
    export,
    open_checkpoint,
    open_package,
    open_source,
)
from beamgen.parity.reference import Reference
from beamgen.settings.prompts import left_pad


def test_a_slot_left_out_stays_the_base_models(
    checkpoints: Callable[[str], Path], loras: Callable[[str], dict[str, Path]], tmp_path: Path
) -> None:
    """Two of four kinds of layers have slots, and a LoRA on more is refused by its tensors."""
    package = export(
        checkpoints("gpt2"), tmp_path / "p", parity=False, lora_slots=["c_attn", "c_fc"]
    ).package
    assert {slot.module.rpartition(".")[2] for slot in package.manifest.lora_slots} == {
        "c_attn",
        "c_fc",
    }
    with pytest.raises(BeamgenError) as caught:
        convert_lora(package, loras("gpt2")["a"])
    assert "transformer.h.0.attn.c_proj.lora_A.weight has no slot" in caught.value.cause
    assert caught.value.cure.endswith("--lora-slots all-linear")
    assert not list(package.folder.rglob("*.onnx_adapter"))
    fitting = save_lora(checkpoints("gpt2"), tmp_path / "fits", target_modules=["c_fc"])
    done = convert_lora(package, fitting)
    assert done.parity is not None
    assert done.parity.verdict.value == "exact"
    assert open_package(package.folder).manifest.loras["fits"]["parity"]["verdict"] == "exact"


def test_head_and_required_slots(checkpoints: Callable[[str], Path], tmp_path: Path) -> None:
    """A LoRA on the tied head; slots that are plain inputs, as Node needs them."""
    folder = save_lora(checkpoints("gpt2"), tmp_path / "head", target_modules=["lm_head"])
    result = export(
        checkpoints("gpt2"),
        tmp_path / "p",
        settings=SETTINGS,
        lora=[folder],
        lora_slots=["lm_head"],
    )
    assert result.lora_parity["head"].verdict.value == "exact"
    assert result.exit_code == 0
    required = export(
        checkpoints("gpt2"),
        tmp_path / "required",
        parity=False,
        lora_slots=["lm_head"],
        required=["lora"],
    ).package
    generator = Generator(required)
    assert {"lm_head.lora_A.weight", "lm_head.lora_B.weight"} <= {
        value.name for value in generator.session.get_inputs()
    }
    assert generator.generate([[5, 6]]), "fed for the base model, too"


@pytest.mark.parametrize(
    ("name", "config"),
    [
        ("gpt2", {}),
        ("gpt2", {"use_dora": True}),
        ("gpt2", {"target_modules": ["lm_head", "c_attn"]}),
        ("gpt2", {"target_modules": ["c_fc"], "bias": "lora_only"}),
        ("gpt2", {"target_modules": ["wte"]}),
        (
            "gpt_oss",
            {"target_modules": ["q_proj"], "target_parameters": ["mlp.experts.gate_up_proj"]},
        ),
    ],
    ids=["lora", "dora", "tied head", "bias", "embedding", "experts"],
)
def test_merged_equals_hf_and_peft(
    name: str, config: dict, checkpoints: Callable[[str], Path], tmp_path: Path
) -> None:
    base = open_checkpoint(checkpoints(name))
    folder = save_lora(base.folder, tmp_path / "lora", **config)
    package = export(
        base.folder, tmp_path / "p", lora=[folder], settings=SETTINGS, parity=False
    ).package
    assert package.manifest.source["lora"] == str(folder)
    assert not package.manifest.lora_slots
    generator = Generator(package)
    ids, mask = left_pad(PROMPTS, generator.search.pad_token_id)
    found = generator.search_ids(ids, mask, generator.search)
    expected, without = (
        Reference(each.load_model()).generate(ids, mask, generator.search)
        for each in (base.with_lora(folder), base)
    )
    assert found.sequences.tolist() == expected.sequences.tolist()
    np.testing.assert_allclose(found.sequences_scores, expected.sequences_scores, atol=2e-4)
    assert found.sequences.tolist() != without.sequences.tolist()


def test_what_cannot_be_merged_or_kept(
    checkpoints: Callable[[str], Path], loras: Callable[[str], dict[str, Path]], tmp_path: Path
) -> None:
    base, folders = checkpoints("gpt2"), loras("gpt2")

    def refused(**options) -> str:
        with pytest.raises(BeamgenError) as caught:
            export(base, tmp_path / "p", **options)
        assert not (tmp_path / "p").exists()
        return str(caught.value)

    assert "2 LoRAs were given to be merged" in refused(lora=[folders["a"], folders["b"]])
    assert "there is no folder ./none" in refused(lora=["./none"])
    wrong = loras("phi3")["a"]
    for slots in (None, [], ["c_attn"]):
        message = refused(lora=[wrong], lora_slots=slots)
        assert "model.layers.0.mlp.down_proj.lora_A.weight has no linear layer" in message
    copy = Path(shutil.copytree(folders["a"], tmp_path / "again" / "a"))
    assert "two LoRAs would be called 'a'" in refused(lora=[folders["a"], copy], lora_slots=[])
    assert "'q_proj' is no linear layer of GPT2LMHeadModel" in refused(lora_slots=["q_proj"])
    assert "no slots whose inputs" in refused(required=["lora"])
    dora = save_lora(base, tmp_path / "dora", use_dora=True)
    assert "DoRA" in refused(lora=[dora], lora_slots=[])
    assert "c_proj.lora_A.weight has no slot" in refused(
        lora=[folders["a"]], lora_slots=["c_attn", "c_fc"]
    )


def test_a_base_of_another_width_is_named(
    loras: Callable[[str], dict[str, Path]], tmp_path: Path
) -> None:
    from transformers import GPT2Config, GPT2LMHeadModel

    special = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
    config = GPT2Config(n_layer=2, n_embd=32, n_head=2, vocab_size=96, **special)
    GPT2LMHeadModel(config).save_pretrained(tmp_path / "narrow")
    with pytest.raises(BeamgenError, match=r"c_attn.lora_A.weight takes 64 features, the layer 32"):
        export(tmp_path / "narrow", tmp_path / "p", lora=[loras("gpt2")["a"]])
    package = export(
        tmp_path / "narrow", tmp_path / "p", lora_slots=["all-linear"], parity=False
    ).package
    with pytest.raises(BeamgenError, match=r"c_attn.lora_A.weight takes 64 features, the layer 32"):
        convert_lora(package, loras("gpt2")["a"])


def test_a_lora_of_the_hub(
    checkpoints: Callable[[str], Path],
    loras: Callable[[str], dict[str, Path]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It is called as its repository is, and found again by its id."""
    folder, asked = loras("gpt2")["some"], []

    def snapshot_download(hub_id: str, **options) -> str:
        asked.append((hub_id, options["allow_patterns"]))
        return str(folder)

    files = ["adapter_config.json", "adapter_model.safetensors", "model.safetensors"]
    monkeypatch.setattr(huggingface_hub, "list_repo_files", lambda *_, **__: files)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    options = {"parity": False, "settings": SETTINGS, "lora": ["someone/own-lora"]}
    kept = export(checkpoints("gpt2"), tmp_path / "kept", lora_slots=[], **options).package
    assert kept.manifest.loras["own-lora"]["source"] == "someone/own-lora"
    merged = export(checkpoints("gpt2"), tmp_path / "merged", **options).package
    assert merged.manifest.source["lora"] == "someone/own-lora"
    assert open_source(merged).lora == "someone/own-lora"
    assert {hub_id for hub_id, _ in asked} == {"someone/own-lora"}
    assert asked[0][1] == ["adapter_config.json", "adapter_model.safetensors"]
    assert Generator(kept).generate(PROMPTS, lora="own-lora")
