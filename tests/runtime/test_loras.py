"""LoRAs in one session, each equal to HF + peft; merged ones; what is refused."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from functools import cache
from pathlib import Path

import huggingface_hub
import numpy as np
import onnxruntime
import peft
import pytest
import torch
from support.architectures import ARCHITECTURES
from support.peft_folders import save_lora

from beamgen import (
    BeamgenError,
    Generator,
    Package,
    convert_lora,
    export,
    open_checkpoint,
    open_package,
    open_source,
    remove_lora,
)
from beamgen.parity.check import check_parity
from beamgen.parity.reference import Reference
from beamgen.settings.prompts import left_pad

pytestmark = pytest.mark.filterwarnings("ignore")

SETTINGS = {"num_beams": 4, "max_new_tokens": 10, "eos_token_id": 2}
PROMPTS = [[5, 6, 7, 8], [9], [10, 11]]

#: Of other ranks, one on some layers alone.
LORAS = {
    "a": {"r": 4, "seed": 1},
    "b": {"r": 9, "lora_alpha": 30, "use_rslora": True, "seed": 2},
    "some": {"r": 2, "target_modules": ["c_attn", "o_proj", "fc1"], "layers_to_transform": [1]},
}


@pytest.fixture(scope="module")
def loras(
    once: Callable[..., Path], checkpoints: Callable[[str], Path]
) -> Callable[[str], dict[str, Path]]:
    """``loras("gpt2")``: PEFT folders by name."""

    def make(name: str) -> dict[str, Path]:
        def write(folder: Path) -> None:
            for lora, config in LORAS.items():
                save_lora(checkpoints(name), folder / lora, **config)

        folder = once(f"loras/{name}", write)
        return {lora: folder / lora for lora in LORAS}

    return make


@pytest.fixture(scope="module")
def slotted(
    once: Callable[..., Path],
    checkpoints: Callable[[str], Path],
    loras: Callable[[str], dict[str, Path]],
) -> Callable[..., Package]:
    """``slotted("gpt2", "contrib")``: a package with the LoRAs; treat it as read-only."""

    @cache
    def make(name: str, backend: str = "loop") -> Package:
        def write(folder: Path) -> None:
            export(
                checkpoints(name),
                folder,
                parity=False,
                backend=backend,
                settings=SETTINGS,
                lora=list(loras(name).values()),
                lora_slots=[],
            )

        return open_package(once(f"slotted/{name}-{backend}", write))

    return make


def _ids(generations) -> list[list[list[int]]]:
    return [[found.token_ids for found in row] for row in generations]


@pytest.mark.parametrize(
    ("name", "backend"), [*((name, "loop") for name in ARCHITECTURES), ("gpt2", "contrib")]
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


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_rows_of_one_batch_have_their_own(name: str, slotted: Callable[..., Package]) -> None:
    """As each prompt alone with its LoRA, and as peft's ``adapter_names``."""
    generator = Generator(slotted(name))
    choice = ["b", None, "a"]
    together = generator.generate(PROMPTS, lora=choice, num_return_sequences=2)
    for prompt, lora, found in zip(PROMPTS, choice, together, strict=True):
        (alone,) = generator.generate(prompt, lora=lora, num_return_sequences=2)
        assert [f.token_ids for f in found] == [f.token_ids for f in alone]
        np.testing.assert_allclose([f.score for f in found], [f.score for f in alone], atol=1e-5)


def test_rows_of_one_batch_equal_pefts_mixed_batch(
    slotted: Callable[..., Package],
    loras: Callable[[str], dict[str, Path]],
    checkpoints: Callable[[str], Path],
) -> None:
    base, folders = open_checkpoint(checkpoints("gpt2")).load_model(), loras("gpt2")
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
    found = Generator(slotted("gpt2")).generate(prompts, lora=["a", None, "b"])
    for row, tokens in zip(found, expected[:, 3:].tolist(), strict=True):
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
    assert caught.value.cure.endswith("--lora-slots c_attn,c_fc,c_proj")
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
    "config",
    [
        {},
        {"use_dora": True},
        {"target_modules": ["lm_head", "c_attn"]},
        {"target_modules": ["c_fc"], "bias": "lora_only"},
        {"target_modules": ["wte"]},
    ],
    ids=["lora", "dora", "tied head", "bias", "embedding"],
)
def test_merged_equals_hf_and_peft(
    config: dict, checkpoints: Callable[[str], Path], tmp_path: Path
) -> None:
    base = open_checkpoint(checkpoints("gpt2"))
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


def test_conversion_replaces_only_when_told_and_removal_leaves_no_trace(
    slotted: Callable[..., Package], loras: Callable[[str], dict[str, Path]], tmp_path: Path
) -> None:
    package = open_package(shutil.copytree(slotted("gpt2").folder, tmp_path / "p"))
    with pytest.raises(BeamgenError, match=r"has a LoRA called 'a'\npass --force"):
        convert_lora(package, loras("gpt2")["a"], parity=False)
    before = package.loras["a"].read_bytes()
    done = convert_lora(package, loras("gpt2")["b"], name="a", force=True, parity=False)
    assert done.package.loras["a"].read_bytes() != before
    again = open_package(package.folder)  # its hashes are right
    assert again.manifest.loras["a"]["source"] == str(loras("gpt2")["b"])
    assert Generator(again).generate(PROMPTS, lora="a") == Generator(again).generate(
        PROMPTS, lora="b"
    )
    left = remove_lora(again, "a")
    assert list(open_package(left.folder).loras) == ["b", "some"]
    with pytest.raises(BeamgenError, match=r"no LoRA called 'a'"):
        remove_lora(left, "a")
    with pytest.raises(BeamgenError, match=r"'a/b' cannot name a LoRA"):
        convert_lora(left, loras("gpt2")["a"], name="a/b")


def test_a_failed_conversion_is_undone(
    slotted: Callable[..., Package],
    loras: Callable[[str], dict[str, Path]],
    tmp_path: Path,
) -> None:
    """Ctrl-C while it is compared: what was there is there again, and else nothing is."""
    package = open_package(shutil.copytree(slotted("gpt2").folder, tmp_path / "p"))
    before = {path: path.read_bytes() for path in package.folder.rglob("*") if path.is_file()}

    def interrupt(line: str) -> None:
        if line.startswith("parity"):
            raise KeyboardInterrupt

    for name, force in (("a", True), ("new", False)):
        with pytest.raises(KeyboardInterrupt):
            convert_lora(package, loras("gpt2")["b"], name=name, force=force, progress=interrupt)
        after = {path: path.read_bytes() for path in package.folder.rglob("*") if path.is_file()}
        assert after == before


def test_two_changes_from_one_opened_package_both_count(
    slotted: Callable[..., Package], loras: Callable[[str], dict[str, Path]], tmp_path: Path
) -> None:
    stale = open_package(shutil.copytree(slotted("gpt2").folder, tmp_path / "p"))
    generator = Generator(stale)
    first = generator.generate(PROMPTS, lora="a")
    remove_lora(stale, "a")
    convert_lora(stale, loras("gpt2")["b"], name="a", parity=False)
    convert_lora(stale, loras("gpt2")["a"], name="c", parity=False)
    again = open_package(stale.folder)
    assert set(again.manifest.loras) == {"a", "b", "c", "some"}
    assert generator.generate(PROMPTS, lora="a") == generator.generate(PROMPTS, lora="b") != first
    again.loras["c"].unlink()  # by hand
    assert list(open_package(remove_lora(again, "c").folder).loras) == ["a", "b", "some"]


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
