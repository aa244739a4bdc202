"""Triton: what is written fits its rules, and requests that are joined get what each gets alone."""

from __future__ import annotations

import asyncio
import functools
import json
import shutil
import subprocess
import sys
import types
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from click.testing import CliRunner
from support.peft_folders import save_lora

from beamgen import (
    BeamgenError,
    Catalogue,
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

EXAMPLES = Path(__file__).parents[2] / "examples" / "triton"

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


def _verified(done: Packaged) -> None:
    """All that could be looked at holds; a server and tritonclient may be missing."""
    assert done.exit_code == 0, done.checks
    unseen = [check.what for check in done.checks if check.passed is None]
    assert all("not installed" in what for what in unseen)


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
    _verified(done)
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
    _verified(done)
    parsed = parse((done.folder / "config.pbtxt").read_text(encoding="utf-8"))
    given = {value.name for value in parsed.input}
    assert {"seed", "temperature", "typical_p", "eta_cutoff"} <= given
    assert ("repetition_penalty" in given) == (batching == "dynamic")
    assert "length_penalty" not in given  # one beam knows none


def test_scores_of_tokens_and_settings_that_stay(
    write: Write, packages: Callable[[str], Package]
) -> None:
    """What is fixed in the file counts: a catalogue, and each token's log-probability."""
    catalogue = Catalogue.of([[5, 9], [7, 8, 6], [30]])
    settings = {**BEAMS, "output_scores": True, "catalogue": catalogue}
    done = write("gpt2", batching="ragged", inputs=[], settings=settings)
    _verified(done)
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
    _verified(done)
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
    _verified(done)
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
    _verified(package_as(package, "triton", tmp_path / "model"))


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
        _verified(done)  # against the package with this LoRA
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
    ("options", "cause"),
    [
        ({"batching": "simpel"}, "no batching called 'simpel'"),
        ({"batching": "simple", "inputs": ["seed"]}, "inputs cannot be set"),
        ({"batching": "simple", "settings": {"num_beams": 2}}, "num_beams cannot be set"),
        ({"max_batch_size": 0}, "joins nothing"),
        ({"inputs": ["max_new_token"]}, "no parameter called 'max_new_token'"),
        ({"inputs": ["num_beams"]}, "num_beams is one for all rows"),
        ({"inputs": ["temperature"]}, "temperature would change nothing"),
        ({"inputs": ["length_penalty"], "settings": {"num_beams": 1}}, "would change nothing"),
        ({"inputs": ["top_k"], "settings": SAMPLING}, "without a seed of its own"),
        ({"settings": {"temperature": 2.0}}, "temperature would change nothing"),
        ({"settings": {"eos_token_id": 500}}, "eos_token_id holds 500"),
        ({"settings": {"max_new_tokens": 5000}, "inputs": []}, "the model has"),
        ({"settings": {"max_length": 9}, "inputs": []}, "max_length counts the prompt"),
        ({"settings": {"min_length": 9}}, "min_length counts the prompt"),
        ({"settings": {"nonsense": 1}}, "nonsense"),
        ({"nonsense": 1}, "the triton format takes no nonsense"),
        ({"batching": "ragged", "inputs": ["repetition_penalty"]}, "reads a prompt's padding"),
        ({"batching": "ragged", "settings": {"no_repeat_ngram_size": 2}}, "no_repeat_ngram_size"),
        ({"batching": "ragged", "settings": {"forced_bos_token_id": 2}}, "forced_bos_token_id"),
        (
            {"batching": "ragged", "settings": {"pad_token_id": 1, "bad_words_ids": [[1, 5]]}},
            "with the pad id",
        ),
        ({"lora": "drugs"}, "no slots for LoRAs"),
    ],
)
def test_what_cannot_be_is_refused_with_nothing_written(
    options: dict[str, Any], cause: str, packages: Callable[[str], Package], tmp_path: Path
) -> None:
    with pytest.raises(BeamgenError, match=cause):
        package_as(packages("gpt2"), "triton", tmp_path / "model", **options)
    assert not any(tmp_path.iterdir())


def test_longrope_is_not_joined_across_its_boundary(
    packages: Callable[[str], Package], tmp_path: Path
) -> None:
    package = packages("gpt2")
    limits = replace(package.manifest.limits, recompute_boundary=20)
    bounded = replace(package, manifest=replace(package.manifest, limits=limits))
    with pytest.raises(BeamgenError, match="LongRoPE"):
        package_as(bounded, "triton", tmp_path / "model", batching="ragged")


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


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> tuple[Package, Path]:
    """A package with a tokenizer, and a repository of its models, one of each batching."""
    folder = tmp_path_factory.mktemp("demo")
    settings = {"num_beams": 2, "num_return_sequences": 2, "max_new_tokens": 8}
    package = export(
        None, folder / "pkg", model_class="GPT2LMHeadModel", parity=False, settings=settings
    ).package
    for batching in BATCHINGS:
        _verified(package_as(package, "triton", folder / "models" / batching, batching=batching))
    return package, folder / "models"


@pytest.fixture(scope="module")
def stand_in(demo: tuple[Package, Path]) -> Iterator[str]:
    from support.triton_server import serving

    with serving(demo[1]) as address:
        yield address


@pytest.mark.parametrize(
    "batching",
    [
        "ragged",
        pytest.param("dynamic", marks=pytest.mark.slow),
        pytest.param("simple", marks=pytest.mark.slow),
    ],
)
def test_the_example_client_prints_what_generate_does(
    batching: str, demo: tuple[Package, Path], stand_in: str
) -> None:
    prompts = ["a bird is", "a small dog"]
    ask = [sys.executable, str(EXAMPLES / "client.py"), "--url", stand_in, "--model", batching,
           "--tokenizer", str(demo[0].folder), "-p", prompts[0], "-p", prompts[1],
           "--set", "max_new_tokens=6", "--set", "length_penalty=0.5"]  # fmt: skip
    result = subprocess.run(ask, text=True, capture_output=True)
    assert result.returncode == 0, result.stderr
    expected = Generator(demo[0]).generate(prompts, max_new_tokens=6, length_penalty=0.5)
    assert result.stdout.splitlines() == [
        f"{hypothesis.score:9.4f}  {hypothesis.text}" for row in expected for hypothesis in row
    ]


def test_the_example_client_tells_what_is_missing(stand_in: str) -> None:
    ask = [sys.executable, str(EXAMPLES / "client.py"), "--url", stand_in, "--model", "ragged",
           "--ids", "5 9 7", "--set", "seed=1"]  # fmt: skip
    result = subprocess.run(ask, text=True, capture_output=True)
    assert result.returncode == 1
    assert "takes no ['seed'], and needs ['max_new_tokens', 'length_penalty']" in result.stderr


def test_the_text_model_gives_the_texts_of_generate(
    demo: tuple[Package, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The Python model, in a stand-in for the Python backend's module."""
    from support.triton_server import Server

    package, repository = demo
    server = Server(repository)
    sent = []

    class Tensor:
        def __init__(self, name: str, array: np.ndarray) -> None:
            self.name, self.array = name, array

        def as_numpy(self) -> np.ndarray:
            return self.array

    class InferenceRequest:
        def __init__(
            self, model_name: str, requested_output_names: list[str], inputs: list[Tensor]
        ) -> None:
            self.ask = (model_name, {i.name: i.array for i in inputs}, requested_output_names)

        async def async_exec(self) -> Any:
            sent.append(self.ask[1])
            await asyncio.sleep(0)
            assert len(sent) == 2  # both are sent before either is answered
            found = server.answer(*self.ask)
            return InferenceResponse([Tensor(name, array) for name, array in found.items()])

    class InferenceResponse:
        def __init__(self, tensors: Any = (), error: Any = None) -> None:
            self.tensors, self.failed = {tensor.name: tensor for tensor in tensors}, error

        def has_error(self) -> bool:
            return self.failed is not None

    backend = types.ModuleType("triton_python_backend_utils")
    backend.Tensor, backend.InferenceRequest = Tensor, InferenceRequest  # type: ignore[attr-defined]
    backend.InferenceResponse = InferenceResponse  # type: ignore[attr-defined]
    backend.TritonError = RuntimeError  # type: ignore[attr-defined]
    backend.get_input_tensor_by_name = lambda request, name: request.get(name)  # type: ignore[attr-defined]
    backend.get_output_tensor_by_name = lambda answer, name: answer.tensors[name]  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, backend.__name__, backend)
    program = types.ModuleType("model")
    exec((EXAMPLES / "text/1/model.py").read_text(encoding="utf-8"), vars(program))

    config = parse((EXAMPLES / "text/config.pbtxt").read_text(encoding="utf-8"))
    assert config.backend == "python"
    parameters = {name: {"string_value": v.string_value} for name, v in config.parameters.items()}
    parameters["search_model"]["string_value"] = "ragged"
    parameters["tokenizer"]["string_value"] = str(package.folder)
    model = program.TritonPythonModel()
    model.initialize({"model_config": json.dumps({"parameters": parameters})})
    prompts = ["a bird is", "a small brown dog"]
    request = {
        "prompts": Tensor("prompts", np.array([text.encode() for text in prompts], object)),
        "settings": Tensor("settings", np.array([b'{"max_new_tokens": 6}'], object)),
    }
    assert request.keys() == {value.name for value in config.input}
    (response,) = asyncio.run(model.execute([request]))
    assert response.failed is None
    assert response.tensors.keys() == {value.name for value in config.output}
    expected = Generator(package).generate(prompts, max_new_tokens=6, length_penalty=1.0)
    assert response.tensors["texts"].as_numpy().tolist() == [
        [hypothesis.text for hypothesis in row] for row in expected
    ]
    np.testing.assert_allclose(
        response.tensors["scores"].as_numpy(), [[h.score for h in row] for row in expected], 1e-4
    )


@pytest.mark.skipif(shutil.which("tritonserver") is None, reason="tritonserver is not installed")
@pytest.mark.parametrize("batching", BATCHINGS)
def test_a_running_server_answers_as_the_package_does(batching: str, write: Write) -> None:
    done = write("gpt2", batching=batching, inputs=None)
    served = done.checks[-1]
    assert served.passed is True, served.what
    assert "requests at once" in served.what
