"""LoRAs of a base model whose vocabulary was resized: tokenizer, template and tokens come along."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel

from beamgen import BeamgenError, Generator, export, find_adapter, open_checkpoint
from beamgen.cli import main
from beamgen.package.source import open_source

SIZE = 100
IDS = torch.tensor([[5, 97, 7, 98, 99]])

#: How people keep the tokens that they added.
WAYS: dict[str, dict[str, Any]] = {
    "kept beside the LoRA": {},
    "trained whole": {"modules_to_save": ["embed_tokens", "wte", "lm_head"]},
    "trained embedding alone": {"modules_to_save": ["wte", "embed_tokens"]},
}


def _resized(base: Path) -> PreTrainedModel:
    """As a user of peft does it."""
    model = AutoModelForCausalLM.from_pretrained(base)
    model.resize_token_embeddings(SIZE, mean_resizing=False)
    return model


def _train(base: Path, folder: Path, **config: Any) -> Path:
    """A LoRA with random weights, of everything that is trained."""
    torch.manual_seed(0)
    named = {name.rpartition(".")[2] for name, _ in _resized(base).named_modules()}
    saved = [name for name in config.get("modules_to_save", []) if name in named]
    settings = {"r": 4, "target_modules": "all-linear", "modules_to_save": saved or None}
    model = get_peft_model(_resized(base), LoraConfig(task_type="CAUSAL_LM", **settings))
    for parameter in model.parameters():
        if parameter.requires_grad:
            torch.nn.init.normal_(parameter, std=0.3)
    model.save_pretrained(str(folder), save_embedding_layers=True)
    return folder


def _logits(model: torch.nn.Module) -> torch.Tensor:
    with torch.no_grad():
        return model(input_ids=IDS).logits


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", ["gpt2", "phi3", "biogpt"])
def test_the_model_is_what_a_user_of_peft_has(
    name: str, way: str, checkpoints: Callable[[str], Path], tmp_path: Path
) -> None:
    base = checkpoints(name)
    folder = _train(base, tmp_path / "lora", **WAYS[way])
    theirs = PeftModel.from_pretrained(_resized(base), str(folder)).eval()
    ours = open_checkpoint(base).with_lora(folder)
    assert ours.vocab_size == SIZE
    expected = _logits(theirs)
    assert expected.shape[-1] == SIZE
    assert torch.equal(_logits(ours.load_model()), expected)
    assert torch.allclose(_logits(ours.load_merged()), expected, rtol=1e-4, atol=1e-3)


def test_a_package_has_the_loras_vocabulary_tokenizer_and_template(tmp_path: Path) -> None:
    """The command names the LoRA alone, in one way or the other; a token that was added ends."""
    base = find_adapter("gpt2").demo
    assert base is not None
    tokenizer = AutoTokenizer.from_pretrained(base)
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|user|>", "<|end|>"]})
    tokenizer.chat_template = "{% for m in messages %}<|user|>{{ m['content'] }}{% endfor %}"
    model = AutoModelForCausalLM.from_pretrained(base)
    model.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    wrapped = get_peft_model(model, LoraConfig(task_type="CAUSAL_LM", target_modules="all-linear"))
    torch.manual_seed(1)
    for parameter_name, parameter in wrapped.named_parameters():
        if "lora_B" in parameter_name:
            torch.nn.init.normal_(parameter, std=0.05)
    folder = tmp_path / "lora"
    wrapped.save_pretrained(str(folder), save_embedding_layers=True)
    tokenizer.save_pretrained(folder)
    (folder / "api_key.txt").write_text("secret")
    end = tokenizer.convert_tokens_to_ids("<|end|>")

    line = ["export", "-m", str(folder), "-o", str(tmp_path / "package")]
    made = CliRunner().invoke(main, [*line, "--eos-token-id", str(end), "--json"])
    assert made.exit_code == 0, made.output
    manifest = json.loads(made.stdout)
    assert manifest["vocab_size"] == len(tokenizer)
    assert manifest["source"]["lora"] == str(folder)
    assert manifest["parity"]["verdict"] == "exact"
    package = tmp_path / "package"
    assert json.loads((package / "config.json").read_text())["vocab_size"] == len(tokenizer)
    assert not {"adapter_config.json", "api_key.txt"} & {path.name for path in package.iterdir()}

    generator = Generator(package)
    assert (
        generator.encode("<|user|>a bird is<|end|>")
        == tokenizer("<|user|>a bird is<|end|>").input_ids
    )
    assert open_source(generator.package).vocab_size == len(tokenizer)
    again = CliRunner().invoke(main, ["parity", "-m", str(package), "--checkpoint", str(base)])
    assert again.exit_code == 0, again.output
    chat = CliRunner().invoke(main, ["generate", "-m", str(package), "--chat", "-p", "hello"])
    assert chat.exit_code == 0, chat.output


def test_a_template_alone_goes_before_the_checkpoints(tmp_path: Path) -> None:
    base = find_adapter("phi3").demo
    assert base is not None
    folder = _plain_lora(base, tmp_path / "lora")
    (folder / "chat_template.jinja").write_text("{{ messages[0]['content'] }}")
    ours = open_checkpoint(base).with_lora(folder)
    (tmp_path / "package").mkdir()
    ours.copy_companions(tmp_path / "package")
    assert (tmp_path / "package/chat_template.jinja").read_text() == "{{ messages[0]['content'] }}"
    assert (tmp_path / "package/tokenizer.json").read_bytes() == (
        base / "tokenizer.json"
    ).read_bytes()


def _plain_lora(base: Path, folder: Path) -> Path:
    model = AutoModelForCausalLM.from_pretrained(base)
    lora = LoraConfig(task_type="CAUSAL_LM", target_modules="all-linear")
    get_peft_model(model, lora).save_pretrained(str(folder))
    return folder


def test_half_of_a_vocabulary_is_refused(
    checkpoints: Callable[[str], Path], tmp_path: Path
) -> None:
    folder = _train(checkpoints("phi3"), tmp_path / "lora")
    path = folder / "adapter_model.safetensors"
    tensors = load_file(path)
    save_file({name: t for name, t in tensors.items() if "lm_head" not in name}, path)
    with pytest.raises(BeamgenError, match=r"lm_head of 100 is missing"):
        export(checkpoints("phi3"), tmp_path / "package", lora=[folder])


def test_slots_say_to_merge_and_merging_works(
    checkpoints: Callable[[str], Path], tmp_path: Path
) -> None:
    folder = _train(checkpoints("gpt2"), tmp_path / "lora", **WAYS["trained whole"])
    with pytest.raises(BeamgenError) as error:
        export(checkpoints("gpt2"), tmp_path / "package", lora=[folder], lora_slots=[])
    words = error.value.cure.split("beamgen ")[1].split()
    done = CliRunner().invoke(main, [*words, "-o", str(tmp_path / "merged")])
    assert done.exit_code == 0, done.output
    assert "parity with transformers generate: exact" in done.stdout
