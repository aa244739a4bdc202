"""A package of an encoder-decoder: sources in, what HF ``generate`` gives out."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from click.testing import CliRunner
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer, GenerationConfig, PreTrainedModel

from beamgen import (
    BeamgenError,
    Generator,
    Package,
    export,
    open_package,
    package_as,
    quantize,
)
from beamgen.cli import main
from beamgen.export import quality
from beamgen.settings.sources import SourceBatch

SOURCES = [[5, 9, 7, 5, 9, 1], [33, 8, 1], [40, 41, 42, 43, 1]]
TEXTS = ["the old woman", "the doctor and the patient in the house"]


@pytest.fixture(scope="module")
def generator(generators: Callable[[str], Generator]) -> Generator:
    return generators("t5")


@pytest.fixture(scope="module")
def model(checkpoints: Callable[[str], Path]) -> PreTrainedModel:
    return AutoModelForSeq2SeqLM.from_pretrained(checkpoints("t5")).eval()


def _hf(model: PreTrainedModel, decoder_input_ids=None, **settings) -> np.ndarray:
    """What HF generates for SOURCES, padded on the right as its tokenizers do."""
    longest = max(map(len, SOURCES))
    ids = torch.tensor([row + [0] * (longest - len(row)) for row in SOURCES])
    mask = torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in SOURCES])
    given = {} if decoder_input_ids is None else {"decoder_input_ids": decoder_input_ids}
    config = GenerationConfig(
        num_beams=3,
        num_return_sequences=3,
        max_new_tokens=7,
        eos_token_id=1,
        pad_token_id=0,
        decoder_start_token_id=0,
        **settings,
    )
    with torch.no_grad():
        found = model.generate(ids, attention_mask=mask, generation_config=config, **given)
    return found.reshape(len(SOURCES), 3, -1).numpy()


def _ours(generator: Generator, **settings) -> list[list[list[int]]]:
    found = generator.generate(
        SOURCES, num_beams=3, num_return_sequences=3, max_new_tokens=7, **settings
    )
    return [[[*each.prompt_ids, *each.token_ids] for each in row] for row in found]


def _equal(ours: list[list[list[int]]], theirs: np.ndarray) -> None:
    """Each hypothesis, without HF's padding behind it."""
    for our_row, their_row in zip(ours, theirs.tolist(), strict=True):
        for tokens, padded in zip(our_row, their_row, strict=True):
            assert padded[: len(tokens)] == tokens
            assert set(padded[len(tokens) :]) <= {0, 1}


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"forced_bos_token_id": 17},
        {"encoder_no_repeat_ngram_size": 1},
        {"encoder_no_repeat_ngram_size": 2, "repetition_penalty": 1.3},
        {"begin_suppress_tokens": [68, 16], "forced_bos_token_id": 8},
    ],
    ids=str,
)
def test_sources_of_several_lengths_are_searched_as_hf_does(generator, model, settings) -> None:
    _equal(_ours(generator, **settings), _hf(model, **settings))


def test_ngrams_of_the_source_are_not_repeated(generator) -> None:
    """Of nearly all tokens, the one is missing that would go on like a bigram of the source."""

    def found(size: int) -> list[int]:
        (hypotheses,) = generator.generate(
            [[5, 9, 7, 1]],
            decoder_prompt=[0, 5],
            encoder_no_repeat_ngram_size=size,
            num_beams=95,
            num_return_sequences=95,
            max_new_tokens=1,
        )
        return [each.token_ids[0] for each in hypotheses]

    assert 9 in found(0)
    assert 9 not in found(2)


@pytest.mark.parametrize(
    ("prompt", "theirs"),
    [
        ([7, 12], [[7, 12]] * 3),  # HF puts the start before it, and so do we
        ([0, 7, 12], [[0, 7, 12]] * 3),
        ([[0, 7], [0, 30], [0, 8]], [[0, 7], [0, 30], [0, 8]]),
        ([[7, 9], [0, 30], [8, 8]], [[7, 9], [0, 30], [8, 8]]),  # one row has it: none gets it
    ],
)
def test_a_decoder_prompt_is_gone_on_from(generator, model, prompt, theirs) -> None:
    ours = _ours(generator, decoder_prompt=prompt)
    _equal(ours, _hf(model, torch.tensor(theirs)))


def test_a_decoder_prompt_of_several_pieces(generator, model) -> None:
    """It is read in pieces, as any prompt is."""
    prompt = np.random.default_rng(0).integers(2, 96, 520).tolist()
    _equal(_ours(generator, decoder_prompt=prompt), _hf(model, torch.tensor([prompt] * 3)))


@pytest.mark.slow
def test_padding_within_a_decoder_prompt_moves_what_is_behind_it(checkpoints, packages) -> None:
    """In the prompt alone: HF counts every entry that its cache holds."""
    theirs = AutoModelForSeq2SeqLM.from_pretrained(checkpoints("m2m_100")).eval()
    config, source = theirs.config, [33, 8, 41, 52]
    prompt = [config.decoder_start_token_id, 9, config.pad_token_id, config.pad_token_id, 40, 41]
    asked = {"num_beams": 3, "max_new_tokens": 9}
    with torch.no_grad():
        expected = theirs.generate(
            torch.tensor([source]),
            attention_mask=torch.ones(1, len(source), dtype=torch.long),
            decoder_input_ids=torch.tensor([prompt]),
            return_dict_in_generate=True,
            output_scores=True,
            **asked,
        )
    ((found,),) = Generator(packages("m2m_100")).generate([source], decoder_prompt=prompt, **asked)
    assert [*found.prompt_ids, *found.token_ids] == expected.sequences[0].tolist()
    assert found.score == pytest.approx(float(expected.sequences_scores[0]), abs=1e-4)


def test_left_padding_of_a_source_changes_nothing(generator) -> None:
    start = np.zeros((1, 1), np.int64)
    ids = [np.array([[5, 9, 1, 0]]), np.array([[0, 5, 9, 1]])]
    right, left = (
        generator.search_ids(
            start, np.ones_like(start), generator.search, source=SourceBatch(x, x != 0)
        )
        for x in ids
    )
    assert np.array_equal(right.sequences, left.sequences)
    assert np.allclose(right.sequences_scores, left.sequences_scores, atol=1e-5)


@pytest.mark.parametrize(
    ("prompts", "options", "cause"),
    [
        ([[5], []], {}, "source 2 of 2 is empty"),
        ([[5, 500]], {}, "500, which is outside the vocabulary of 96"),
        ("text", {}, "has no tokenizer"),
        ([[5]], {"decoder_prompt": [[0, 7], [0]]}, "2 decoder prompts were given for 1 sources"),
        ([[5], [6]], {"decoder_prompt": [[0, 7], [0]]}, "decoder prompts of 1 and of 2 tokens"),
        ([[5]], {"decoder_prompt": [0, 500]}, "500, which is outside the vocabulary of 96"),
    ],
    ids=lambda each: each if isinstance(each, str) else None,
)
def test_what_cannot_be_searched_is_refused(generator, prompts, options, cause) -> None:
    with pytest.raises(BeamgenError) as error:
        generator.generate(prompts, **options)
    assert cause in error.value.cause
    assert error.value.cure


def test_a_source_beyond_the_encoders_positions_is_refused(packages) -> None:
    from dataclasses import replace

    from beamgen.package.manifest import Encoder

    package = packages("t5")
    short = replace(package, manifest=replace(package.manifest, encoder=Encoder(0, 4)))
    with pytest.raises(BeamgenError, match="a source has 5 tokens, and the encoder 4 positions"):
        Generator(short).generate([[5, 6, 7, 8, 1]])


def test_a_decoder_alone_takes_no_decoder_prompt(generators) -> None:
    with pytest.raises(BeamgenError, match="has no encoder"):
        generators("gpt2").generate([[5, 9]], decoder_prompt=[7])


@pytest.mark.parametrize(
    "done",
    [
        lambda package, to: package_as(package, "genai", to),
        lambda package, to: package_as(package, "text", to),
    ],
    ids=["genai", "text"],
)
def test_what_knows_decoders_alone_says_so(packages, done, tmp_path: Path) -> None:
    with pytest.raises(BeamgenError, match="holds an encoder-decoder") as error:
        done(packages("t5"), tmp_path / "made")
    assert error.value.cure.startswith("search with it as it is: beamgen generate -m ")
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize(
    ("options", "cause"),
    [
        ({"backend": "contrib"}, "written for decoders here"),
        ({"settings": {"decoder_start_token_id": 500}}, "decoder_start_token_id is 500"),
    ],
    ids=lambda each: each if isinstance(each, str) else None,
)
def test_what_a_file_cannot_be_yet_is_refused(checkpoints, options, cause, tmp_path) -> None:
    with pytest.raises(BeamgenError) as error:
        export(checkpoints("t5"), tmp_path / "made", **options)
    assert cause in error.value.cause
    assert not (tmp_path / "made").exists()


def _all_initializers(graph: onnx.GraphProto) -> Iterator[onnx.TensorProto]:
    yield from graph.initializer
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.GRAPH:
                yield from _all_initializers(attribute.g)


def test_text_in_and_hfs_text_out(text_checkpoints, text_packages) -> None:
    tokenizer = AutoTokenizer.from_pretrained(text_checkpoints("t5"))
    model = AutoModelForSeq2SeqLM.from_pretrained(text_checkpoints("t5")).eval()
    batch = tokenizer(TEXTS, padding=True, return_tensors="pt")
    start = [0, *tokenizer("the", add_special_tokens=False).input_ids]
    with torch.no_grad():
        theirs = model.generate(
            **batch,
            decoder_input_ids=torch.tensor([start] * 2),
            num_beams=4,
            max_new_tokens=6,
        )
    prompts = [part for text in TEXTS for part in ("-p", text)]
    asked = [
        "-m",
        str(text_packages("t5").folder),
        "--num-beams",
        "4",
        "--max-new-tokens",
        "6",
        "--json",
    ]
    told = CliRunner().invoke(main, ["generate", *asked, *prompts, "--decoder-prompt", "the"])
    assert told.exit_code == 0, told.output
    rows = [json.loads(line) for line in told.stdout.splitlines()]
    for row, sequence in zip(rows, theirs.tolist(), strict=True):
        (best,) = row["hypotheses"]
        ids = [*best["prompt_ids"], *best["token_ids"]]
        assert sequence[: len(ids)] == ids
        assert best["text"] == tokenizer.decode(sequence, skip_special_tokens=True)
    both = [*asked, "-p", "the", "--decoder-prompt", "the", "--decoder-ids", "5"]
    assert "leave one of the two out" in CliRunner().invoke(main, ["generate", *both]).output


def test_a_tied_embedding_is_stored_once(text_packages) -> None:
    """Encoder, decoder and head read one tensor, which is too large to stand in a body."""
    package = text_packages("t5")
    model = onnx.load(package.model)
    vocab_size = package.manifest.vocab_size
    assert sum(sorted(t.dims) == [64, vocab_size] for t in _all_initializers(model.graph)) == 1


def test_the_manifest_tells_of_the_encoder(packages: Callable[[str], Package]) -> None:
    package = packages("t5")
    values = json.loads((package.folder / "beamgen.json").read_text())
    assert values["encoder"] == {"decoder_start_token_id": 0, "max_positions": None}
    rows = {row["name"]: row for row in values["inputs"]}
    assert list(rows)[:3] == ["input_ids", "attention_mask", "decoder_input_ids"]
    assert rows["input_ids"]["shape"] == ["batch", "source_len"]
    assert rows["decoder_input_ids"]["default"] == [[0]]
    assert open_package(package.folder).manifest == package.manifest
    assert "encoder" not in packages("gpt2").manifest.to_json()


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    """What an encoder reads, and what its decoder is to give."""
    path = tmp_path / "pairs.jsonl"
    first, second = TEXTS
    row = json.dumps({"prompt": first, "completion": first.upper()})
    path.write_text(f"{row}\n\n{second}\t{second.upper()}\tother words\n", encoding="utf-8")
    return path


def test_what_rounding_costs_is_measured_on_pairs(
    text_checkpoints, text_packages, pairs: Path, tmp_path: Path, monkeypatch
) -> None:
    """And the rounded package searches with text as the other does."""
    monkeypatch.setattr(quality, "_ROWS", 4)
    made = quantize(
        text_packages("t5"),
        tmp_path / "int8",
        quality_text=pairs,
        int8_weights="u8",
        parity=False,
    ).package
    found, noise = made.manifest.precision.quality, made.manifest.precision.noise
    tokenizer = AutoTokenizer.from_pretrained(text_checkpoints("t5"))
    model = AutoModelForSeq2SeqLM.from_pretrained(text_checkpoints("t5")).eval()
    losses, tokens = 0.0, 0
    for text in TEXTS:
        labels = tokenizer(text_target=text.upper(), return_tensors="pt").input_ids
        with torch.no_grad():
            mean = model(**tokenizer(text, return_tensors="pt"), labels=labels).loss
        losses, tokens = losses + float(mean) * labels.numel(), tokens + labels.numel()
    assert found.tokens == tokens
    assert found.perplexity_fp32 == pytest.approx(np.exp(losses / tokens), rel=1e-4)
    assert found.perplexity == pytest.approx(found.perplexity_fp32, rel=0.1)
    assert found.perplexity != found.perplexity_fp32
    assert 0 < noise < 0.5
    assert made.manifest.encoder == text_packages("t5").manifest.encoder
    ((best,),) = Generator(made).generate([TEXTS[0]], num_beams=3, max_new_tokens=5)
    assert len(best.token_ids) <= 5


@pytest.mark.parametrize(
    ("line", "cause"),
    [
        ("a text", "line 1 of .* is no pair of texts"),
        ('{"prompt": "a"}', "line 1 of .* is no pair of texts: 'completion'"),
        ('["a", "b"]', "line 1 of .* is no pair of texts"),
        ("\t", "holds no text"),
        ('{"prompt": 1, "completion": "a"}', "line 1 of .* is no pair of texts"),
    ],
)
def test_what_is_no_pair_is_refused(text_packages, line: str, cause: str, tmp_path: Path) -> None:
    (tmp_path / "pairs.jsonl").write_text(line)
    with pytest.raises(BeamgenError, match=cause) as error:
        quantize(
            text_packages("t5"),
            tmp_path / "made",
            quality_text=tmp_path / "pairs.jsonl",
        )
    assert error.value.cure
