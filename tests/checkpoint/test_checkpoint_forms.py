"""Checkpoints as people have them: other weight formats, no head, hub caches, old configs."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import huggingface_hub
import pytest
import torch
from huggingface_hub.errors import OfflineModeIsEnabled

from beamgen import BeamgenError, SearchConfig, export, open_checkpoint
from beamgen.tokenizer.load import load_tokenizer


@pytest.fixture
def copy(checkpoints: Callable[[str], Path], tmp_path: Path) -> Path:
    return Path(shutil.copytree(checkpoints("gpt2"), tmp_path / "copy"))


def _edit(path: Path, **changes) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def _same_weights(ours: torch.nn.Module, theirs: torch.nn.Module) -> bool:
    pairs = zip(ours.parameters(), theirs.parameters(), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_weights_keep_their_values(
    dtype: torch.dtype, checkpoints: Callable[[str], Path], tmp_path: Path
) -> None:
    model = open_checkpoint(checkpoints("gpt2")).load_model().to(dtype)
    model.save_pretrained(tmp_path, max_shard_size="100KB")
    assert _same_weights(open_checkpoint(tmp_path).load_model(), model.float())


def test_pickled_weights_load(checkpoints: Callable[[str], Path], tmp_path: Path) -> None:
    model = open_checkpoint(checkpoints("biogpt")).load_model()
    model.config.save_pretrained(tmp_path)
    torch.save(model.state_dict(), tmp_path / "pytorch_model.bin")
    assert not list(tmp_path.glob("*.safetensors"))
    assert _same_weights(open_checkpoint(tmp_path).load_model(), model)


def test_a_backbone_with_a_tied_head_loads(
    checkpoints: Callable[[str], Path], tmp_path: Path
) -> None:
    model = open_checkpoint(checkpoints("gpt2")).load_model()
    model.base_model.save_pretrained(tmp_path)
    assert _same_weights(open_checkpoint(tmp_path).load_model(), model)


def test_a_backbone_without_its_head_is_refused(
    checkpoints: Callable[[str], Path], tmp_path: Path
) -> None:
    """HF would make up a random head, and warn."""
    open_checkpoint(checkpoints("phi3")).load_model().base_model.save_pretrained(tmp_path)
    with pytest.raises(BeamgenError, match=r"lm_head\.weight \(1 in all\)") as error:
        open_checkpoint(tmp_path).load_model()
    assert "language-modelling head" in error.value.cure


def test_weights_of_another_size_are_refused(copy: Path) -> None:
    _edit(copy / "config.json", n_positions=128)
    with pytest.raises(BeamgenError) as error:
        open_checkpoint(copy).load_model()
    assert "\n" not in error.value.cause


def test_generation_settings_of_an_old_config_are_not_lost(copy: Path) -> None:
    """Before generation_config.json they stood in config.json; HF still reads them there."""
    (copy / "generation_config.json").unlink()
    _edit(copy / "config.json", length_penalty=2.0, max_length=30)
    found = SearchConfig.from_generation_config(open_checkpoint(copy).generation_config)
    assert (found.length_penalty, found.max_length, found.eos_token_id) == (2.0, 30, (2,))
    _edit(copy / "config.json", no_repeat_ngram_size=3)
    found = SearchConfig.from_generation_config(open_checkpoint(copy).generation_config)
    assert found.no_repeat_ngram_size == 3
    _edit(copy / "config.json", encoder_repetition_penalty=1.5)
    one_beam = {"num_beams": 1}
    found = SearchConfig.from_generation_config(open_checkpoint(copy).generation_config, one_beam)
    assert found.encoder_repetition_penalty == 1.5


def test_a_damaged_generation_config_is_refused(copy: Path) -> None:
    (copy / "generation_config.json").write_text("{")
    with pytest.raises(BeamgenError, match="cannot read the config"):
        open_checkpoint(copy)


def test_special_ids_outside_the_vocabulary_are_refused(copy: Path, tmp_path: Path) -> None:
    _edit(copy / "generation_config.json", eos_token_id=[2, 96])
    with pytest.raises(BeamgenError, match="eos_token_id 96 is outside the vocabulary of 96"):
        export(copy, tmp_path / "package", parity=False)
    assert not (tmp_path / "package").exists()


def test_a_checkpoint_without_eos_wants_to_be_told(copy: Path, tmp_path: Path) -> None:
    for name in ("config.json", "generation_config.json"):
        _edit(copy / name, eos_token_id=None)
    with pytest.raises(BeamgenError, match="names no eos_token_id"):
        export(copy, tmp_path / "package", parity=False)


def test_code_beside_a_known_architecture_is_not_run(copy: Path, tmp_path: Path) -> None:
    """Its config, model and tokenizer all name Python code; transformers' own is taken."""
    witness = tmp_path / "ran"
    (copy / "evil.py").write_text(f"from pathlib import Path\nPath({str(witness)!r}).touch()\n")
    names = ("AutoConfig", "AutoModelForCausalLM")
    _edit(copy / "config.json", auto_map=dict.fromkeys(names, "evil.Evil"))
    tokenizer = {"tokenizer_class": "Evil", "auto_map": {"AutoTokenizer": ["evil.Evil", None]}}
    (copy / "tokenizer_config.json").write_text(json.dumps(tokenizer))
    open_checkpoint(copy).load_model()
    with pytest.raises(BeamgenError, match="cannot load the tokenizer"):
        load_tokenizer(copy)
    assert not witness.exists()


def test_code_of_an_old_release_gives_way_to_transformers_own_class(
    checkpoints: Callable[[str], Path], tmp_path: Path
) -> None:
    """As phi-3's first checkpoints have it; and a package of it names no code that it lacks."""
    folder = Path(shutil.copytree(checkpoints("phi3"), tmp_path / "old"))
    code = "raise RuntimeError('written for transformers 4.39')\n"
    for name in ("configuration_phi3", "modeling_phi3"):
        (folder / f"{name}.py").write_text(code)
    named = {"AutoConfig": "configuration_phi3.Phi3Config"}
    named["AutoModelForCausalLM"] = "modeling_phi3.Phi3ForCausalLM"
    _edit(folder / "config.json", auto_map=named)
    said: list[str] = []
    made = export(folder, tmp_path / "package", trust_remote_code=True, progress=said.append)
    assert made.exit_code == 0
    assert made.parity is not None
    assert "taking the phi3 of transformers, not the Python code of" in said[0]
    assert "auto_map" not in json.loads((tmp_path / "package/config.json").read_text())
    theirs = open_checkpoint(checkpoints("phi3")).load_model()
    assert _same_weights(open_checkpoint(folder, trust_remote_code=True).load_model(), theirs)
    assert not open_checkpoint(folder).leaves_code_aside

    _edit(folder / "config.json", auto_map={**named, "AutoTokenizer": ["old.Tokenizer", None]})
    kept = open_checkpoint(folder, trust_remote_code=True).config.auto_map
    assert kept == {"AutoTokenizer": ["old.Tokenizer", None]}


def _hub(monkeypatch: pytest.MonkeyPatch, files: list[str] | Exception, folder: Path | None):
    """A hub with these files; ``folder`` is what its cache holds. Returns the calls."""
    calls: list[dict] = []

    def list_repo_files(hub_id: str, **options) -> list[str]:
        calls.append({"hub_id": hub_id, **options})
        if isinstance(files, Exception):
            raise files
        return files

    def snapshot_download(hub_id: str, **options) -> str:
        calls.append({"hub_id": hub_id, **options})
        if folder is None:
            raise FileNotFoundError("not in the cache")
        return str(folder)

    monkeypatch.setattr(huggingface_hub, "list_repo_files", list_repo_files)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    return calls


def test_pickled_weights_are_fetched_only_where_there_are_no_others(
    copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = _hub(monkeypatch, ["config.json", "pytorch_model.bin"], copy)
    open_checkpoint("someone/old")
    assert "*.bin" in calls[1]["allow_patterns"]


def test_code_is_fetched_only_when_it_is_trusted(
    copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = _hub(monkeypatch, ["config.json", "model.safetensors", "evil.py"], copy)
    open_checkpoint("someone/odd")
    open_checkpoint("someone/odd", trust_remote_code=True)
    assert ["*.py" in call["allow_patterns"] for call in calls[1::2]] == [False, True]


def test_the_cache_stands_in_for_a_hub_out_of_reach(
    copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = _hub(monkeypatch, OfflineModeIsEnabled("offline"), copy)
    assert open_checkpoint("someone/known", revision="v2").folder == copy
    assert calls[1] == {"hub_id": "someone/known", "revision": "v2", "local_files_only": True}


def test_a_revision_that_is_nowhere_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    _hub(monkeypatch, OfflineModeIsEnabled("first line\nsecond line"), None)
    with pytest.raises(BeamgenError) as error:
        open_checkpoint("someone/known", revision="v3")
    assert "no such checkpoint at revision v3: it cannot be reached" in error.value.cause
    assert "\n" not in error.value.cause
