"""A tokenizer in the graph: its ids and texts are those of Hugging Face's."""

from __future__ import annotations

import functools
import itertools
import json
import random
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import pytest
import torch
from click.testing import CliRunner
from support.tokenizer_kinds import KINDS, trained
from tokenizers import AddedToken, Regex, Tokenizer, decoders
from tokenizers import pre_tokenizers as hf
from tokenizers.models import BPE, WordPiece
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerFast

from beamgen import BeamgenError, Generator, Package, export, find_adapter, package_as
from beamgen.cli import main
from beamgen.errors import SettingError
from beamgen.formats.text import pieces, units
from beamgen.formats.text.check import (
    TEXTS,
    check_decoding,
    check_encoding,
    decode_session,
    encode_session,
    open_session,
    random_ids,
    texts_for,
)
from beamgen.formats.text.kinds import class_pages
from beamgen.formats.text.tables import read_tokenizer
from beamgen.search.functions.library import functions
from beamgen.tape import Tape

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


def _demo(name: str) -> PreTrainedTokenizerFast:
    return AutoTokenizer.from_pretrained(find_adapter(name).demo)


# ------------------------------------------------------------------ tokenizer alone


@pytest.mark.parametrize("name", DEMOS)
def test_the_demo_tokenizers_are_equal(name: str) -> None:
    tokenizer = _demo(name)
    tables = read_tokenizer(tokenizer)
    assert check_encoding(tokenizer, tables, texts_for(tables, 1500, seed=3)) > 1600
    assert check_decoding(tokenizer, tables, random_ids(tables, 1500, seed=3)) == 1500


@pytest.mark.parametrize("kind", KINDS)
def test_trained_tokenizers_are_equal(kind: str) -> None:
    tokenizer = trained(kind)
    tables = read_tokenizer(tokenizer)
    assert list(tables.before) == [tokenizer.bos_token_id]
    assert len(tables.merges.pairs) > 200
    assert check_encoding(tokenizer, tables, texts_for(tables, 150, seed=5)) > 300
    assert check_decoding(tokenizer, tables, random_ids(tables, 150, seed=5)) == 150


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_trained_tokenizers_are_equal_on_many_texts(kind: str) -> None:
    tokenizer = trained(kind, 1500)
    tables = read_tokenizer(tokenizer)
    assert check_encoding(tokenizer, tables, texts_for(tables, 20_000, seed=6)) > 20_000
    assert check_decoding(tokenizer, tables, random_ids(tables, 20_000, seed=6)) > 19_000


def _piece_starts(name: str, texts: Sequence[str]) -> list[list[int]]:
    """Where pieces begin, in one run over all texts."""
    tape = Tape("test")
    given = [
        ir.Value(name=name, type=ir.TensorType(dtype), shape=ir.Shape([None]))
        for name, dtype in (("units", ir.DataType.INT64), ("starts", ir.DataType.BOOL))
    ]
    begins, members = class_pages(digits=name.startswith("digits"))
    kinds = tape.value(
        units.classes,
        given[0],
        tape.constant("begins", begins),
        tape.constant("members", members, np.uint8),
    )
    found = tape.value(getattr(pieces, name), given[0], kinds, given[1])
    found.dtype, found.shape = ir.DataType.BOOL, ir.Shape([None])
    graph = ir.Graph(
        given, [found], nodes=tape.nodes, initializers=tape.initializers,
        opset_imports={"": 23, "beamgen": 1}, name="pieces",
    )  # fmt: skip
    model = ir.Model(graph, ir_version=10, functions=functions(units, pieces))
    session = open_session(ir.serde.serialize_model(model).SerializeToString())
    points = np.frombuffer("".join(texts).encode("utf-32-le"), np.uint32).astype(np.int64)
    ends = np.cumsum([len(text) for text in texts])
    starts = np.zeros(len(points), bool)
    starts[np.append(0, ends[:-1])] = True
    result = session.run(None, {"units": points, "starts": starts})[0]
    return [np.flatnonzero(part).tolist() for part in np.split(result, ends[:-1])]


_SPLITS = {name: hf.Split(Regex(pattern), "isolated") for pattern, name in pieces.PATTERNS.items()}
_SPLITS |= {"digits_alone": hf.Digits(True), "digits_together": hf.Digits(False)}


@pytest.mark.parametrize("name", _SPLITS)
def test_pieces_of_every_short_text(name: str) -> None:
    """All texts of up to 3 characters of all classes, and longer random ones."""
    alphabet = "asltE1 \n\r\t'!\u00a0\u0301"
    texts = [
        "".join(text) for size in (1, 2, 3) for text in itertools.product(alphabet, repeat=size)
    ]
    draw = random.Random(1)
    more = f"{alphabet}rvemd''  \n\u017fLR\u3000A\u0661"
    texts += ["".join(draw.choices(more, k=draw.randrange(4, 40))) for _ in range(2000)]
    expected = [[begin for _, (begin, _) in _SPLITS[name].pre_tokenize_str(t)] for t in texts]
    assert _piece_starts(name, texts) == expected


@pytest.mark.slow
@pytest.mark.parametrize("name", _SPLITS)
def test_pieces_around_every_code_point(name: str) -> None:
    points = [chr(n) for n in range(0x110000) if not 0xD800 <= n < 0xE000]
    for begin in range(0, len(points), 100_000):
        texts = [f"{c}a1{c} {c}'{c}" for c in points[begin : begin + 100_000]]
        expected = [[start for _, (start, _) in _SPLITS[name].pre_tokenize_str(t)] for t in texts]
        assert _piece_starts(name, texts) == expected


@pytest.mark.parametrize(
    "seed", [0, 1, 2, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(3, 200))]
)
def test_merges_of_any_order(seed: int) -> None:
    """Merges that no training would rank so, and texts of their few letters."""
    draw = random.Random(seed)
    letters = "abc"[: draw.choice((1, 2, 3))]
    vocab = {letter: n for n, letter in enumerate(sorted(hf.ByteLevel.alphabet()))}
    tokens, merges = list(letters), []
    for _ in range(draw.choice((8, 20, 60))):
        pair = (draw.choice(tokens), draw.choice(tokens))
        if len("".join(pair)) <= 8 and pair not in merges:
            merges.append(pair)
            if "".join(pair) not in vocab:
                vocab["".join(pair)] = len(vocab)
                tokens.append("".join(pair))
    draw.shuffle(merges)
    backend = Tokenizer(BPE(vocab=vocab, merges=merges))
    backend.pre_tokenizer = hf.ByteLevel(add_prefix_space=False, use_regex=False)
    backend.decoder = decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend)
    texts = ["".join(draw.choices(letters, k=draw.randrange(1, 60))) for _ in range(200)]
    assert check_encoding(tokenizer, read_tokenizer(tokenizer), texts) == 200


def test_a_batch_is_padded_on_the_left() -> None:
    tokenizer = trained("llama")
    texts = ["a b c d", "", "\0\0", "<|user|> x"]
    feeds = {"text": np.array(texts, object), "pad_token_id": np.array([9])}
    ids, mask = encode_session(read_tokenizer(tokenizer)).run(None, feeds)
    tokenizer.padding_side, tokenizer.pad_token = "left", tokenizer.convert_ids_to_tokens(9)
    expected = tokenizer(texts, padding=True, return_tensors="np")
    assert ids.tolist() == expected["input_ids"].tolist()
    assert mask.tolist() == expected["attention_mask"].tolist()


@pytest.mark.parametrize("texts", [[""], ["a", ""], ["", "", "a"]], ids=repr)
def test_a_text_without_tokens_fails(texts: list[str]) -> None:
    session = encode_session(read_tokenizer(_demo("gpt2")))
    feeds = {"text": np.array(texts, object), "pad_token_id": np.array([0])}
    with pytest.raises(Exception, match="every_text_needs_a_token"):
        session.run(None, feeds)


def test_what_is_shown_of_a_sequence() -> None:
    """No padding, nothing after the EOS, nothing beyond max_new_tokens, no special tokens."""
    tokenizer = trained("gpt2")
    session = decode_session(read_tokenizer(tokenizer))
    a, b, c = tokenizer.convert_tokens_to_ids(["a", "b", "c"])
    eos = tokenizer.eos_token_id
    rows = [[c, a, b, eos, c], [a, b, c, c, c], [a, b, c, b, c], [a, b, b, b, b]]
    feeds = {
        "sequences": np.array(rows)[:, None],
        "attention_mask": np.array([[0, 1], [1, 1], [1, 1], [1, 1]]),
        "finish_reasons": np.array([[1], [2], [1], [0]]),
        "eos_token_id": np.array([eos, b]),
        "max_new_tokens": np.array([3, 1, 3, 3]),
    }
    texts = session.run(None, feeds)[0]
    assert texts.tolist() == [["ab"], ["abc"], ["abcb"], [""]]


def test_the_check_finds_what_differs() -> None:
    """Tables that are wrong on purpose, one at a time."""
    tokenizer = trained("llama")
    tables = read_tokenizer(tokenizer)
    texts = texts_for(tables, 100)
    shuffled = replace(tables.merges, ranked=tables.merges.ranked[::-1].copy())
    unjoined = replace(tables.merges, joints=tables.merges.joints[: len(tables.merges.joints) // 2])
    hasty = replace(tables.merges, ahead=tables.merges.behind, behind=tables.merges.ahead)
    unstripped = [replace(token, rstrip=False) for token in tables.added]
    for wrong in (
        replace(tables, prefix=None),
        replace(tables, before=()),
        replace(tables, merges=shuffled),
        replace(tables, merges=unjoined),
        replace(tables, merges=hasty),
        replace(tables, added=tables.added[:-1]),
        replace(tables, added=unstripped),
    ):
        with pytest.raises(SettingError, match="of the text"):
            check_encoding(tokenizer, wrong, texts)
    spaced = next(n for n, octets in enumerate(tables.token_bytes) if octets[:1] == b" ")
    rows = [*random_ids(tables, 90, seed=1), [spaced]]
    for wrong in (
        replace(tables, strip_first_space=False),
        replace(tables, byte_tokens=frozenset()),
        replace(tables, token_bytes=[*tables.token_bytes[:-1], tables.token_bytes[-1] + b"?"]),
    ):
        with pytest.raises(SettingError, match="to the graph"):
            check_decoding(tokenizer, wrong, [*rows, [len(tables.token_bytes) - 1]])


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
    text = generator.tokenizer.apply_chat_template(
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
    assert json.loads(props["beamgen.text"])["tokenizer"] == "GPT2TokenizerFast"
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
        read_tokenizer(make())
    assert reason in error.value.cause


def test_ignore_merges_that_change_nothing_are_taken() -> None:
    tokenizer = _changed("llama3", model={"ignore_merges": True})
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
    with pytest.raises(SettingError, match="GPT2TokenizerFast cannot go"):
        package_as(demos("gpt2")[0].package, "text", tmp_path / "out")
    assert list(tmp_path.iterdir()) == []
