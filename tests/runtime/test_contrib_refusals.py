"""What ONNX Runtime's operators cannot do is refused by name, when exporting or for a call."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from safetensors.torch import load_file
from support.architectures import OPERATORS
from support.odd_checkpoints import edit_tensors
from transformers import AutoModelForCausalLM

from beamgen import BeamgenError, Constraint, Generator, Package, export, find_adapter
from beamgen.testing import tiny_model

PROMPTS = [[5, 9, 7], [11, 12, 13, 14, 15], [20, 21]]


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"eos_token_id": (2, 5)}, "2 ids as eos_token_id"),
        ({"early_stopping": "never"}, 'early_stopping "never"'),
        ({"do_sample": True}, "do_sample with several beams"),
        ({"num_beams": 129}, "129 beams"),
        ({"max_new_tokens": 4096}, "more than 4096 tokens"),
        ({"max_length": 5000}, "more than 4096 tokens"),
        ({"bad_words_ids": [[5, 9]]}, "bad_words_ids of several tokens"),
        ({"sequence_bias": [[[5], 1.0]]}, "sequence_bias"),
        ({"forced_bos_token_id": 5}, "forced_bos_token_id"),
        ({"forced_eos_token_id": 2}, "forced_eos_token_id"),
        ({"remove_invalid_values": True}, "remove_invalid_values"),
        ({"exponential_decay_length_penalty": (5, 1.1)}, "exponential_decay_length_penalty"),
        ({"renormalize_logits": True}, "renormalize_logits"),
        ({"output_scores": True}, "output_scores"),
        ({"num_beams": 1, "do_sample": True}, "top_k 50"),
        ({**OPERATORS["Sampling"], "min_p": 0.1}, "min_p"),
        ({**OPERATORS["Sampling"], "typical_p": 0.9}, "typical_p"),
        ({**OPERATORS["Sampling"], "eta_cutoff": 0.1}, "eta_cutoff"),
        ({**OPERATORS["Sampling"], "epsilon_cutoff": 0.1}, "epsilon_cutoff"),
        (
            {**OPERATORS["Sampling"], "num_return_sequences": 2},
            "one sequence",
        ),
        ({**OPERATORS["Sampling"], "top_p": 1e-8}, "top_p 1e-08"),
        ({**OPERATORS["Sampling"], "temperature": 1e-40}, "temperature 1e-40"),
        ({**OPERATORS["Sampling"], "seed": 2**31}, "seed 2147483648"),
    ],
)
def test_what_the_operator_cannot_honour_is_refused(
    settings: dict, named: str, checkpoints: Callable[[str], Path], tmp_path: Path
) -> None:
    """When it is exported, before anything is written."""
    if any(name.startswith("max_l") or settings.get(name) == 4096 for name in settings):
        checkpoint = tmp_path / "long"
        config = find_adapter("gpt2").tiny_config()
        config.n_positions = 6000
        tiny_model(config).save_pretrained(checkpoint)
    else:
        checkpoint = checkpoints("gpt2")
    with pytest.raises(BeamgenError) as error:
        export(checkpoint, tmp_path / "out", backend="contrib", settings=settings)
    assert named in error.value.cause
    assert "--search loop" in error.value.cure
    assert not (tmp_path / "out").exists()


def test_a_cure_is_of_what_is_wrong_alone(
    checkpoints: Callable[[str], Path], tmp_path: Path
) -> None:
    """top_k is 50 by default, and no setting of a search that does not sample."""
    with pytest.raises(BeamgenError) as error:
        export(
            checkpoints("gpt2"), tmp_path / "out", backend="contrib", settings={"do_sample": True}
        )
    assert "top_k" not in str(error.value)
    assert error.value.cure.startswith("set --no-sample, or --num-beams 1; or export with")


def test_all_that_cannot_be_honoured_is_listed_at_once(
    checkpoints: Callable[[str], Path], tmp_path: Path
) -> None:
    settings = {"early_stopping": "never", "renormalize_logits": True, "eos_token_id": (2, 3)}
    with pytest.raises(BeamgenError) as error:
        export(checkpoints("gpt2"), tmp_path / "out", backend="contrib", settings=settings)
    assert all(name in error.value.cause for name in ("never", "renormalize", "2 ids"))


@pytest.mark.parametrize(
    ("operator", "settings", "named"),
    [
        ("BeamSearch", {"early_stopping": True}, "early_stopping is an attribute"),
        ("BeamSearch", {"eos_token_id": 7}, "eos_token_id is an attribute"),
        ("BeamSearch", {"no_repeat_ngram_size": 2}, "no_repeat_ngram_size is an attribute"),
        ("BeamSearch", {"num_beams": 1}, "num_beams 1 without do_sample takes GreedySearch"),
        ("GreedySearch", {"num_beams": 3}, "num_beams above 1 takes BeamSearch"),
        ("GreedySearch", {"do_sample": True, "top_k": 0}, "takes Sampling"),
        ("Sampling", {"temperature": 0.5}, "temperature is an attribute"),
        ("Sampling", {"top_p": 0.5}, "top_p is an attribute"),
        ("BeamSearch", {"length_penalty": [0.0, 1.0, 2.0]}, "one setting for all rows"),
        ("Sampling", {"seed": [5, 9, 11]}, "one setting for all rows"),
        ("Sampling", {"seed": [5, 6, 7]}, "one setting for all rows"),
        ("BeamSearch", {"constraint": Constraint.choices([[5, 6]])}, "constraint"),
    ],
)
def test_a_request_that_does_not_fit_the_file_is_refused(
    operator: str, settings: dict, named: str, contrib: Callable[..., Package]
) -> None:
    generator = Generator(contrib("gpt2", operator))
    with pytest.raises(BeamgenError) as error:
        generator.generate(PROMPTS, **settings)
    assert named in error.value.cause
    assert "--search loop" in error.value.cure
    generator.generate(PROMPTS)


def test_a_prompt_that_leaves_too_little_below_4096_is_refused(tmp_path: Path) -> None:
    config = find_adapter("gpt2").tiny_config()
    config.n_positions = 5000
    tiny_model(config).save_pretrained(tmp_path / "checkpoint")
    package = export(
        tmp_path / "checkpoint", tmp_path / "package", parity=False, backend="contrib"
    ).package
    generator = Generator(package)
    with pytest.raises(BeamgenError, match="stops at 4096 tokens; 4090 of the prompt") as error:
        generator.generate([[5] * 4090], max_new_tokens=7)
    assert "--search loop" in error.value.cure
    assert len(generator.generate([[5] * 4090], max_new_tokens=6, num_beams=2)[0]) == 1


def test_an_unknown_backend_gets_a_suggestion(tmp_path: Path) -> None:
    with pytest.raises(BeamgenError, match="no backend called 'contib'") as error:
        export(model_class="gpt2", output=tmp_path / "p", backend="contib")
    assert "did you mean contrib?" in error.value.cure


@pytest.mark.parametrize(
    "bans",
    [
        {"suppress_tokens": range(96)},
        {"begin_suppress_tokens": range(96)},
        {"suppress_tokens": [i for i in range(96) if i != 2], "min_new_tokens": 2},
        {"suppress_tokens": [i for i in range(96) if i not in (2, 30, 31)], "min_new_tokens": 9},
    ],
)
def test_nothing_to_draw_from_is_an_error(
    bans: dict, checkpoints: Callable[[str], Path], tmp_path: Path
) -> None:
    """The operator would draw an id beyond the vocabulary, or fail on it."""
    settings = {**OPERATORS["Sampling"], "no_repeat_ngram_size": 1, "eos_token_id": 2}
    package = export(
        checkpoints("gpt2"), tmp_path / "p", parity=False, backend="contrib", settings=settings
    ).package
    with pytest.raises(BeamgenError) as error:
        Generator(package).generate([[5, 9]], max_new_tokens=9, **bans)
    assert "ban fewer" in error.value.cure


@pytest.mark.parametrize(("penalty", "prompt_len"), [(-1000.0, 3), (20.0, 100)])
def test_a_penalty_beyond_floats_is_refused(
    penalty: float, prompt_len: int, contrib: Callable[..., Package]
) -> None:
    """The operator divides by the prompt's length too."""
    with pytest.raises(BeamgenError, match="beyond what a search can tell apart"):
        Generator(contrib("gpt2")).generate(
            [[5] * prompt_len], length_penalty=penalty, max_new_tokens=1
        )


def test_a_manifest_of_another_backend_is_refused(
    contrib: Callable[..., Package], tmp_path: Path
) -> None:
    for backend in ("loop", "xyz"):
        folder = tmp_path / backend
        shutil.copytree(contrib("gpt2").folder, folder)
        manifest = json.loads((folder / "beamgen.json").read_text())
        inputs = [{"name": "input_ids"}] if backend == "loop" else manifest["inputs"]
        (folder / "beamgen.json").write_text(
            json.dumps({**manifest, "backend": backend, "inputs": inputs})
        )
        with pytest.raises(BeamgenError, match=r"do not belong together|is damaged"):
            Generator(folder)


@pytest.mark.parametrize("operator", OPERATORS)
def test_scores_that_are_no_numbers_are_told(
    operator: str, checkpoints: Callable[[str], Path], tmp_path: Path
) -> None:
    """From position 20 on, as HF's own model says; ONNX Runtime's operators would search on."""
    folder = Path(shutil.copytree(checkpoints("gpt2"), tmp_path / "ck"))
    mlp, tensors = "transformer.h.0.mlp", load_file(folder / "model.safetensors")
    changed = {
        name: tensors[name]
        for name in ("transformer.wpe.weight", f"{mlp}.c_fc.weight", f"{mlp}.c_fc.bias")
    }
    changed[f"{mlp}.c_proj.weight"] = tensors[f"{mlp}.c_proj.weight"]
    position, weight, bias, out = changed.values()
    position[20], position[20, 0] = 0, 1e4  # 8 times as far out as the others, once normalized
    weight[:, 0], weight[0, 0], bias[0], out[0, 1] = 0, 1e37, -5e37, 1e3
    edit_tensors(folder, changed)
    long = list(range(5, 27))
    with torch.no_grad():
        theirs = AutoModelForCausalLM.from_pretrained(folder).eval()
        assert theirs(torch.tensor([long[:20]])).logits.isfinite().all()
        assert theirs(torch.tensor([long])).logits[0, -1].isnan().all()

    settings = {**OPERATORS[operator], "max_new_tokens": 4, "eos_token_id": ()}
    package = export(
        folder, tmp_path / "p", parity=False, backend="contrib", settings=settings
    ).package
    generator = Generator(package)
    assert len(generator.generate([long[:16]])[0][0].token_ids) == 4
    for prompt in (long, long[:18]):  # at once, and after two tokens
        with pytest.raises(BeamgenError, match="gave scores that are no numbers"):
            generator.generate([prompt])
    session = onnxruntime.InferenceSession(package.model, providers=["CPUExecutionProvider"])
    ids = np.array([long], np.int32)
    length = np.array([26], np.int32)
    feeds = {"input_ids": ids, "attention_mask": np.ones_like(ids), "max_length": length}
    with pytest.raises(Exception, match="scores_that_are_no_numbers"):  # any other runtime's
        session.run(None, feeds)
