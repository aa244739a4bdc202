"""A tokenizer in the graph: its ids and texts are those of Hugging Face's."""

from __future__ import annotations

import functools
import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from click.testing import CliRunner
from support.tokenizer_kinds import trained
from tokenizers import AddedToken, Tokenizer
from tokenizers.models import WordPiece
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerFast

from beamgen import BeamgenError, Generator, Package, export, find_adapter, package_as
from beamgen.cli import main
from beamgen.errors import SettingError
from beamgen.formats.text.check import (
    TEXTS,
    check_encoding,
    open_session,
)
from beamgen.formats.text.tables import read_tokenizer
from beamgen.tokenizer.hf import HfTokenizer

pytest.importorskip("onnxruntime_extensions")

ROOT = Path(__file__).parents[2]
DEMOS = ("gpt2", "phi3")
PROMPTS = [
    "a person who",
    " the act of  making\n",
    "medicine: caf\u00e9 \u4f60\u597d \U0001f600",
    "a\0b",
]
SETTINGS = {"num_beams": 4, "max_new_tokens": 10, "num_return_sequences": 3}


# ------------------------------------------------------------------ the whole file


@pytest.fixture(scope="module")
def demos(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], tuple[Generator, Path]]:
    """``demos("gpt2")``: a generator of its package, and the folder made of that."""
    made: dict[str, tuple[Generator, Path]] = {}

    def make(name: str) -> tuple[Generator, Path]:
        if name not in made:
            folder = tmp_path_factory.mktemp("text") / name
            package = export(None, folder, model_class=name, parity=False).package
            output = folder.parent / f"{name}-text"
            command = ["package", "text", "-m", str(folder), "-o", str(output)]
            result = CliRunner().invoke(main, [*command, "--json"])
            assert result.exit_code == 0, result.output
            written = json.loads(result.stdout)
            assert (written["folder"], written["format"]) == (str(output), "text")
            assert [check["passed"] for check in written["checks"]] == [True, True, True]
            made[name] = Generator(package), output
        return made[name]

    return make


@functools.cache
def _session(folder: Path) -> onnxruntime.InferenceSession:
    return open_session(str(folder / "model.onnx"), threads=1)


def _run(folder: Path, texts: Sequence[str], **settings: object) -> dict[str, np.ndarray]:
    session = _session(folder)
    feeds = {name: np.atleast_1d(np.asarray(value)) for name, value in settings.items()}
    names = [output.name for output in session.get_outputs()]
    feeds = {
        name: value.astype(np.float32) if value.dtype == np.float64 else value
        for name, value in feeds.items()
    }
    results = session.run(names, {"text": np.array(texts, object), **feeds})
    return dict(zip(names, results, strict=True))


@pytest.mark.parametrize("name", DEMOS)
def test_texts_are_those_of_transformers_and_of_the_generator(
    name: str, demos: Callable[[str], tuple[Generator, Path]]
) -> None:
    generator, folder = demos(name)
    found = _run(folder, PROMPTS, **SETTINGS)
    tokenizer = AutoTokenizer.from_pretrained(find_adapter(name).demo, padding_side="left")
    tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
    model = AutoModelForCausalLM.from_pretrained(find_adapter(name).demo).eval()
    with torch.no_grad():
        inputs = tokenizer(PROMPTS, return_tensors="pt", padding=True)
        output = model.generate(**inputs, **SETTINGS)
    assert found["sequences"].reshape(-1, found["sequences"].shape[-1]).tolist() == output.tolist()
    expected = tokenizer.batch_decode(output, skip_special_tokens=True)
    assert found["texts"].reshape(-1).tolist() == expected
    ours = generator.generate(PROMPTS, **SETTINGS)
    assert found["texts"].tolist() == [[each.text for each in best] for best in ours]
    scores = [[each.score for each in best] for best in ours]
    assert np.allclose(found["sequences_scores"], scores, atol=1e-5)


@pytest.mark.parametrize("name", DEMOS)
def test_each_row_has_its_own_settings(
    name: str, demos: Callable[[str], tuple[Generator, Path]]
) -> None:
    generator, folder = demos(name)
    settings = {
        "num_beams": 2, "num_return_sequences": 2, "do_sample": 1, "seed": [1, 2, 3, 4],
        "max_new_tokens": [1, 9, 4, 12], "temperature": [0.5, 1.0, 2.0, 1.5],
    }  # fmt: skip
    found = _run(folder, PROMPTS, **settings)["texts"]
    ours = generator.generate(PROMPTS, **{**settings, "do_sample": True})
    assert found.tolist() == [[each.text for each in best] for best in ours]


def test_markers_of_a_chat_in_the_text(demos: Callable[[str], tuple[Generator, Path]]) -> None:
    """Special tokens in a text are tokens, with the white space that they strip."""
    generator, folder = demos("phi3")
    messages = [{"role": "user", "content": "What is a whale?"}]
    text = AutoTokenizer.from_pretrained(find_adapter("phi3").demo).apply_chat_template(
        messages, add_generation_prompt=True, tokenize=False
    )
    found = _run(folder, [text], **SETTINGS)["texts"]
    ours = generator.generate(messages, **SETTINGS)
    assert found.tolist() == [[each.text for each in best] for best in ours]
    assert "<|user|>" not in found[0, 0]


def test_what_the_file_says_of_itself(demos: Callable[[str], tuple[Generator, Path]]) -> None:
    generator, folder = demos("gpt2")
    model = onnx.load(folder / "model.onnx")
    props = {entry.key: entry.value for entry in model.metadata_props}
    assert json.loads(props["beamgen.text"])["tokenizer"] == "GPT2Tokenizer"
    before = onnx.load(generator.package.model).metadata_props
    assert before
    assert {entry.key: entry.value for entry in before}.items() < props.items()
    foreign = {node.domain for node in model.graph.node} - {"", "beamgen", "ai.onnx.ml"}
    ours = [node.op_type for node in model.graph.node if node.domain == "ai.onnx.contrib"]
    assert (foreign, ours) == ({"ai.onnx.contrib"}, ["TrieTokenizer"])
    about = json.loads((folder / "beamgen-text.json").read_text(encoding="utf-8"))
    taken = [value.name for value in model.graph.input]
    assert [row["name"] for row in about["inputs"]] == taken
    assert "input_ids" not in taken
    assert "attention_mask" not in taken
    size = (folder / "model.onnx").stat().st_size - generator.package.model.stat().st_size
    assert size < 400_000, "the weights are there once"


def test_the_package_is_not_changed(demos: Callable[[str], tuple[Generator, Path]]) -> None:
    from beamgen import open_package

    assert open_package(demos("gpt2")[0].package.folder, verify=True)


def test_the_example(demos: Callable[[str], tuple[Generator, Path]]) -> None:
    generator, folder = demos("gpt2")
    program = ROOT / "examples" / "text" / "generate.py"
    texts = ["medicine:", "a person who"]
    shown = subprocess.run(
        [sys.executable, str(program), str(folder / "model.onnx"), *texts],
        text=True, capture_output=True, check=True,
    )  # fmt: skip
    ours = generator.generate(
        texts, num_beams=4, num_return_sequences=2, max_new_tokens=[12, 8], early_stopping=False
    )
    expected = [f"{each.score:8.4f} {each.text!r}" for best in ours for each in best]
    assert shown.stdout.splitlines() == expected


# ------------------------------------------------------------------ what is refused


def _changed(kind: str, **parts: object) -> PreTrainedTokenizerFast:
    """A trained tokenizer with parts of its JSON replaced; of its model in ``model``."""
    whole = json.loads(trained(kind).backend_tokenizer.to_str())
    whole["model"] |= parts.pop("model", {})
    return PreTrainedTokenizerFast(tokenizer_object=Tokenizer.from_str(json.dumps(whole | parts)))


def _with_token(**flags: bool) -> PreTrainedTokenizerFast:
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(trained("llama").backend_tokenizer.to_str())
    )
    tokenizer.add_tokens([AddedToken("new", **flags)])
    return tokenizer


def _word_piece() -> PreTrainedTokenizerFast:
    return PreTrainedTokenizerFast(tokenizer_object=Tokenizer(WordPiece({"[UNK]": 0, "a": 1})))


def _cleaning() -> PreTrainedTokenizerFast:
    return PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(trained("gpt2").backend_tokenizer.to_str()),
        clean_up_tokenization_spaces=True,
    )


def _unreached() -> PreTrainedTokenizerFast:
    model = json.loads(trained("llama3").backend_tokenizer.to_str())["model"]
    size = max(model["vocab"].values()) + 1
    vocab = {**model["vocab"], "\u0120zzz": size + 20}
    return _changed("llama3", model={"vocab": vocab, "ignore_merges": True})


_O200K = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}]*[\p{Ll}\p{Lm}]+|\p{N}{1,3}|\s+"


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda: AutoTokenizer.from_pretrained(find_adapter("biogpt").demo), "is Python code"),
        (_word_piece, "its model is WordPiece, not BPE"),
        (lambda: _changed("qwen2", normalizer={"type": "NFKC"}), "its normalizer is NFKC"),
        (lambda: _changed("gpt2", model={"dropout": 0.1}), "its model has dropout 0.1"),
        (
            lambda: _changed("gpt2", pre_tokenizer={"type": "Whitespace"}, decoder=None),
            "its pre-tokenizer is Whitespace",
        ),
        (
            lambda: _changed(
                "llama3",
                pre_tokenizer={
                    "type": "Split",
                    "pattern": {"Regex": _O200K},
                    "behavior": "Isolated",
                    "invert": False,
                },
            ),
            "splits by another pattern",
        ),
        (lambda: _changed("gpt2", decoder={"type": "WordPiece", "prefix": "#", "cleanup": True}),
         "its decoder is WordPiece"),
        (lambda: _changed("llama", model={"byte_fallback": False}), "has no byte_fallback"),
        (lambda: _with_token(single_word=True), "'new' is a single_word"),
        (lambda: _with_token(normalized=True), "'new' is looked for after the normalizer only"),
        (_cleaning, "clean_up_tokenization_spaces"),
        (_unreached, "merges do not reach 1 tokens such as '\u0120zzz'"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
def test_other_tokenizers_are_refused_by_name(
    make: Callable[[], PreTrainedTokenizerFast], reason: str
) -> None:
    with pytest.raises(SettingError, match="cannot go into the graph") as error:
        read_tokenizer(HfTokenizer(make()))
    assert reason in error.value.cause


def test_ignore_merges_that_change_nothing_are_taken() -> None:
    tokenizer = HfTokenizer(_changed("llama3", model={"ignore_merges": True}))
    tables = read_tokenizer(tokenizer)
    assert check_encoding(tokenizer, tables, TEXTS) == len(TEXTS)


def test_packages_that_cannot_take_text(
    packages: Callable[[str], Package], contrib: Callable[..., Package], tmp_path: Path
) -> None:
    target = tmp_path / "out"
    for package, cause in (
        (packages("gpt2"), "has no tokenizer"),
        (contrib("gpt2"), "a contrib package takes int32 ids"),
    ):
        with pytest.raises(BeamgenError, match=cause):
            package_as(package, "text", target)
        assert list(tmp_path.iterdir()) == []


def test_a_folder_is_replaced_with_force_only(
    demos: Callable[[str], tuple[Generator, Path]],
) -> None:
    generator, folder = demos("gpt2")
    command = ["package", "text", "-m", str(generator.package.folder)]
    for target, cause in (
        (folder, f"{folder} exists"),
        (generator.package.folder, "lies in the package itself"),
    ):
        result = CliRunner().invoke(main, [*command, "-o", str(target)])
        assert result.exit_code == 1
        assert cause in result.output


def test_an_unequal_tokenizer_writes_nothing(
    demos: Callable[[str], tuple[Generator, Path]],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    import beamgen.formats.text.tables as module

    monkeypatch.setattr(module, "read_tokenizer", lambda t: replace(read_tokenizer(t), before=(3,)))
    with pytest.raises(SettingError, match="GPT2Tokenizer cannot go"):
        package_as(demos("gpt2")[0].package, "text", tmp_path / "out")
    assert list(tmp_path.iterdir()) == []
