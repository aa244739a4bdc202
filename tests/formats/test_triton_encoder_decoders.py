"""Triton: encoder-decoders, whose joined requests get what Hugging Face gives each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support.packaged import check_verified
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

from beamgen import BeamgenError, Package, Packaged, package_as
from beamgen.formats.triton.checks import load, parse
from beamgen.formats.triton.plan import make_plan
from beamgen.formats.triton.requests import join, requests_to_join
from beamgen.package.manifest import Encoder

pytest.importorskip("tritonclient.grpc", reason="tritonclient and grpcio are not installed")
pytestmark = pytest.mark.transformers_4  # whose tokenizers the checkpoints have

EOS = (1, *range(10, 20))
BEAMS = {"num_beams": 3, "num_return_sequences": 2, "eos_token_id": EOS, "pad_token_id": 0}
INPUTS = ["max_new_tokens", "length_penalty", "decoder_input_ids"]
LANGUAGES = ["max_new_tokens", "forced_bos_token_id"]

#: Processors that read what the decoder has, in which nothing is padding.
FORCED = {"repetition_penalty": 1.3, "forced_bos_token_id": 17}

Write = Callable[..., Packaged]


@pytest.fixture(scope="module")
def write(packages: Callable[[str], Package], tmp_path_factory: pytest.TempPathFactory) -> Write:
    """``write("t5", batching="ragged")``: a model of that name."""
    repository = tmp_path_factory.mktemp("repository")
    made: dict[str, Packaged] = {}

    def make(name: str, **options: Any) -> Packaged:
        known = f"{name} {sorted(options.items(), key=str)}"
        if known not in made:
            folder = repository / f"{name}{len(made)}"
            made[known] = package_as(packages(name), "triton", folder, **options)
        return made[known]

    return make


def _hugging_face(
    checkpoint: Path, given: dict[str, np.ndarray], settings: dict[str, Any]
) -> tuple[np.ndarray, np.ndarray]:
    model = AutoModelForSeq2SeqLM.from_pretrained(checkpoint).eval()
    ids = torch.tensor(given["input_ids"])
    prompt = {}
    if "decoder_input_ids" in given:
        prompt["decoder_input_ids"] = torch.tensor(given["decoder_input_ids"])
    with torch.no_grad():
        output = model.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            return_dict_in_generate=True,
            output_scores=True,
            **prompt,
            **{**settings, "eos_token_id": list(settings["eos_token_id"])},
        )
    returned = settings["num_return_sequences"]
    return output.sequences.numpy()[:returned], output.sequences_scores.numpy()[:returned]


@pytest.mark.parametrize(
    ("name", "batching", "settings"),
    [
        ("t5", "ragged", FORCED),
        pytest.param("t5", "dynamic", {"encoder_no_repeat_ngram_size": 2}, marks=pytest.mark.slow),
        pytest.param("bart_seq2seq", "ragged", {"no_repeat_ngram_size": 2}, marks=pytest.mark.slow),
        pytest.param("m2m_100", "ragged", {}, marks=pytest.mark.slow),
        pytest.param("marian", "ragged", {"max_length": 12}, marks=pytest.mark.slow),
    ],
)
def test_joined_requests_get_what_hugging_face_gives_each(
    name: str,
    batching: str,
    settings: dict[str, Any],
    write: Write,
    packages: Callable[[str], Package],
    checkpoints: Callable[[str], Path],
) -> None:
    settings = {**BEAMS, **settings}
    inputs = {"m2m_100": LANGUAGES, "marian": ["length_penalty"]}.get(name, INPUTS)
    options = {"inputs": inputs, "settings": settings}
    done = write(name, batching=batching, **options)
    check_verified(done)
    ragged = batching == "ragged"
    plan = make_plan(packages(name), ragged=ragged, max_batch_size=3, lora=None, **options)
    requests = requests_to_join(packages(name), plan)
    assert len({request.given["input_ids"].shape[1] for request in requests}) == (
        3 if ragged else 1
    )
    session = load(done.folder / "1/model.onnx")
    found, scores, _ = session.run(None, join(requests, plan))
    lengths = set()
    for row, request in enumerate(requests):
        own = {n: request.given[n].item() for n in inputs if n != "decoder_input_ids"}
        tokens, expected = _hugging_face(checkpoints(name), request.given, {**settings, **own})
        assert found[row, :, : tokens.shape[1]].tolist() == tokens.tolist()
        assert set(found[row, :, tokens.shape[1] :].flat) <= {plan.search.fill_token_id}
        np.testing.assert_allclose(scores[row], expected, rtol=1e-4, atol=1e-4)
        lengths.add(tokens.shape[1])
    assert len(lengths) > 1 or "max_length" in settings  # rows of unequal length met


def test_the_configuration_says_what_a_request_gives(write: Write) -> None:
    done = write("t5", batching="ragged", inputs=INPUTS, settings={**BEAMS, **FORCED})
    text = (done.folder / "config.pbtxt").read_text(encoding="utf-8")
    shapes = {value.name: list(value.dims) for value in parse(text).input}
    assert shapes == {
        "input_ids": [-1],
        "decoder_input_ids": [-1],
        "max_new_tokens": [1],
        "length_penalty": [1],
    }
    assert [value.name for value in parse(text).input if value.allow_ragged_batch] == ["input_ids"]
    assert "# what the encoder reads" in text
    assert "forced_bos_token_id 17" in text.split("name:")[0]
    simple = write("t5", batching="simple")
    check_verified(simple)
    parsed = parse((simple.folder / "config.pbtxt").read_text(encoding="utf-8"))
    needed = [value.name for value in parsed.input if not value.optional]
    assert needed == ["input_ids", "attention_mask"]
    (prompt,) = (value for value in parsed.input if value.name == "decoder_input_ids")
    assert (list(prompt.dims), prompt.optional) == ([-1, -1], True)


@pytest.mark.slow
def test_lengths_that_count_the_decoders_tokens_can_be_fixed(
    write: Write, packages: Callable[[str], Package]
) -> None:
    """Its prompt is known, unless requests give one."""
    options = {"settings": {"max_length": 6, "min_length": 4}}
    check_verified(write("t5", batching="dynamic", inputs=["length_penalty"], **options))
    with pytest.raises(BeamgenError, match="max_length counts the prompt"):
        write("t5", batching="dynamic", inputs=["decoder_input_ids"], **options)


@pytest.mark.parametrize("batching", ["ragged", pytest.param("dynamic", marks=pytest.mark.slow)])
def test_a_source_that_cannot_be_encoded_is_an_error_that_says_so(
    batching: str, packages: Callable[[str], Package], tmp_path: Path, monkeypatch
) -> None:
    """Of the whole run: Triton answers each of the requests in it with this line."""
    package = packages("t5")
    short = replace(package, manifest=replace(package.manifest, encoder=Encoder(0, 4)))
    monkeypatch.setattr("beamgen.formats.triton.requests._LENGTHS", (3, 4, 2))
    done = package_as(short, "triton", tmp_path / "model", batching=batching, inputs=[])
    check_verified(done)
    session = load(done.folder / "1/model.onnx")

    def run(*lengths: int) -> Any:
        if batching == "ragged":
            sizes = {"prompt_lengths": np.array(lengths, np.int32)[:, None]}
            return session.run(None, {"input_ids": np.full(sum(lengths), 5), **sizes})
        mask = np.array([[i < n for i in range(max(lengths))] for n in lengths], np.int64)
        return session.run(None, {"input_ids": np.full(mask.shape, 5), "attention_mask": mask})

    run(4, 1)
    with pytest.raises(Exception, match="sources/every_source_needs_a_token"):
        run(3, 0)
    with pytest.raises(Exception, match="sources/no_source_may_have_more_than_4_tokens"):
        run(2, 5)


def test_the_language_to_translate_into_is_fixed_by_its_code(
    text_packages: Callable[[str], Package], text_checkpoints: Callable[[str], Path], tmp_path: Path
) -> None:
    package = text_packages("mbart_seq2seq")
    options = {"batching": "ragged", "inputs": []}
    settings = {"max_new_tokens": 5}
    done = package_as(
        package, "triton", tmp_path / "de", tgt_lang="de_DE", settings=settings, **options
    )
    check_verified(done)
    tokenizer = AutoTokenizer.from_pretrained(text_checkpoints("mbart_seq2seq"))
    ids = tokenizer("the beam")["input_ids"]
    session = load(done.folder / "1/model.onnx")
    feeds = {"input_ids": np.array(ids), "prompt_lengths": np.array([[len(ids)]], np.int32)}
    (first,) = session.run(["sequences"], feeds)[0][0, :1, 1]
    assert first == tokenizer.lang_code_to_id["de_DE"]
    for wrong, cause in (
        ({"tgt_lang": "de"}, "knows no language 'de'"),
        ({"tgt_lang": "de_DE", "settings": {"forced_bos_token_id": 5}}, "say the same"),
    ):
        with pytest.raises(BeamgenError, match=cause):
            package_as(package, "triton", tmp_path / "wrong", **options, **wrong)
    with pytest.raises(BeamgenError, match="tgt_lang cannot be set"):
        package_as(package, "triton", tmp_path / "wrong", batching="simple", tgt_lang="de_DE")
    assert not (tmp_path / "wrong").exists()


@pytest.mark.parametrize(
    ("options", "cause"),
    [
        ({"inputs": ["decoder_input_id"]}, "no parameter called 'decoder_input_id'"),
        ({"inputs": ["num_beams"]}, "num_beams is one for all rows"),
        (
            {"batching": "ragged", "settings": {"encoder_no_repeat_ngram_size": 2}},
            "encoder_no_repeat_ngram_size reads a prompt's padding",
        ),
        ({"tgt_lang": "de_DE"}, "has no tokenizer, which would know the language 'de_DE'"),
    ],
)
def test_what_cannot_be_is_refused_with_nothing_written(
    options: dict[str, Any], cause: str, packages: Callable[[str], Package], tmp_path: Path
) -> None:
    with pytest.raises(BeamgenError) as refused:
        package_as(packages("t5"), "triton", tmp_path / "model", **options)
    assert cause in refused.value.cause
    assert not any(tmp_path.iterdir())


def test_a_decoder_alone_has_no_decoder_prompt(
    packages: Callable[[str], Package], tmp_path: Path
) -> None:
    with pytest.raises(BeamgenError, match="no parameter called 'decoder_input_ids'"):
        package_as(packages("gpt2"), "triton", tmp_path / "m", inputs=["decoder_input_ids"])
