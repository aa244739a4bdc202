"""Whatever road a wrong weight came by: it is told by name before anything is made of it."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import load_file, save_file
from support import numpy_gpt2
from support.odd_checkpoints import edit_config, edit_tensors, file_greedy, numpy_greedy

from beamgen import (
    BeamgenError,
    export,
    find_adapter,
    open_checkpoint,
    open_package,
    open_source,
)
from beamgen.checkpoint.checkpoint import read_checkpoint
from beamgen.checkpoint.files import find_checkpoint
from beamgen.cli import main
from beamgen.testing import tiny_model

HEAD, EMBEDDING = "lm_head.weight", "transformer.wte.weight"


@pytest.fixture
def gpt2(checkpoints: Callable[[str], Path], tmp_path: Path) -> Path:
    return Path(shutil.copytree(checkpoints("gpt2"), tmp_path / "gpt2"))


def _tensor(folder: Path, name: str) -> torch.Tensor:
    return load_file(folder / "model.safetensors")[name]


def _refused(folder: Path) -> BeamgenError:
    with pytest.raises(BeamgenError) as error:
        open_checkpoint(folder).load_model()
    assert "\n" not in error.value.cause
    return error.value


def _another_head(gpt2: Path) -> Path:
    torch.manual_seed(1)
    return edit_tensors(gpt2, {HEAD: torch.randn_like(_tensor(gpt2, EMBEDDING))})


@pytest.mark.transformers_4
def test_a_head_of_its_own_is_not_overwritten_by_the_embedding(gpt2: Path) -> None:
    error = _refused(_another_head(gpt2))
    assert f"stores {HEAD}, which is not the embedding that config.json ties it to" in error.cause


def test_the_cure_gives_the_tokens_of_the_stored_head(gpt2: Path, tmp_path: Path) -> None:
    tied = numpy_greedy(numpy_gpt2, gpt2, 10)
    _another_head(gpt2)
    edit_config(gpt2, tie_word_embeddings=False)
    right = numpy_greedy(numpy_gpt2, gpt2, 10)
    assert right != tied
    assert file_greedy(export(gpt2, tmp_path / "package").package, 10) == right


@pytest.mark.transformers_5
def test_a_head_of_its_own_is_used_though_the_config_ties_it(gpt2: Path, tmp_path: Path) -> None:
    _another_head(gpt2)
    untied = Path(shutil.copytree(gpt2, tmp_path / "untied"))
    right = numpy_greedy(numpy_gpt2, edit_config(untied, tie_word_embeddings=False), 10)
    assert file_greedy(export(gpt2, tmp_path / "package").package, 10) == right


@pytest.mark.transformers_4
def test_the_other_cure_gives_the_tokens_of_the_embedding(gpt2: Path, tmp_path: Path) -> None:
    right = numpy_greedy(numpy_gpt2, gpt2, 10)
    _another_head(gpt2)
    target = tmp_path / "package"
    run = CliRunner().invoke(
        main, ["export", "-m", str(gpt2), "-o", str(target), "--ignore-unread", HEAD]
    )
    assert run.exit_code == 0, run.output
    package = open_package(target)
    assert file_greedy(package, 10) == right
    assert open_source(package).ignored == (HEAD,), "parity goes by what export was told"


def test_a_head_that_is_the_embedding_may_be_stored_too(gpt2: Path) -> None:
    edit_tensors(gpt2, {HEAD: _tensor(gpt2, EMBEDDING).clone()})
    open_checkpoint(gpt2).load_model()


def test_layers_that_the_config_leaves_out_are_told(gpt2: Path) -> None:
    edit_config(gpt2, n_layer=1)
    error = _refused(gpt2)
    assert "stores transformer.h.1.attn.c_attn.bias" in error.cause
    assert "(12 in all), which GPT2LMHeadModel does not read" in error.cause
    assert error.cure.endswith("--ignore-unread 'transformer.h.1.*'")


def test_what_belongs_to_another_task_may_be_left_unread(gpt2: Path) -> None:
    extra = {"v_head.summary.weight": torch.ones(1, 64), "v_head.summary.bias": torch.ones(1)}
    edit_tensors(gpt2, {**extra, "score.weight": torch.ones(2, 64)})
    cure = _refused(gpt2).cure
    assert cure.endswith("--ignore-unread 'score.weight' --ignore-unread 'v_head.summary.*'")
    told = read_checkpoint(find_checkpoint(gpt2), ["score.weight", "v_head.summary.*"])
    told.load_model()


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("name", [EMBEDDING, "transformer.h.1.mlp.c_fc.bias"])
def test_weights_that_are_no_numbers_are_told(gpt2: Path, name: str, value: float) -> None:
    broken = _tensor(gpt2, name).clone()
    broken.view(-1)[5:8] = value
    edit_tensors(gpt2, {name: broken})
    assert f"{name} holds 3 values that are no finite numbers" in _refused(gpt2).cause


def test_numbers_that_float32_has_none_of_are_told(gpt2: Path) -> None:
    large = _tensor(gpt2, EMBEDDING).double()
    large[0, 0] = 1e300
    edit_tensors(gpt2, {EMBEDDING: large})
    assert f"{EMBEDDING} holds 1 values" in _refused(gpt2).cause


def test_a_value_that_was_not_loaded_is_told(gpt2: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As by a loader that rearranges: here one that swaps two rows."""
    from transformers import GPT2LMHeadModel

    load = GPT2LMHeadModel.from_pretrained

    def swapped(*args, **options):
        model, report = load(*args, **options)
        with torch.no_grad():
            weight = model.transformer.h[1].attn.c_proj.weight
            weight[[0, 1]] = weight[[1, 0]]
        return model, report

    monkeypatch.setattr(GPT2LMHeadModel, "from_pretrained", swapped)
    assert "other values than it stores: transformer.h.1.attn.c_proj.weight" in _refused(gpt2).cause


def test_masks_that_old_files_store_are_no_weights(gpt2: Path) -> None:
    mask = torch.ones(256, 256).tril().view(1, 1, 256, 256)
    old = {
        "transformer.h.0.attn.bias": mask,
        "transformer.h.0.attn.masked_bias": torch.tensor(-1e4),
    }
    edit_tensors(gpt2, old)
    open_checkpoint(gpt2).load_model()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_frequencies_that_old_files_store_are_compared(
    checkpoints: Callable[[str], Path], tmp_path: Path, dtype: torch.dtype
) -> None:
    phi3 = Path(shutil.copytree(checkpoints("phi3"), tmp_path / "phi3"))
    name = "model.layers.0.self_attn.rotary_emb.inv_freq"
    right = 10000.0 ** -(torch.arange(0, 16, 2) / 16)
    edit_tensors(phi3, {name: right.to(dtype)})
    open_checkpoint(phi3).load_model()
    edit_tensors(phi3, {name: (right * 1.2).to(dtype)})
    assert f"stores {name}, which Phi3ForCausalLM does not read" in _refused(phi3).cause


@pytest.mark.transformers_4
@pytest.mark.parametrize("zipped", [True, False])
def test_pickles_are_compared_too(gpt2: Path, zipped: bool) -> None:
    tensors = load_file(gpt2 / "model.safetensors")
    (gpt2 / "model.safetensors").unlink()
    torch.manual_seed(1)
    tensors[HEAD] = torch.randn_like(tensors[EMBEDDING])
    torch.save(tensors, gpt2 / "pytorch_model.bin", _use_new_zipfile_serialization=zipped)
    assert f"stores {HEAD}" in _refused(gpt2).cause
    tensors[HEAD] = tensors[EMBEDDING]
    torch.save(tensors, gpt2 / "pytorch_model.bin", _use_new_zipfile_serialization=zipped)
    open_checkpoint(gpt2).load_model()


def test_shards_are_compared_too(gpt2: Path, tmp_path: Path) -> None:
    sharded = tmp_path / "sharded"
    open_checkpoint(gpt2).load_model().save_pretrained(sharded, max_shard_size="100KB")
    edit_config(sharded, n_layer=1)
    assert "(12 in all)" in _refused(sharded).cause


def test_a_backbone_is_compared_by_its_own_names(gpt2: Path, tmp_path: Path) -> None:
    backbone = tmp_path / "backbone"
    open_checkpoint(gpt2).load_model().base_model.save_pretrained(backbone)
    assert "wte.weight" in load_file(backbone / "model.safetensors")
    open_checkpoint(backbone).load_model()
    edit_config(backbone, n_layer=1)
    assert "stores h.1.attn.c_attn.bias" in _refused(backbone).cause


def test_what_is_tied_to_what_is_missing_is_told(gpt2: Path) -> None:
    """Transformers 5 ties the other way round: the head that is there is the embedding."""
    _another_head(gpt2)
    edit_tensors(gpt2, {}, drop=[EMBEDDING])
    checkpoint = open_checkpoint(gpt2)
    if hasattr(checkpoint.empty_model(), "all_tied_weights_keys"):
        embedding = checkpoint.load_model().get_input_embeddings().weight
        assert torch.equal(embedding, _tensor(gpt2, HEAD))
    else:
        assert f"lacks weights of GPT2LMHeadModel: {EMBEDDING}" in _refused(gpt2).cause


@pytest.mark.transformers_4
def test_a_table_that_the_class_makes_itself_need_not_be_stored(tmp_path: Path) -> None:
    """Marian saves no positions; BART does, and without them it is refused."""
    tiny_model(find_adapter("marian").tiny_config()).save_pretrained(tmp_path / "marian")
    assert not any("positions" in name for name in load_file(tmp_path / "marian/model.safetensors"))
    table = open_checkpoint(tmp_path / "marian").load_model().model.encoder.embed_positions.weight
    angles = np.arange(128)[:, None] / 10000 ** (np.arange(32)[None] / 32)
    assert np.allclose(table.numpy(), np.hstack([np.sin(angles), np.cos(angles)]), atol=1e-5)

    tiny_model(find_adapter("bart_seq2seq").tiny_config()).save_pretrained(tmp_path / "bart")
    file = tmp_path / "bart" / "model.safetensors"
    kept = {name: x for name, x in load_file(file).items() if "embed_positions" not in name}
    save_file(kept, file, {"format": "pt"})
    with pytest.raises(BeamgenError, match="embed_positions"):
        open_checkpoint(tmp_path / "bart").load_model()
