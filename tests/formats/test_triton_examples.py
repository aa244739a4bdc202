"""examples/triton: its client and its text model give what the package does."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.packaged import check_verified

from beamgen import (
    Generator,
    Package,
    export,
    package_as,
)
from beamgen.formats.triton.checks import parse
from beamgen.formats.triton.format import BATCHINGS

EXAMPLES = Path(__file__).parents[2] / "examples" / "triton"


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> tuple[Package, Path]:
    """A package with a tokenizer, and a repository of its models, one of each batching."""
    folder = tmp_path_factory.mktemp("demo")
    settings = {"num_beams": 2, "num_return_sequences": 2, "max_new_tokens": 8}
    package = export(
        None, folder / "pkg", model_class="GPT2LMHeadModel", parity=False, settings=settings
    ).package
    for batching in BATCHINGS:
        check_verified(
            package_as(package, "triton", folder / "models" / batching, batching=batching)
        )
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
    result = subprocess.run([*ask[:6], "--ids", "5", "--ids", ""], text=True, capture_output=True)
    assert result.stderr == "prompt 2 of 2 has no tokens: leave it out\n"


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
    model.longest = 3
    for prompt, cause in ((b"", "'' has no tokens: write something"), (b"a b c d e f", "shorten")):
        wrong = {"prompts": Tensor("prompts", np.array([prompt], object))}
        (refused,) = asyncio.run(model.execute([wrong]))
        assert cause in str(refused.failed)
    np.testing.assert_allclose(
        response.tensors["scores"].as_numpy(), [[h.score for h in row] for row in expected], 1e-4
    )
