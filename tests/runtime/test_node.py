"""The same file in Node: one seed draws the tokens that it draws in Python."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from filelock import FileLock
from support.peft_folders import save_lora

from beamgen import Generator, export
from beamgen.runtime.feeds import parameter_feeds
from beamgen.runtime.loras import LoadedLoras
from beamgen.settings.prompts import left_pad

SOURCES = Path(__file__).parent / "node"

# As users call it with max_length=512; the demo checkpoint has 128 positions, so the
# fixture `settings` sets that. Without an EOS the draws go on to the last of them.
# A seed has 63 bits, where a JavaScript number holds 53.
USERS = {"num_beams": 5, "do_sample": True, "top_k": 50, "top_p": 0.95, "seed": 7}
ONE_BEAM = {"num_beams": 1, "do_sample": True, "seed": 7, "num_return_sequences": 3}
BEAMS = {**USERS, "num_return_sequences": 3}
CASES = {
    "beam sampling, the best": USERS,
    "beam sampling": BEAMS,
    "beam sampling to the end": {**BEAMS, "eos_token_id": [], "seed": 2**62 + 7},
    "one beam": ONE_BEAM,
    "one beam to the end": {**ONE_BEAM, "eos_token_id": []},
    "beam search": {"num_beams": 5, "num_return_sequences": 5},
}
PROMPTS = ["aspirin is", "the treatment of malaria"]

InNode = Callable[[dict[str, np.ndarray]], dict[str, np.ndarray]]


@pytest.fixture(scope="session")
def node_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of ``tests/node`` with onnxruntime-node, shared by the workers of pytest-xdist."""
    for program in ("node", "npm"):
        if shutil.which(program) is None:
            pytest.skip(f"there is no {program} on this machine")
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "node"
    outcome = folder / "outcome"
    with FileLock(f"{folder}.lock"):
        if not outcome.exists():
            shutil.copytree(SOURCES, folder, ignore=shutil.ignore_patterns("node_modules"))
            outcome.write_text(_install(folder))
    if outcome.read_text():
        pytest.skip(outcome.read_text())
    return folder


def _install(folder: Path) -> str:
    """Why there is no onnxruntime-node, or nothing."""
    # Its install script would download CUDA's libraries.
    command = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
    hasty = ["--fetch-retries=1", "--fetch-retry-mintimeout=1000"]
    done = subprocess.run([*command, *hasty], cwd=folder, text=True, capture_output=True)
    for ours in ("EUSAGE", "EINTEGRITY", "EJSONPARSE"):
        assert f"code {ours}" not in done.stderr, done.stderr
    if done.returncode:
        return "`npm ci` failed: " + " ".join(done.stderr.split())[:300]
    machine = "require('onnxruntime-node'); `${process.platform}/${process.arch}`"
    done = subprocess.run(["node", "-p", machine], cwd=folder, text=True, capture_output=True)
    if done.returncode:
        return "onnxruntime-node cannot be loaded: " + " ".join(done.stderr.split())[:300]
    # 250 MB for other machines, which pytest would keep
    for binaries in folder.glob("node_modules/onnxruntime-node/bin/*/*/*"):
        if not str(binaries).endswith(done.stdout.strip()):
            shutil.rmtree(binaries)
    return ""


@pytest.fixture(scope="module")
def generator(once: Callable[..., Path]) -> Generator:
    """All parameters have to be fed: Node sees no input that has a default."""

    def write(folder: Path) -> None:
        export(model_class="BioGptModel", output=folder, parity=False, required=["all"])

    return Generator(once("node/biogpt", write))


@pytest.fixture
def settings(request: pytest.FixtureRequest, generator: Generator) -> dict[str, Any]:
    """Those of a case, at the greatest length that the model has positions for."""
    return {**CASES[request.param], "max_length": generator.package.manifest.limits.max_positions}


@pytest.fixture
def in_node(node_folder: Path, generator: Generator, tmp_path: Path) -> InNode:
    """``in_node(feeds)``: the outputs of one Node process."""
    return lambda feeds: _run(node_folder, generator.package.model, feeds, tmp_path)


def _run(
    node_folder: Path, model: Path, feeds: dict[str, np.ndarray], scratch: Path
) -> dict[str, np.ndarray]:
    path = scratch / "feeds.json"
    path.write_text(json.dumps({name: _to_json(value) for name, value in feeds.items()}))
    command = ["node", "generate.mjs", str(model), str(path)]
    done = subprocess.run(command, cwd=node_folder, text=True, capture_output=True)
    assert done.returncode == 0, done.stderr
    return {
        name: np.array(value["data"], value["type"]).reshape(value["dims"])
        for name, value in json.loads(done.stdout).items()
    }


def _to_json(value: np.ndarray) -> dict[str, Any]:
    flat = value.ravel().tolist()
    # JavaScript reads JSON's numbers as doubles.
    data = [number if abs(number) < 2**53 else str(number) for number in flat]
    return {"type": str(value.dtype), "dims": value.shape, "data": data}


def _feeds(generator: Generator, settings: dict[str, Any]) -> dict[str, np.ndarray]:
    config = generator.search.with_overrides(settings)
    ids, mask = left_pad([generator.encode(text) for text in PROMPTS], config.pad_token_id)
    resolved = config.for_prompt(ids.shape[1])
    parameters = parameter_feeds(generator.package.manifest, [resolved])
    return {"input_ids": ids, "attention_mask": mask, **parameters}


@pytest.mark.parametrize("settings", CASES, ids=CASES, indirect=True)
def test_node_gives_what_python_gives(
    settings: dict[str, Any], generator: Generator, in_node: InNode
) -> None:
    feeds = _feeds(generator, settings)
    found = in_node(feeds)
    config = generator.search.with_overrides(settings)
    output = generator.search_ids(feeds["input_ids"], feeds["attention_mask"], config)
    assert found["sequences"].tolist() == output.sequences.tolist()
    assert found["finish_reasons"].tolist() == output.finish_reasons.tolist()
    np.testing.assert_allclose(
        found["sequences_scores"], output.sequences_scores, rtol=1e-5, atol=1e-4
    )

    start = feeds["input_ids"].shape[1]
    for row, hypotheses in enumerate(generator.generate(PROMPTS, **settings)):
        assert len(hypotheses) == settings.get("num_return_sequences", 1)
        for sequence, hypothesis in zip(found["sequences"][row], hypotheses, strict=True):
            length = len(hypothesis.token_ids)
            assert sequence[start:][:length].tolist() == hypothesis.token_ids
            text = generator.tokenizer.decode(sequence, skip_special_tokens=True)
            assert text == hypothesis.text
            if settings.get("eos_token_id") == []:
                assert start + length == settings["max_length"]


@pytest.mark.parametrize("settings", ["beam sampling", "one beam"], indirect=True)
def test_another_seed_draws_other_tokens_in_node(
    settings: dict[str, Any], generator: Generator, in_node: InNode
) -> None:
    feeds = _feeds(generator, {**settings, "seed": 8})
    start = feeds["input_ids"].shape[1]
    found = in_node(feeds)["sequences"][:, :, start:].tolist()
    for row, hypotheses in enumerate(generator.generate(PROMPTS, **settings)):
        drawn = [hypothesis.token_ids for hypothesis in hypotheses]
        assert [ids[: len(d)] for ids, d in zip(found[row], drawn, strict=True)] != drawn


def test_a_feed_that_is_no_input_is_refused(generator: Generator, in_node: InNode) -> None:
    feeds = _feeds(generator, {})
    with pytest.raises(AssertionError, match="takes no input sed"):
        in_node({**feeds, "sed": np.array([7])})


def test_the_users_call_with_its_settings_in_the_file(
    node_folder: Path, tmp_path: Path, generator: Generator
) -> None:
    """Only the seed is fed, as a server would; all else is the file's default."""
    own = {**USERS, "max_length": generator.package.manifest.limits.max_positions}
    package = export(
        model_class="BioGptModel",
        output=tmp_path / "sampler",
        parity=False,
        settings=own,
        required=["seed", "max_new_tokens"],
    ).package
    feeds = _feeds(generator, own)
    chosen = ("input_ids", "attention_mask", "seed", "max_new_tokens")
    found = _run(node_folder, package.model, {name: feeds[name] for name in chosen}, tmp_path)
    expected = [best[0].token_ids for best in generator.generate(PROMPTS, **own)]
    start = feeds["input_ids"].shape[1]
    drawn = found["sequences"][:, 0, start:].tolist()
    assert [ids[: len(d)] for ids, d in zip(drawn, expected, strict=True)] == expected


def test_slots_are_plain_inputs_for_node(
    node_folder: Path, tmp_path: Path, checkpoints: Callable[[str], Path]
) -> None:
    """Its API has no adapters: a LoRA's tensors are fed, of rank 0 for the base model."""
    lora = save_lora(checkpoints("gpt2"), tmp_path / "lora", target_modules=["c_attn"])
    package = export(
        checkpoints("gpt2"),
        tmp_path / "slots",
        parity=False,
        settings={"max_new_tokens": 8},
        lora=[lora],
        lora_slots=[],
        required=["lora"],
    ).package
    slots = package.manifest.lora_slots
    none = {name: t for slot in slots for name, t in zip(slot.inputs, slot.empty(), strict=True)}
    generator = Generator(package)
    feeds = {"input_ids": np.array([[5, 6, 7]]), "attention_mask": np.ones((1, 3), np.int64)}
    found = {}
    for name, tensors in ((None, none), ("lora", LoadedLoras(package).feeds("lora", 1))):
        sequences = _run(node_folder, package.model, {**feeds, **tensors}, tmp_path)["sequences"]
        found[name] = sequences[0, 0].tolist()
        expected = generator.session.run(["sequences"], {**feeds, **tensors})[0]
        assert found[name] == expected[0, 0].tolist()
    assert found[None] != found["lora"]
