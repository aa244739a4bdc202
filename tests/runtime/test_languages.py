"""A translator's languages: the source's mark, and what stands for the target's."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from click.testing import CliRunner
from support.saved_tokenizers import unigram
from tokenizers import processors
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer, PreTrainedTokenizerFast

from beamgen import BeamgenError, Generator, export, find_adapter
from beamgen.cli import main
from beamgen.runtime.languages import Languages
from beamgen.testing import tiny_model
from beamgen.tokenizer.hf import HfTokenizer

CODES = ["eng_Latn", "deu_Latn", "fra_Latn"]
FRONT, BEHIND = "{0} $A </s>", "$A </s> {0}"
TEXTS = ["the old woman", "the doctor and the patient", "a house"]
SEARCH = {"num_beams": 3, "num_return_sequences": 2, "max_new_tokens": 6}


def tokenizer_of(
    template: str = FRONT, source: str = CODES[0], codes: list[str] = CODES
) -> PreTrainedTokenizerFast:
    """A tokenizer that marks its texts as those of NLLB or of mBART do."""
    backend = unigram()
    backend.add_special_tokens(codes)
    ids = [(token, backend.token_to_id(token)) for token in (source, "</s>")]
    backend.post_processor = processors.TemplateProcessing(
        single=template.format(source), special_tokens=ids
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        eos_token="</s>",
        pad_token="<pad>",
        unk_token="<unk>",
        additional_special_tokens=codes,
    )


@pytest.fixture(scope="module")
def nllb(once: Callable[..., Path]) -> Path:
    """A folder with a small translator that reads text, and its package."""

    def make(folder: Path) -> None:
        tokenizer = tokenizer_of()
        tokenizer.save_pretrained(folder / "nllb")
        config = find_adapter("m2m_100").tiny_config()
        config.vocab_size = len(tokenizer)
        config.pad_token_id, config.eos_token_id, config.decoder_start_token_id = 0, 1, 1
        tiny_model(config).save_pretrained(folder / "nllb")
        export(folder / "nllb", folder / "package", parity=False)

    return once("texts/nllb", make)


@pytest.fixture(scope="module")
def generator(nllb: Path) -> Generator:
    return Generator(nllb / "package")


@pytest.fixture(scope="module")
def begun_with(nllb: Path, once: Callable[..., Path]) -> Generator:
    """A translator whose decoder begins with a language, as mBART's fine-tuned ones do."""
    start = {"decoder_start_token_id": tokenizer_of().convert_tokens_to_ids("fra_Latn")}

    def make(folder: Path) -> None:
        export(nllb / "nllb", folder, parity=False, settings=start)

    return Generator(once("texts/begins-with-language", make))


def _hf(nllb: Path, text: str, source: str, **settings: object) -> list[list[int]]:
    """What HF generates of one text, with a tokenizer of that language."""
    model = AutoModelForSeq2SeqLM.from_pretrained(nllb / "nllb").eval()
    batch = tokenizer_of(source=source)(text, return_tensors="pt")
    read = {name: batch[name] for name in ("input_ids", "attention_mask")}
    with torch.no_grad():
        return model.generate(**read, **SEARCH, **settings).tolist()


def _same(ours: list, theirs: list[list[int]]) -> None:
    assert len(ours) == len(theirs)
    for found, padded in zip(ours, theirs, strict=True):
        tokens = [*found.prompt_ids, *found.token_ids]
        assert padded[: len(tokens)] == tokens
        assert set(padded[len(tokens) :]) <= {0, 1}


def test_each_row_is_translated_from_its_language_into_its_language(
    generator: Generator, nllb: Path
) -> None:
    sources, targets = ["fra_Latn", "eng_Latn", "deu_Latn"], ["deu_Latn", "fra_Latn", "fra_Latn"]
    ids = tokenizer_of().convert_tokens_to_ids
    found = generator.generate(TEXTS, src_lang=sources, tgt_lang=targets, **SEARCH)
    firsts = [row[0].token_ids[0] for row in found]
    assert firsts == [ids(code) for code in targets]
    for row, text, source, target in zip(found, TEXTS, sources, targets, strict=True):
        _same(row, _hf(nllb, text, source, forced_bos_token_id=ids(target)))


def test_the_language_of_a_source_changes_what_is_found(generator: Generator) -> None:
    by_default, english, french = (
        generator.generate(TEXTS[1], **SEARCH, **given)[0]
        for given in ({}, {"src_lang": "eng_Latn"}, {"src_lang": "fra_Latn"})
    )
    assert by_default == english
    assert english[0].score != french[0].score


def test_ids_of_the_language_may_be_forced_by_themselves(generator: Generator) -> None:
    ids = tokenizer_of().convert_tokens_to_ids(["deu_Latn", "fra_Latn"])
    forced = generator.generate(TEXTS[:2], forced_bos_token_id=ids, **SEARCH)
    assert forced == generator.generate(TEXTS[:2], tgt_lang=["deu_Latn", "fra_Latn"], **SEARCH)
    one, none = generator.generate(TEXTS[:2], forced_bos_token_id=[ids[0], None], **SEARCH)
    assert one == forced[0]
    (alone,) = generator.generate(TEXTS[1], **SEARCH)
    assert [each.token_ids for each in none] == [each.token_ids for each in alone]


def test_a_language_goes_between_the_start_and_a_decoder_prompt(
    generator: Generator, nllb: Path
) -> None:
    german = tokenizer_of().convert_tokens_to_ids("deu_Latn")
    (found,) = generator.generate(TEXTS[0], decoder_prompt="the", tgt_lang="deu_Latn", **SEARCH)
    prompt = [1, german, *tokenizer_of()("the", add_special_tokens=False).input_ids]
    assert found[0].prompt_ids == prompt
    _same(found, _hf(nllb, TEXTS[0], "eng_Latn", decoder_input_ids=torch.tensor([prompt])))
    again = generator.generate(TEXTS[0], decoder_prompt=prompt, tgt_lang="deu_Latn", **SEARCH)
    assert again == [found]


def test_a_decoder_that_begins_with_a_language_begins_with_another(
    begun_with: Generator, nllb: Path
) -> None:
    german, french = tokenizer_of().convert_tokens_to_ids(["deu_Latn", "fra_Latn"])
    found = begun_with.generate(TEXTS[:2], tgt_lang=["deu_Latn", "fra_Latn"], **SEARCH)
    assert [row[0].prompt_ids for row in found] == [[german], [french]]
    for row, text, start in zip(found, TEXTS, (german, french), strict=False):
        _same(row, _hf(nllb, text, "eng_Latn", decoder_start_token_id=start))


def test_each_row_has_a_start_of_its_own(generator: Generator, nllb: Path) -> None:
    """HF takes a list, too."""
    model = AutoModelForSeq2SeqLM.from_pretrained(nllb / "nllb").eval()
    batch = AutoTokenizer.from_pretrained(nllb / "nllb")(TEXTS, padding=True, return_tensors="pt")
    read = {name: batch[name] for name in ("input_ids", "attention_mask")}
    for starts, prompts in (([7, 9, 11], None), ([7, 9, 11], [[8, 8], [9, 4], [5, 5]])):
        given = {} if prompts is None else {"decoder_input_ids": torch.tensor(prompts)}
        with torch.no_grad():
            theirs = model.generate(**read, **SEARCH, **given, decoder_start_token_id=starts)
        found = generator.generate(
            TEXTS, decoder_start_token_id=starts, decoder_prompt=prompts, **SEARCH
        )
        for row, expected in zip(found, theirs.reshape(3, 2, -1).tolist(), strict=True):
            _same(row, expected)


@pytest.mark.parametrize(
    ("asked", "cause"),
    [
        ({"tgt_lang": "deu_Latin"}, "'deu_Latin' is none of the 3 languages of this tokenizer"),
        ({"tgt_lang": "xx"}, "'xx' is none of the 3 languages"),
        ({"src_lang": "xx"}, "'xx' is none of the 3 languages"),
        ({"tgt_lang": ["deu_Latn"]}, "tgt_lang names 1 languages for 2 sources"),
        ({"src_lang": ["deu_Latn"] * 3}, "src_lang names 3 languages for 2 sources"),
        ({"tgt_lang": "deu_Latn", "forced_bos_token_id": 7}, "both say what comes first"),
        ({"src_lang": "deu_Latn", "add_special_tokens": False}, "no special tokens"),
        ({"decoder_start_token_id": [7]}, "names 1 tokens for 2 sources"),
        ({"decoder_start_token_id": "deu_Latn"}, "has to be a token id"),
        ({"decoder_start_token_id": 10**6}, "outside the vocabulary"),
        ({"decoder_prompt": [[7, 8], [7]]}, "decoder prompts of 1 and of 2 tokens"),
        ({"forced_bos_token_id": 10**6}, "outside the vocabulary"),
        ({"forced_bos_token_id": [7, 8, 9]}, "forced_bos_token_id"),
    ],
    ids=str,
)
def test_what_cannot_be_translated_is_refused(generator: Generator, asked, cause: str) -> None:
    with pytest.raises(BeamgenError) as error:
        generator.generate(TEXTS[:2], **SEARCH, **asked)
    assert cause in error.value.cause
    assert error.value.cure
    assert "\n" not in error.value.cause + error.value.cure


def test_a_near_code_is_suggested(generator: Generator) -> None:
    with pytest.raises(BeamgenError) as error:
        generator.generate(TEXTS[0], tgt_lang="deu_Latin")
    assert "did you mean deu_Latn" in error.value.cure
    with pytest.raises(BeamgenError) as error:
        generator.generate(TEXTS[0], tgt_lang="Klingon")
    assert error.value.cure == "there are deu_Latn, eng_Latn, fra_Latn"


@pytest.mark.parametrize("name", ["src_lang", "tgt_lang"])
def test_a_model_without_languages_says_so(generators, name: str, once, tmp_path: Path) -> None:
    with pytest.raises(BeamgenError, match="has no encoder"):
        generators("gpt2").generate([[5, 9]], **{name: "deu_Latn"})
    with pytest.raises(BeamgenError, match="has no tokenizer"):
        generators("t5").generate([[5, 9, 1]], **{name: "deu_Latn"})


def test_a_tokenizer_that_marks_nothing_has_no_languages() -> None:
    """Special tokens without a role are no languages by themselves: T5 has a hundred of them."""
    assert Languages.of(HfTokenizer(tokenizer_of("$A </s>"))) is None


@pytest.mark.parametrize("template", [FRONT, BEHIND])
def test_a_text_is_marked_as_a_tokenizer_of_the_language_does(template: str) -> None:
    languages = Languages.of(HfTokenizer(tokenizer_of(template)))
    assert languages is not None
    for text in ("", "a", "deu_Latn the eng_Latn house"):
        ids = tokenizer_of(template)(text).input_ids
        expected = tokenizer_of(template, "fra_Latn")(text).input_ids
        assert languages.marked(ids, "fra_Latn") == expected


def test_underscores_around_a_code_need_not_be_typed() -> None:
    languages = Languages.of(HfTokenizer(tokenizer_of(FRONT, "__en__", ["__en__", "__de__"])))
    assert languages is not None
    assert languages.id_of("de") == languages.id_of("__de__")
    with pytest.raises(BeamgenError) as error:
        languages.id_of("fr")
    assert error.value.cure == "there are de, en"


@pytest.mark.transformers_4
@pytest.mark.parametrize(
    "kind", ["NllbTokenizerFast", "MBartTokenizerFast", "MBart50TokenizerFast"]
)
def test_hfs_own_classes_mark_texts_alike(kind: str, tmp_path: Path) -> None:
    unigram().save(str(tmp_path / "tokenizer.json"))
    make = getattr(transformers, kind)
    codes = ["eng_Latn", "deu_Latn"] if kind == "NllbTokenizerFast" else ["en_XX", "de_DE"]
    english, german = (
        make(tokenizer_file=str(tmp_path / "tokenizer.json"), src_lang=code) for code in codes
    )
    languages = Languages.of(HfTokenizer(english))
    assert languages is not None
    assert languages.id_of(codes[1]) == german.convert_tokens_to_ids(codes[1])
    for text in TEXTS:
        assert languages.marked(english(text).input_ids, codes[1]) == german(text).input_ids


def test_languages_on_the_command_line(nllb: Path, generator: Generator) -> None:
    asked = ["generate", "-m", str(nllb / "package"), "--num-beams", "3", "--max-new-tokens", "6"]
    prompts = [part for text in TEXTS[:2] for part in ("-p", text)]
    given = ["--src-lang", "fra_Latn", "--tgt-lang", "deu_Latn", "--target-language", "fra_Latn"]
    told = CliRunner().invoke(
        main, [*asked, *prompts, *given, "--batch-size", "1", "--json"], catch_exceptions=False
    )
    assert told.exit_code == 0, told.output
    expected = generator.generate(
        TEXTS[:2],
        src_lang="fra_Latn",
        tgt_lang=["deu_Latn", "fra_Latn"],
        num_beams=3,
        max_new_tokens=6,
    )
    for line, row in zip(told.stdout.splitlines(), expected, strict=True):
        (best,) = json.loads(line)["hypotheses"]
        assert best["token_ids"] == row[0].token_ids
    wrong = CliRunner().invoke(main, [*asked, "-p", "a", "--tgt-lang", "xx"])
    assert wrong.exit_code == 1
    assert "'xx' is none of the 3 languages" in wrong.output
    uneven = [*asked, *prompts, "-p", "a", "--tgt-lang", "deu_Latn", "--tgt-lang", "fra_Latn"]
    assert "was given 2 times for 3 prompts" in CliRunner().invoke(main, uneven).output
    begun = [*asked, "-p", TEXTS[0], "--decoder-start-token-id", "7", "--json"]
    (line,) = CliRunner().invoke(main, begun).stdout.splitlines()
    assert json.loads(line)["hypotheses"][0]["prompt_ids"] == [7]
    set_so = CliRunner().invoke(main, [*asked, "-p", "a", "--set", "decoder_start_token_id=7"])
    assert "--decoder-start-token-id ID" in set_so.output


def test_numbers_of_numpy_are_token_ids(generator: Generator) -> None:
    rows = generator.generate(TEXTS[:2], decoder_start_token_id=np.array([7, 9]), max_new_tokens=3)
    assert [row[0].prompt_ids for row in rows] == [[7], [9]]
