from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import huggingface_hub
import pytest
import torch
from safetensors.torch import load_file, save_file

from beamgen import BeamgenError, find_adapter, open_checkpoint
from beamgen.checkpoint.checkpoint import demo_checkpoint
from beamgen.checkpoint.resolve import resolve
from beamgen.errors import CheckpointError
from beamgen.testing import tiny_model
from beamgen.tokenizer.load import load_tokenizer


@pytest.fixture
def copy(checkpoints: Callable[[str], Path], tmp_path: Path) -> Path:
    """A GPT-2 checkpoint of one's own, to be damaged."""
    return Path(shutil.copytree(checkpoints("gpt2"), tmp_path / "copy"))


def _edit(path: Path, **changes) -> None:
    values = json.loads(path.read_text())
    path.write_text(json.dumps({**values, **changes}))


def _refused(source, **options) -> BeamgenError:
    with pytest.raises(BeamgenError) as error:
        open_checkpoint(source, **options)
    assert error.value.cure
    assert "\n" not in error.value.cause
    return error.value


def test_a_missing_path_is_not_taken_for_a_hub_id(tmp_path: Path) -> None:
    for path in (tmp_path / "nothing", "./nothing", "some/deep/path"):
        assert _refused(path).cause == f"there is no folder {path}"


def test_a_hub_out_of_reach_says_so() -> None:
    error = _refused("microsoft/biogpt")
    assert "'microsoft/biogpt' is no local folder" in error.cause
    assert "network" in error.cure


def test_a_file_is_no_checkpoint(copy: Path) -> None:
    assert "is a file" in _refused(copy / "config.json").cause


def test_a_folder_without_config(tmp_path: Path) -> None:
    assert "holds no config.json" in _refused(tmp_path).cause


def test_a_config_that_is_no_json(copy: Path) -> None:
    (copy / "config.json").write_text("{")
    assert "cannot read the config" in _refused(copy).cause


def test_an_unknown_architecture(copy: Path) -> None:
    _edit(copy / "config.json", model_type="no-such-model")
    assert "knows no model_type 'no-such-model'" in _refused(copy).cause


def test_an_architecture_without_adapter(copy: Path) -> None:
    _edit(copy / "config.json", model_type="olmo", architectures=["OlmoForCausalLM"])
    with pytest.raises(BeamgenError, match="no adapter for 'olmo'"):
        open_checkpoint(copy).adapter()


def test_an_encoder_decoder_without_adapter(tmp_path: Path) -> None:
    from transformers import T5GemmaConfig

    T5GemmaConfig().save_pretrained(tmp_path)
    with pytest.raises(BeamgenError, match="no adapter for the encoder-decoder 't5gemma'"):
        open_checkpoint(tmp_path).adapter()


def test_an_encoder_decoder_and_its_decoder_alone_are_told_apart(tmp_path: Path) -> None:
    from transformers import BartConfig

    BartConfig(d_model=8, encoder_layers=1).save_pretrained(tmp_path)
    checkpoint = open_checkpoint(tmp_path)
    assert checkpoint.adapter().name == "bart_seq2seq"
    with pytest.raises(BeamgenError, match="'bart' is for a decoder alone"):
        checkpoint.adapter("BartForCausalLM")
    with pytest.raises(BeamgenError, match="'default' is for a decoder alone"):
        checkpoint.adapter("default")
    BartConfig(d_model=8, is_encoder_decoder=False, is_decoder=True).save_pretrained(tmp_path)
    checkpoint = open_checkpoint(tmp_path)
    assert checkpoint.adapter().name == "bart"
    with pytest.raises(BeamgenError, match="'bart_seq2seq' is for an encoder-decoder"):
        checkpoint.adapter("BartForConditionalGeneration")


#: A saved config's model_type, whether it says encoder-decoder, and its class; what is asked
#: for; cause and cure.
HALVES = [
    ("t5", False, "T5EncoderModel", "T5ForConditionalGeneration",
     r"is an encoder alone \(T5EncoderModel\)", "a whole T5ForConditionalGeneration"),
    ("t5", False, "T5EncoderModel", None,
     r"is an encoder alone \(T5EncoderModel\)", "a whole T5ForConditionalGeneration"),
    ("bert", False, "BertModel", "EncoderDecoderModel",
     "is a 'bert' checkpoint, but EncoderDecoderModel is 'encoder-decoder'",
     "name a checkpoint of 'encoder-decoder', or leave out"),
    ("marian", False, "MarianForCausalLM", "MarianMTModel",
     "is a decoder alone .'marian'", "a whole MarianMTModel"),
    ("whisper", False, "WhisperForCausalLM", "WhisperForConditionalGeneration",
     "is a decoder alone .'whisper'", "a whole WhisperForConditionalGeneration"),
    ("gpt2", False, "GPT2LMHeadModel", "BartForConditionalGeneration",
     "is a 'gpt2' checkpoint, but BartForConditionalGeneration is 'bart'",
     "name a checkpoint of 'bart', or leave out"),
    ("whisper", True, "WhisperForConditionalGeneration", "GPT2LMHeadModel",
     "is a 'whisper' checkpoint, but GPT2LMHeadModel is 'gpt2'",
     "name a checkpoint of 'gpt2', or leave out"),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "whole", "saved", "asked", "cause", "cure"), HALVES)
def test_half_a_model_or_another_one(
    kind: str, whole: bool, saved: str, asked: str | None, cause: str, cure: str, tmp_path: Path
) -> None:
    """Before its config is read, and after."""
    stored = {"model_type": kind, "is_encoder_decoder": whole, "architectures": [saved]}
    (tmp_path / "config.json").write_text(json.dumps(stored))
    for find in (
        lambda: resolve(tmp_path, asked),
        lambda: open_checkpoint(tmp_path).adapter(asked),
    ):
        with pytest.raises(CheckpointError, match=cause) as error:
            find()
        assert cure in error.value.cure


def test_the_wrong_class_for_a_checkpoint(copy: Path) -> None:
    checkpoint = open_checkpoint(copy)
    assert checkpoint.adapter("GPT2LMHeadModel").name == "gpt2"
    with pytest.raises(BeamgenError, match="is a 'gpt2' checkpoint, but BioGptModel is 'biogpt'"):
        checkpoint.adapter("BioGptModel")


def test_a_revision_belongs_to_a_hub_id(copy: Path) -> None:
    assert "local folder" in _refused(copy, revision="main").cause


def test_a_hub_id_is_fetched_at_its_revision(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = {}

    def files(hub_id: str, revision: str | None) -> list[str]:
        return ["config.json", "model.safetensors", "pytorch_model.bin"]

    def download(hub_id: str, revision: str | None, allow_patterns: list[str]) -> str:
        asked.update(hub_id=hub_id, revision=revision, patterns=allow_patterns)
        return str(copy)

    monkeypatch.setattr(huggingface_hub, "list_repo_files", files)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    checkpoint = open_checkpoint("someone/gpt2-kin", revision="v2")
    assert (asked["hub_id"], asked["revision"]) == ("someone/gpt2-kin", "v2")
    assert "*.safetensors" in asked["patterns"]
    assert not {"*.bin", "*.py"} & set(asked["patterns"]), "one weight format, and no code"
    assert (checkpoint.name, checkpoint.folder) == ("gpt2-kin", copy)


def test_weights_that_are_missing_are_named(copy: Path) -> None:
    weights = load_file(copy / "model.safetensors")
    del weights["transformer.h.1.mlp.c_fc.weight"]
    save_file(weights, copy / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(BeamgenError, match=r"transformer\.h\.1\.mlp\.c_fc\.weight"):
        open_checkpoint(copy).load_model()


def test_damaged_weights(copy: Path) -> None:
    content = (copy / "model.safetensors").read_bytes()
    (copy / "model.safetensors").write_bytes(content[: len(content) // 2])
    with pytest.raises(BeamgenError, match="cannot load the weights"):
        open_checkpoint(copy).load_model()


def test_no_weights_at_all(copy: Path) -> None:
    (copy / "model.safetensors").unlink()
    with pytest.raises(BeamgenError, match="holds no weights"):
        open_checkpoint(copy).load_model()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_loads_as_float32(dtype: torch.dtype, tmp_path: Path) -> None:
    tiny_model(find_adapter("gpt2").tiny_config()).to(dtype).save_pretrained(tmp_path)
    checkpoint = open_checkpoint(tmp_path)
    assert checkpoint.dtype == str(dtype).removeprefix("torch.")
    assert {p.dtype for p in checkpoint.load_model().parameters()} == {torch.float32}


def test_shards_load(tmp_path: Path, checkpoints: Callable[[str], Path]) -> None:
    model = open_checkpoint(checkpoints("gpt2")).load_model()
    model.save_pretrained(tmp_path, max_shard_size="100KB")
    assert len(list(tmp_path.glob("*.safetensors"))) > 1
    loaded = open_checkpoint(tmp_path).load_model()
    for ours, theirs in zip(loaded.parameters(), model.parameters(), strict=True):
        assert torch.equal(ours, theirs)


def test_code_of_a_checkpoint_is_not_run_unasked(copy: Path, tmp_path: Path) -> None:
    witness = tmp_path / "ran"
    (copy / "configuration_evil.py").write_text(
        "from pathlib import Path\nfrom transformers import GPT2Config\n"
        f"Path({str(witness)!r}).touch()\n"
        "class EvilConfig(GPT2Config):\n    model_type = 'evil'\n"
    )
    changes = {"model_type": "evil", "auto_map": {"AutoConfig": "configuration_evil.EvilConfig"}}
    _edit(copy / "config.json", **changes)
    error = _refused(copy)
    assert "--trust-remote-code" in error.cure
    assert not witness.exists()
    assert open_checkpoint(copy, trust_remote_code=True).config.model_type == "evil"
    assert witness.exists()


@pytest.mark.parametrize(
    ("name", "cap"),
    [
        ("gpt2", 2_500_000),
        ("biogpt", 2_500_000),
        ("phi3", 2_500_000),
        ("marian", 4_500_000),
    ],
)
def test_the_demo_checkpoints_are_small_and_whole(name: str, cap: int) -> None:
    checkpoint = demo_checkpoint(find_adapter(name))
    size = sum(path.stat().st_size for path in checkpoint.folder.iterdir())
    assert size <= cap
    parameters = sum(p.numel() for p in checkpoint.load_model().parameters())
    assert 300_000 <= parameters <= 1_000_000
    tokenizer = load_tokenizer(checkpoint.folder)
    text = "a person who makes something"
    assert tokenizer.decode(tokenizer.encode(text), skip_special_tokens=True) == text
