"""Packages of rounded weights: parity, what is recorded, and that a wrong search is caught."""

from __future__ import annotations

import json
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from click.testing import CliRunner, Result
from onnx import helper, numpy_helper
from support.onnx_functions import call_of, initializers
from support.peft_folders import save_lora

from beamgen import (
    BeamgenError,
    BeamgenWarning,
    Generator,
    Package,
    adapters,
    check_parity,
    describe,
    export,
    find_adapter,
    open_package,
)
from beamgen.checkpoint.checkpoint import open_checkpoint
from beamgen.cli import main
from beamgen.decoder.passes import stored_bytes
from beamgen.export import write
from beamgen.export.requantize import quantize
from beamgen.parity.grids.shapes import Likely, quick_grid
from beamgen.parity.report import ParityCase
from beamgen.quantization import saturation
from beamgen.registry import is_encoder_decoder
from beamgen.testing import tiny_model


def _run(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


_QUICK = [
    ("gpt2", "int8", "loop"),
    ("gpt2", "w16", "loop"),
    ("biogpt", "int4", "loop"),
    pytest.param("t5", "int8", "loop", marks=pytest.mark.transformers_4),
]
_ENCODERS = [each.name for each in adapters() if is_encoder_decoder(each)]
_REST = [
    *[(name, "int8", "loop") for name in ("biogpt", "phi3")],
    *[(name, "w16", "loop") for name in ("biogpt", "phi3")],
    *[(name, "int4", "loop") for name in ("gpt2", "phi3")],
    *[(name, "fp16", "loop") for name in ("gpt2", "biogpt", "phi3")],
    ("gpt2", "int8", "contrib"),
    ("gpt2", "w16", "contrib"),
    *[
        (name, precision, "contrib")
        for name in ("biogpt", "phi3")
        for precision in ("int8", "int4")
    ],
]
_REST_ENCODERS = [
    (name, precision, "loop") for name in _ENCODERS for precision in ("w16", "fp16", "int8", "int4")
]


@pytest.mark.parametrize(
    ("name", "precision", "backend"),
    [
        *_QUICK,
        *(pytest.param(*case, marks=pytest.mark.slow) for case in _REST),
        *(
            pytest.param(*case, marks=[pytest.mark.slow, pytest.mark.transformers_4])
            for case in _REST_ENCODERS
            if case != ("t5", "int8", "loop")
        ),
    ],
)
@pytest.mark.filterwarnings("ignore:.*will take features only")
def test_parity_with_hf_on_the_same_rounding(
    name: str, precision: str, backend: str, quantized: Callable[..., Package]
) -> None:
    package = quantized(name, precision, backend)
    parity, record = package.manifest.parity, package.manifest.precision
    assert parity["diverged"] == 0, parity["partings"]
    if precision == "fp16":
        # the quick grid, and, where the config has a window, that of a small model of it
        cases = 20 if (name, backend) == ("phi3", "loop") else 12
        assert parity["exact"] + parity["contrib rule"] == cases
    assert record.name == precision
    assert (record.noise is None) == (precision == "fp16")
    assert record.quality.tokens == 0, "random weights, and no text"


def test_the_file_is_smaller_and_says_what_it_is(
    quantized: Callable[..., Package], packages: Callable[[str], Package]
) -> None:
    plain = packages("gpt2")
    table = 96 * 64 * 4
    found = describe(quantized("gpt2", "int8").folder, providers=False)
    assert found.provenance["precision"]["name"] == "int8"
    assert found.weights["float32"] < describe(plain.folder, providers=False).weights["float32"] / 3
    assert found.weights["uint8"] > table / 4
    shown = _run("inspect", "-m", quantized("gpt2", "int8").folder, "--no-load").output
    assert "weights: int8: " in shown
    assert "standard ONNX operators" in shown
    assert "quality: not measured" in shown
    shown = _run("inspect", "-m", quantized("biogpt", "int4").folder, "--no-load").output
    assert "blocks of 32" in shown
    assert "com.microsoft operators" in shown


def test_two_planes_are_half_the_file_and_near_fp32(
    quantized: Callable[..., Package], packages: Callable[[str], Package]
) -> None:
    made, plain = quantized("gpt2", "w16"), packages("gpt2")
    assert 0 < made.manifest.precision.noise < 5e-3
    found = describe(made.folder, providers=False).weights
    before = describe(plain.folder, providers=False).weights["float32"]
    assert found["uint8"] > before / 3
    assert found["float32"] < before / 3
    shown = _run("inspect", "-m", made.folder, "--no-load").output
    assert "weights: w16: uint8 weights" in shown
    assert "two planes of uint8" in shown
    prompt = [[5, 9, 33, 2]]
    ours, theirs = (
        Generator(package).generate(prompt, num_beams=4, num_return_sequences=4, max_new_tokens=8)
        for package in (made, plain)
    )
    np.testing.assert_allclose(
        [each.score for each in ours[0]], [each.score for each in theirs[0]], atol=2e-3
    )


def test_w16_says_where_it_gains_no_speed(
    checkpoints, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stored_bytes, "saturates", lambda: True)
    monkeypatch.setattr(write, "saturates", lambda: True)
    with pytest.warns(BeamgenWarning, match="no speed over fp32"):
        made = export(checkpoints("gpt2"), tmp_path / "slow", precision="w16", parity=False).package
    record = made.manifest.precision
    assert (record.saturates, record.weights) == (True, "uint8")
    shown = _run("inspect", "-m", made.folder, "--no-load").output
    assert "made where it is no faster than fp32" in shown
    with pytest.raises(BeamgenError, match="slow is w16 already"):
        quantize(made, tmp_path / "twice", precision="w16", int8_weights="u8")


def _two_cases(package: Package, likely: Likely, seed: int = 0) -> list[ParityCase]:
    """One prompt, and four that are padded."""
    return quick_grid(package, likely, seed)[::6]


def _mutant(package: Package, to: Path, change: Callable[[onnx.ModelProto], None]) -> Package:
    shutil.copytree(package.folder, to)
    model = onnx.load(to / "model.onnx")
    change(model)
    onnx.save(model, to / "model.onnx")
    return open_package(to, verify=False)


def _another_penalty(model: onnx.ModelProto) -> None:
    """All nodes read another length penalty than the one that is fed."""
    model.graph.initializer.append(numpy_helper.from_array(np.array([1.1], np.float32), "wrong"))

    def rewire(graph: onnx.GraphProto) -> int:
        count = 0
        for node in graph.node:
            if node.op_type != "search_mode":
                for place, name in enumerate(node.input):
                    if name == "search/length_penalty":
                        node.input[place] = "wrong"
                        count += 1
            count += sum(rewire(attribute.g) for attribute in node.attribute)
        return count

    assert rewire(model.graph)


def _one_past_for_all(model: onnx.ModelProto) -> None:
    """Every beam goes on with the cache entries of beam 0."""
    model.graph.initializer.append(numpy_helper.from_array(np.array(0), "zero"))
    body, chosen = call_of(model, "next_entries")
    place = list(body.node).index(chosen)
    parents = chosen.input[2]
    chosen.input[2] = "first_beam"
    body.node.insert(place, helper.make_node("Mul", [parents, "zero"], ["first_beam"]))


@pytest.mark.parametrize("precision", ["int8", "w16"])
@pytest.mark.parametrize("change", [_another_penalty, _one_past_for_all])
def test_a_wrong_search_diverges(
    change: Callable[[onnx.ModelProto], None],
    precision: str,
    quantized,
    checkpoints,
    tmp_path: Path,
) -> None:
    """The noise that rounding makes is no excuse."""
    package = _mutant(quantized("gpt2", precision), tmp_path / "mutant", change)
    report = check_parity(package, open_checkpoint(checkpoints("gpt2")), grid=_two_cases)
    assert report.exit_code == 3


def test_other_weights_diverge(quantized, checkpoints, tmp_path: Path) -> None:
    """HF is rounded anew from the checkpoint: a scale that is wrong in the file shows."""

    def change(model: onnx.ModelProto) -> None:
        for tensor in initializers(model):
            if tensor.name.endswith("h.1.mlp.c_fc.weight.scales"):
                values = numpy_helper.to_array(tensor) * 1.2
                tensor.CopyFrom(numpy_helper.from_array(values.astype(np.float32), tensor.name))
                return
        raise AssertionError("no such weight")

    package = _mutant(quantized("gpt2", "int8"), tmp_path / "mutant", change)
    report = check_parity(package, open_checkpoint(checkpoints("gpt2")), grid=_two_cases)
    assert report.exit_code == 3


def test_a_lora_in_slots_is_added_to_the_rounded_layer(checkpoints, tmp_path: Path) -> None:
    lora = save_lora(checkpoints("gpt2"), tmp_path / "own", seed=1)
    result = export(
        checkpoints("gpt2"),
        tmp_path / "package",
        precision="int4",
        settings={"max_new_tokens": 6},
        lora_slots=[],
        lora=[lora],
        parity=False,
    )
    with_lora = open_checkpoint(checkpoints("gpt2")).with_lora(lora)
    report = check_parity(result.package, with_lora, lora="own", grid=_two_cases)
    assert report.exit_code == 0
    assert report.same_tokens
    again = quantize(result.package, tmp_path / "again", precision="fp16", parity=False).package
    assert list(again.loras) == ["own"]
    assert len(again.manifest.lora_slots) == len(result.package.manifest.lora_slots)
    assert again.manifest.search == result.package.manifest.search


def test_quality_is_measured_on_a_demo_checkpoints_text(demos, tmp_path: Path) -> None:
    out = tmp_path / "small"
    done = _run("quantize", demos("biogpt").folder, "-o", out, "--no-parity", "--json")
    assert done.exit_code == 0, done.output
    quality = json.loads(done.stdout)["precision"]["quality"]
    assert quality["tokens"] == 6094
    assert quality["perplexity_fp32"] == pytest.approx(37.27, abs=0.01)
    assert quality["perplexity"] == pytest.approx(quality["perplexity_fp32"], rel=0.01)
    assert 0.97 < quality["top1_agreement"] < 1
    model = {name: entry["bytes"] for name, entry in open_package(out).manifest.files.items()}
    before = demos("biogpt").manifest.files["model.onnx"]["bytes"]
    assert model["model.onnx"] < 0.4 * before
    assert "perplexity" in _run("inspect", "-m", out, "--no-load").output
    (best,) = Generator(out).generate("aspirin is", num_return_sequences=1)
    assert best[0].new_text


def test_noise_is_that_of_the_positions_of_generate(tmp_path: Path) -> None:
    """RoBERTa's own begin behind its padding token; ``generate`` and the file begin at 0."""
    tiny_model(find_adapter("roberta").tiny_config()).save_pretrained(tmp_path / "checkpoint")
    wanted = {"precision": "int8", "int8_weights": "u8", "parity": False}
    made = export(tmp_path / "checkpoint", tmp_path / "int8", **wanted)
    assert made.package.manifest.precision.noise < 0.1


def test_a_package_keeps_its_backend_and_what_it_requires(checkpoints, tmp_path: Path) -> None:
    settings = {"num_beams": 3, "max_new_tokens": 7, "eos_token_id": 2}
    plain = export(
        checkpoints("gpt2"),
        tmp_path / "plain",
        parity=False,
        settings=settings,
        required=["seed"],
    ).package
    text = _run("quantize", plain.folder, "--precision", "fp16", "--no-parity").output
    assert "fp16: float16 weights, fp32 arithmetic" in text
    made = open_package(tmp_path / "plain-fp16")
    required = [row["name"] for row in made.manifest.inputs if row["default"] is None]
    assert "seed" in required
    assert made.manifest.search == plain.manifest.search
    taken = _run("quantize", plain.folder, "--precision", "fp16", "--no-parity")
    assert (taken.exit_code, "exists" in taken.stderr) == (1, True)
    with pytest.raises(BeamgenError, match="plain-fp16 is fp16 already"):
        quantize(made, tmp_path / "twice", precision="fp16")
    with pytest.raises(BeamgenError, match="is the package that is read"):
        quantize(plain, plain.folder, force=True)


def test_s8_weights_where_they_overflow(
    checkpoints, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(saturation, "saturates", lambda: True)
    with pytest.raises(BeamgenError, match="overflow"):
        export(checkpoints("gpt2"), tmp_path / "s8", precision="int8", int8_weights="s8")
    assert not (tmp_path / "s8").exists()
    package = export(
        *(checkpoints("gpt2"), tmp_path / "s8"),
        precision="int8",
        int8_weights="s8",
        parity=False,
    ).package
    assert package.manifest.precision.noise < 0.2, "measured with weights that do not overflow"
    assert describe(package.folder, providers=False).weights["int8"] > 96 * 64
    with pytest.warns(UserWarning, match="--int8-weights u8"):
        Generator(package)
    assert "overflow" in describe(package.folder, providers=False).inexact
    with pytest.raises(BeamgenError, match="overflow"):
        check_parity(package, open_checkpoint(checkpoints("gpt2")))
    monkeypatch.setattr(saturation, "saturates", lambda: False)
    assert describe(package.folder, providers=False).inexact is None
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Generator(package)
