"""What a page's folder is made of: the graph, spellings, npm packages; and what is refused."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from support.web_site import Page

from beamgen import Generator, Package, export, package_as
from beamgen.checkpoint.checkpoint import demo_checkpoint
from beamgen.errors import PackageError, PromptError, SettingError
from beamgen.formats.web.graph import FED, web_graph
from beamgen.formats.web.modules import JINJA, add_modules
from beamgen.formats.web.texts import add_text
from beamgen.registry import find_adapter
from beamgen.settings.result import BeamOutput
from beamgen.tokenizer.load import load_tokenizer


@pytest.fixture(scope="module")
def slots(checkpoints: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Package:
    """With room for a LoRA, and one parameter without a default."""
    return export(
        checkpoints("gpt2"),
        tmp_path_factory.mktemp("package") / "slots",
        parity=False,
        settings={"max_new_tokens": 8},
        lora_slots=["c_attn"],
        required=["seed"],
    ).package


def test_the_graph_asks_for_what_a_page_feeds(slots: Package) -> None:
    """Nothing has a default, LoRA slots are gone, and the answers stay the same."""
    package = slots
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(web_graph(package), options)
    assert {value.name for value in session.get_inputs()} == set(FED)
    assert not session.get_overridable_initializers()

    config = package.manifest.search
    prompt = np.array([[5, 6, 7]])
    resolved = config.for_prompt(prompt.shape[1])
    inputs = {name: value for name, value in resolved.inputs().items() if name in FED}
    feeds = {"input_ids": prompt, "attention_mask": np.ones_like(prompt), **inputs}
    names = ["sequences", "sequences_scores", "finish_reasons"]
    found = dict(zip(names, session.run(names, feeds), strict=True))
    expected: BeamOutput = Generator(package).search_ids(prompt, np.ones_like(prompt), config)
    for name, values in found.items():
        np.testing.assert_allclose(values, getattr(expected, name), rtol=1e-6)


def test_lora_slots_are_named_in_a_check(
    slots: Package, node_modules: Path, tmp_path: Path
) -> None:
    """Of a model without a tokenizer, too."""
    done = package_as(slots, "web", tmp_path / "page", node_modules=node_modules)
    verified, ids, lora = done.checks
    assert (verified.passed, ids.passed, lora.passed) == (True, None, None)
    assert f"of {slots.manifest.search.num_beams} answers" in verified.what
    assert "takes token ids" in ids.what
    assert "base model" in lora.what
    with pytest.raises(PromptError, match="no tokenizer"):
        package_as(slots, "web", tmp_path / "other", examples=["text"])


def test_without_a_fast_tokenizer_the_vocabulary_spells(tmp_path: Path) -> None:
    demo = demo_checkpoint(find_adapter("biogpt"))
    tokenizer = load_tokenizer(demo.folder)
    text = add_text(tokenizer, demo.vocab_size, tmp_path, "vendor")
    assert text["kind"] == "pieces"
    pieces = json.loads((tmp_path / text["file"]).read_text())
    assert len(pieces["text"]) == demo.vocab_size
    for words in ("aspirin is a drug used to treat pain", "a small animal"):
        ids = tokenizer.encode(words)
        shown = "".join(pieces["text"][i] for i in ids if i not in pieces["special"])
        assert shown == f"{words} "


def test_contrib_is_refused(contrib: Callable[..., Package], tmp_path: Path) -> None:
    with pytest.raises(SettingError, match="--search loop"):
        package_as(contrib("gpt2"), "web", tmp_path / "page")


def test_a_model_beyond_a_browser_is_refused_with_its_size(
    packages: Callable[[str], Package], tmp_path: Path
) -> None:
    package = packages("gpt2")
    files = {
        **package.manifest.files,
        "model.onnx": {"bytes": 4_000_000, "sha256": ""},
        "model.onnx.data": {"bytes": 3_100_000_000, "sha256": ""},
    }
    manifest = dataclasses.replace(package.manifest, files=files)
    with pytest.raises(SettingError, match="3,104 MB"):
        package_as(dataclasses.replace(package, manifest=manifest), "web", tmp_path / "page")
    assert not (tmp_path / "page").exists()


def test_an_example_that_leaves_no_room_is_refused(page: Page, tmp_path: Path) -> None:
    with pytest.raises(PromptError, match="tokens, and the model 256 positions"):
        package_as(page.package, "web", tmp_path / "page", examples=["word " * 300])


def test_what_npm_has_is_held_against_its_hashes(node_modules: Path, tmp_path: Path) -> None:
    add_modules(JINJA, tmp_path / "right", node_modules)
    wrong = shutil.copytree(node_modules, tmp_path / "wrong")
    file = wrong / JINJA.name / "dist" / "index.js"
    file.write_bytes(file.read_bytes() + b"\n")
    with pytest.raises(PackageError, match="is not that of @huggingface/jinja"):
        add_modules(JINJA, tmp_path / "changed", wrong)
    file.unlink()
    with pytest.raises(PackageError, match="cannot be read"):
        add_modules(JINJA, tmp_path / "absent", wrong)


def test_another_tarball_is_refused(page: Page, tmp_path: Path) -> None:
    other = dataclasses.replace(JINJA, integrity=JINJA.integrity[::-1])
    with pytest.raises(PackageError, match="SHA-512 is another"):
        add_modules(other, tmp_path)
    assert not list(tmp_path.iterdir())
