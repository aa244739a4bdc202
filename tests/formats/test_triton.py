"""Triton: what is written fits its rules, and requests that are joined get what each gets alone."""

from __future__ import annotations

import functools
import json
import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from click.testing import CliRunner
from support.packaged import check_verified
from support.peft_folders import save_lora

from beamgen import (
    BeamgenError,
    Constraint,
    Generator,
    Package,
    Packaged,
    export,
    open_checkpoint,
    package_as,
)
from beamgen.cli import main
from beamgen.formats.triton.checks import check_config, check_joined, load, parse
from beamgen.formats.triton.format import BATCHINGS
from beamgen.formats.triton.plan import make_plan
from beamgen.formats.triton.ports import Ports, ports_of
from beamgen.formats.triton.requests import Request, join, requests_to_join
from beamgen.formats.triton.rules import broken_rules

EOS = (2, *range(10, 20))
BEAMS = {"num_beams": 4, "num_return_sequences": 3, "eos_token_id": EOS, "pad_token_id": 1}
SAMPLING = {"num_beams": 1, "do_sample": True, "num_return_sequences": 2, "eos_token_id": EOS}

Write = Callable[..., Packaged]


pytest.importorskip("tritonclient.grpc", reason="tritonclient and grpcio are not installed")


@pytest.fixture(scope="module")
def write(packages: Callable[[str], Package], tmp_path_factory: pytest.TempPathFactory) -> Write:
    """``write("gpt2", batching="ragged")``: a model of that name."""
    repository = tmp_path_factory.mktemp("repository")
    made: dict[str, Packaged] = {}

    def make(name: str, **options: Any) -> Packaged:
        key = f"{name}{len(made)}"
        known = f"{name} {sorted(options.items(), key=str)}"
        if known not in made:
            made[known] = package_as(packages(name), "triton", repository / key, **options)
        return made[known]

    return make


def _hugging_face(
    checkpoint: Path, ids: np.ndarray, settings: dict[str, Any]
) -> tuple[np.ndarray, np.ndarray]:
    model = open_checkpoint(checkpoint).load_model().eval()
    given = {**settings, "eos_token_id": list(settings["eos_token_id"])}
    output = model.generate(
        torch.tensor(ids),
        attention_mask=torch.ones(ids.shape, dtype=torch.long),
        return_dict_in_generate=True,
        output_scores=True,
        **given,
    )
    return output.sequences.numpy(), output.sequences_scores.numpy()


@pytest.mark.parametrize(
    ("name", "batching"),
    [
        ("gpt2", "dynamic"),
        ("phi3", "ragged"),
        pytest.param("gpt2", "ragged", marks=pytest.mark.slow),
        pytest.param("biogpt", "ragged", marks=pytest.mark.slow),
    ],
)
def test_joined_requests_get_what_hugging_face_gives_each(
    name: str,
    batching: str,
    write: Write,
    packages: Callable[[str], Package],
    checkpoints: Callable[[str], Path],
) -> None:
    inputs = ["max_new_tokens", "min_new_tokens", "length_penalty"]
    done = write(name, batching=batching, inputs=inputs, settings=BEAMS)
    check_verified(done)
    plan = make_plan(
        packages(name),
        ragged=batching == "ragged",
        max_batch_size=3,
        inputs=inputs,
        settings=BEAMS,
        lora=None,
    )
    requests = requests_to_join(packages(name), plan)
    session = load(done.folder / "1/model.onnx")
    names = [output.name for output in session.get_outputs()]
    assert names == ["sequences", "sequences_scores", "finish_reasons"]
    found, scores, _ = session.run(names, join(requests, plan))
    assert found.shape[:2] == (3, 3)
    kinds = set()
    for row, request in enumerate(requests):
        settings = {**BEAMS, **{n: request.given[n].item() for n in inputs}}
        tokens, expected = _hugging_face(checkpoints(name), request.given["input_ids"], settings)
        assert found[row, :, : tokens.shape[1]].tolist() == tokens.tolist()
        assert (found[row, :, tokens.shape[1] :] == BEAMS["pad_token_id"]).all()
        np.testing.assert_allclose(scores[row], expected, rtol=1e-4, atol=1e-4)
        kinds.add(tokens.shape[1] - request.given["input_ids"].shape[1])
    assert len(kinds) > 1  # rows of unequal length met


@pytest.mark.parametrize("batching", ["dynamic", "ragged"])
def test_sampled_requests_have_seeds_of_their_own(batching: str, write: Write) -> None:
    done = write("gpt2", batching=batching, inputs=["all"], settings=SAMPLING)
    check_verified(done)
    parsed = parse((done.folder / "config.pbtxt").read_text(encoding="utf-8"))
    given = {value.name for value in parsed.input}
    assert {"seed", "temperature", "typical_p", "eta_cutoff"} <= given
    assert ("repetition_penalty" in given) == (batching == "dynamic")
    assert "length_penalty" not in given  # one beam knows none


def test_scores_of_tokens_and_settings_that_stay(
    write: Write, packages: Callable[[str], Package]
) -> None:
    """What is fixed in the file counts: a catalogue, and each token's log-probability."""
    catalogue = Constraint.choices([[5, 9], [7, 8, 6], [30]])
    settings = {**BEAMS, "output_scores": True, "constraint": catalogue}
    done = write("gpt2", batching="ragged", inputs=[], settings=settings)
    check_verified(done)
    session = load(done.folder / "1/model.onnx")
    feeds = {"input_ids": np.array([5, 9, 7]), "prompt_lengths": np.array([[3]], np.int32)}
    names = ["sequences", "token_log_probs"]
    sequences, log_probs = session.run(names, feeds)
    alone = Generator(packages("gpt2")).generate([5, 9, 7], **settings)[0]
    for row, hypothesis in enumerate(alone):
        ids = hypothesis.token_ids
        assert sequences[0, row, 3 : 3 + len(ids)].tolist() == ids
        assert hypothesis.token_log_probs is not None
        np.testing.assert_allclose(
            log_probs[0, row, : len(ids)], hypothesis.token_log_probs, atol=1e-5
        )


def test_the_configuration_says_what_a_request_gives(write: Write) -> None:
    done = write("gpt2", batching="ragged", max_batch_size=5)
    text = (done.folder / "config.pbtxt").read_text(encoding="utf-8")
    parsed = parse(text)
    assert (parsed.name, parsed.backend, parsed.max_batch_size) == (
        done.folder.name,
        "onnxruntime",
        5,
    )
    assert parsed.HasField("dynamic_batching")
    ids, limit, penalty = parsed.input
    assert (ids.name, list(ids.dims), ids.allow_ragged_batch) == ("input_ids", [-1], True)
    for value in (limit, penalty):
        assert list(value.dims) == [1]
        assert value.HasField("reshape")
        assert not value.reshape.shape
    assert (limit.name, penalty.name) == ("max_new_tokens", "length_penalty")
    (lengths,) = parsed.batch_input
    assert list(lengths.target_name) == ["prompt_lengths"]
    assert list(lengths.source_input) == ["input_ids"]
    assert "num_beams" in text.split("name:")[0]  # the fixed ones stand above it


@pytest.mark.parametrize("batching", BATCHINGS)
def test_the_package_is_not_changed(
    batching: str, write: Write, packages: Callable[[str], Package]
) -> None:
    package = packages("gpt2")
    before = package.model.read_bytes()
    done = write("gpt2", batching=batching)
    assert package.model.read_bytes() == before
    same = (done.folder / "1/model.onnx").read_bytes() == before
    assert same == (batching == "simple")
    assert sorted(path.name for path in done.folder.rglob("*")) == [
        "1",
        "beamgen-triton.json",
        "config.pbtxt",
        "model.onnx",
    ]


def test_simple_takes_every_parameter_or_none(
    write: Write, packages: Callable[[str], Package]
) -> None:
    done = write("gpt2", batching="simple")
    check_verified(done)
    parsed = parse((done.folder / "config.pbtxt").read_text(encoding="utf-8"))
    assert parsed.max_batch_size == 0
    manifest = packages("gpt2").manifest
    assert {value.name: value.optional for value in parsed.input} == {
        row["name"]: row["default"] is not None for row in manifest.inputs
    }
    assert [value.name for value in parsed.output] == [row["name"] for row in manifest.outputs]


def test_a_contrib_package_is_served_as_it_is(
    contrib: Callable[..., Package], tmp_path: Path
) -> None:
    package = contrib("gpt2", "BeamSearch")
    done = package_as(package, "triton", tmp_path / "op", batching="simple")
    check_verified(done)
    parsed = parse((done.folder / "config.pbtxt").read_text(encoding="utf-8"))
    required = {value.name for value in parsed.input if not value.optional}
    assert required == {"input_ids", "attention_mask", "max_length"}
    with pytest.raises(BeamgenError, match="requests cannot be joined"):
        package_as(package, "triton", tmp_path / "joined")
    assert not (tmp_path / "joined").exists()


@pytest.mark.slow
def test_a_package_without_defaults_is_fixed_too(
    checkpoints: Callable[[str], Path], tmp_path: Path
) -> None:
    package = export(
        checkpoints("gpt2"), tmp_path / "pkg", parity=False, required=["all"], settings=BEAMS
    ).package
    check_verified(package_as(package, "triton", tmp_path / "model"))


@pytest.mark.slow
def test_a_lora_is_built_in(checkpoints: Callable[[str], Path], tmp_path: Path) -> None:
    lora = save_lora(checkpoints("gpt2"), tmp_path / "animals")
    package = export(
        checkpoints("gpt2"), tmp_path / "pkg", parity=False, lora=[lora], lora_slots=[],
        settings=BEAMS,
    ).package  # fmt: skip
    found = {}
    for name in (None, "animals"):
        done = package_as(
            package, "triton", tmp_path / f"model-{name}", batching="ragged", lora=name
        )
        check_verified(done)  # against the package with this LoRA
        feeds = {
            "input_ids": np.array([5, 9, 7]),
            "prompt_lengths": np.array([[3]], np.int32),
            "max_new_tokens": np.array([6]),
            "length_penalty": np.array([1.0], np.float32),
        }
        found[name] = load(done.folder / "1/model.onnx").run(["sequences"], feeds)[0].tolist()
    assert found[None] != found["animals"]
    with pytest.raises(BeamgenError, match="no LoRA called 'animal'"):
        package_as(package, "triton", tmp_path / "none", lora="animal")


@pytest.fixture(scope="module")
def ports(write: Write) -> Callable[[str], Ports]:
    """``ports("ragged")``: of the file that ``write`` gives."""
    return functools.cache(
        lambda batching: ports_of(load(write("gpt2", batching=batching).folder / "1/model.onnx"))
    )


@pytest.mark.parametrize(
    ("batching", "change", "rule"),
    [
        ("ragged", lambda c: setattr(c, "name", "other"), "is called 'other'"),
        ("ragged", lambda c: setattr(c, "backend", "python"), "the backend"),
        ("ragged", lambda c: setattr(c, "max_batch_size", -1), "must be non-negative"),
        (
            "ragged",
            lambda c: c.dynamic_batching.preferred_batch_size.append(99),
            "at most max batch size",
        ),
        ("ragged", lambda c: c.input[1].dims.__setitem__(0, 0), "integer >= 1"),
        ("ragged", lambda c: c.input[1].dims.append(2), "different size for dims and reshape"),
        ("ragged", lambda c: c.input[1].ClearField("reshape"), "the model expects"),
        ("ragged", lambda c: setattr(c.input[1], "optional", True), "not supported for models"),
        ("ragged", lambda c: setattr(c.input[1], "data_type", 11), "is TYPE_INT64 in the model"),
        ("ragged", lambda c: setattr(c.input[1], "name", "x"), "unexpected inference input 'x'"),
        ("ragged", lambda c: c.input.pop(), "expects 3 inputs, model provides 4"),
        ("ragged", lambda c: setattr(c.input[0], "allow_ragged_batch", False), "input_ids"),
        ("ragged", lambda c: setattr(c.batch_input[0], "data_type", 9), "TYPE_INT32 or TYPE_FP32"),
        ("ragged", lambda c: c.batch_input[0].source_input.append("x"), "1 source input"),
        ("ragged", lambda c: c.batch_input[0].target_name.append("x"), "unexpected inference"),
        ("ragged", lambda c: c.output[0].dims.__setitem__(0, -1), "the model expects"),
        ("ragged", lambda c: setattr(c.output[0], "name", "y"), "inference output 'y'"),
        ("dynamic", lambda c: setattr(c.input[0], "allow_ragged_batch", True), "ragged input"),
        ("simple", lambda c: setattr(c, "max_batch_size", 8), "not supported for models"),
        ("simple", lambda c: c.input[0].reshape.SetInParent(), "cannot have empty reshape"),
        ("simple", lambda c: setattr(c.input[3], "optional", False), "expects 3 inputs"),
    ],
)
def test_a_rule_that_is_broken_is_told(
    batching: str,
    change: Callable[[Any], Any],
    rule: str,
    write: Write,
    ports: Callable[[str], Ports],
) -> None:
    """Each rule of Triton's that ``rules`` knows can fail."""
    done = write("gpt2", batching=batching)
    parsed = parse((done.folder / "config.pbtxt").read_text(encoding="utf-8"))
    assert broken_rules(parsed, done.folder.name, ports(batching)) == []
    change(parsed)
    assert rule in "; ".join(broken_rules(parsed, done.folder.name, ports(batching)))


def test_checks_fail_where_something_is_wrong(
    write: Write, packages: Callable[[str], Package]
) -> None:
    done = write("gpt2", batching="dynamic")
    plan = make_plan(
        packages("gpt2"), ragged=False, max_batch_size=8, inputs=None, settings={}, lora=None
    )
    session = load(done.folder / "1/model.onnx")
    first, second, third = requests_to_join(packages("gpt2"), plan)
    assert check_joined(session, [first, second, third], plan).passed
    for name in first.expected:
        wrong = {**first.expected, name: first.expected[name] + 1}
        check = check_joined(session, [second, replace(first, expected=wrong)], plan)
        assert check.passed is False
        assert f"{name} of request 1 is another" in check.what
    filled = {"sequences": np.array([[[5, 7, 9]]])}
    assert Request({}, {"sequences": np.array([[[5, 7]]])}, 9).differs(filled) == ""
    assert Request({}, {"sequences": np.array([[[5, 7]]])}, 1).differs(filled) == "sequences"
    check = check_config("name: 5 {", "model", ports_of(session))
    assert check.passed is False
    assert "cannot be parsed" in check.what


def test_without_tritonclient_the_check_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tritonclient.grpc", None)
    check = check_config("", "model", Ports({}, {}, {}))
    assert check.passed is None
    assert "pip install 'beamgen[triton]'" in check.what


def test_the_command_line(packages: Callable[[str], Package], tmp_path: Path) -> None:
    command = ["package", "triton", "-m", str(packages("gpt2").folder), "--json",
               "-o", str(tmp_path / "models" / "beams"), "--batching", "ragged", "--num-beams", "3",
               "--inputs", "max_new_tokens", "--max-batch-size", "4"]  # fmt: skip
    result = CliRunner().invoke(main, command)
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout)
    assert told["format"] == "triton"
    assert told["checks"][1]["passed"] is True
    parsed = parse((tmp_path / "models/beams/config.pbtxt").read_text(encoding="utf-8"))
    assert (parsed.name, parsed.max_batch_size) == ("beams", 4)
    assert [value.name for value in parsed.input] == ["input_ids", "max_new_tokens"]
    model = onnx.load(tmp_path / "models/beams/1/model.onnx")
    (beams,) = (t for t in model.graph.initializer if t.name == "num_beams")
    assert onnx.numpy_helper.to_array(beams).tolist() == [3]
    again = CliRunner().invoke(main, command)
    assert again.exit_code == 1
    assert "exists" in again.output


@pytest.mark.skipif(shutil.which("tritonserver") is None, reason="tritonserver is not installed")
@pytest.mark.parametrize("batching", BATCHINGS)
def test_a_running_server_answers_as_the_package_does(batching: str, write: Write) -> None:
    done = write("gpt2", batching=batching, inputs=None)
    served = done.checks[-1]
    assert served.passed is True, served.what
    assert "requests at once" in served.what
