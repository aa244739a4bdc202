"""Of one batch each text has its own languages, first token and start."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

from beamgen import BeamgenError, Generator, Package, export
from beamgen.cli import main

TEXTS = ["the beam search is exact", "a decoder", "the"]
SEARCH = {"num_beams": 3, "num_return_sequences": 2, "max_new_tokens": 6}
FROM, INTO = ["ja_XX", "en_XX", "de_DE"], ["de_DE", "ro_RO", "ja_XX"]


@pytest.fixture(scope="module")
def folder(text_checkpoints: Callable[[str], Path]) -> Path:
    return text_checkpoints("mbart_seq2seq")


@pytest.fixture(scope="module")
def generator(text_packages: Callable[[str], Package]) -> Generator:
    return Generator(text_packages("mbart_seq2seq"))


@pytest.fixture(scope="module")
def codes(folder: Path) -> dict[str, int]:
    found: dict[str, int] = AutoTokenizer.from_pretrained(folder).lang_code_to_id
    return found


def _hf(folder: Path, texts: list[str], src_lang: str = "en_XX", **settings) -> list[list[int]]:
    """What HF generates of texts in one language."""
    tokenizer = AutoTokenizer.from_pretrained(folder, src_lang=src_lang)
    model = AutoModelForSeq2SeqLM.from_pretrained(folder).eval()
    batch = tokenizer(texts, padding=True, return_tensors="pt")
    with torch.no_grad():
        found: list[list[int]] = model.generate(**batch, **SEARCH, **settings).tolist()
    return found


def _same(ours: list, theirs: list[list[int]]) -> None:
    assert len(ours) == len(theirs) == 2
    for found, padded in zip(ours, theirs, strict=True):
        tokens = [*found.prompt_ids, *found.token_ids]
        assert padded[: len(tokens)] == tokens


def test_each_text_goes_from_its_language_into_its_language(
    generator: Generator, folder: Path, codes: dict[str, int]
) -> None:
    found = generator.generate(TEXTS, src_lang=FROM, tgt_lang=INTO, **SEARCH)
    assert [row[0].token_ids[0] for row in found] == [codes[code] for code in INTO]
    for row, text, source, target in zip(found, TEXTS, FROM, INTO, strict=True):
        _same(row, _hf(folder, [text], source, forced_bos_token_id=codes[target]))


def test_first_tokens_of_each_row_may_be_forced_by_their_ids(
    generator: Generator, codes: dict[str, int]
) -> None:
    ids = [codes[code] for code in INTO]
    forced = generator.generate(TEXTS, forced_bos_token_id=ids, **SEARCH)
    assert forced == generator.generate(TEXTS, tgt_lang=INTO, **SEARCH)
    one, none, _ = generator.generate(
        TEXTS, forced_bos_token_id=[ids[0], None, ids[2]], begin_suppress_tokens=[7, 8], **SEARCH
    )
    (alone,) = generator.generate(TEXTS[1], begin_suppress_tokens=[7, 8], **SEARCH)
    assert one[0].token_ids[0] == ids[0]
    assert [each.token_ids for each in none] == [each.token_ids for each in alone]


def test_a_language_goes_before_the_decoder_prompt_of_each_row(
    generator: Generator, folder: Path, codes: dict[str, int]
) -> None:
    prompts = [[2, 30], [2, 31], [2, 32]]
    found = generator.generate(TEXTS, tgt_lang=INTO, decoder_prompt=prompts, **SEARCH)
    for row, text, prompt, target in zip(found, TEXTS, prompts, INTO, strict=True):
        begun = [2, codes[target], prompt[1]]
        assert row[0].prompt_ids == begun
        _same(row, _hf(folder, [text], decoder_input_ids=torch.tensor([begun])))
    again = generator.generate(TEXTS, tgt_lang=INTO, decoder_prompt=[2, 30], **SEARCH)
    assert [row[0].prompt_ids for row in again] == [[2, codes[code], 30] for code in INTO]


def test_a_decoder_that_begins_with_a_language_begins_with_another(
    folder: Path, codes: dict[str, int], tmp_path: Path
) -> None:
    """As mBART's checkpoints for one pair of languages do."""
    start = {"decoder_start_token_id": codes["ro_RO"]}
    made = export(folder, tmp_path / "package", parity=False, settings=start)
    generator = Generator(made.package)
    for given, starts in (({}, ["ro_RO"] * 3), ({"tgt_lang": INTO}, INTO)):
        found = generator.generate(TEXTS, **given, **SEARCH)
        for row, text, code in zip(found, TEXTS, starts, strict=True):
            assert row[0].prompt_ids == [codes[code]]
            _same(row, _hf(folder, [text], decoder_start_token_id=codes[code]))
    (row,) = generator.generate(TEXTS[0], tgt_lang="de_DE", decoder_start_token_id=2, **SEARCH)
    assert [row[0].prompt_ids, row[0].token_ids[0]] == [[2], codes["de_DE"]]


@pytest.mark.parametrize("prompts", [None, [[8, 8], [9, 4], [5, 5]]])
def test_each_row_has_a_start_of_its_own(
    generator: Generator, folder: Path, prompts: list[list[int]] | None
) -> None:
    """HF takes a list, too; the second prompt begins with its own start, so that none gets one."""
    starts = [7, 9, 11]
    given = {} if prompts is None else {"decoder_input_ids": torch.tensor(prompts)}
    theirs = np.reshape(_hf(folder, TEXTS, decoder_start_token_id=starts, **given), (3, 2, -1))
    found = generator.generate(
        TEXTS, decoder_start_token_id=np.array(starts), decoder_prompt=prompts, **SEARCH
    )
    for row, expected in zip(found, theirs.tolist(), strict=True):
        _same(row, expected)


def test_requests_into_several_languages_share_a_batch(generator: Generator) -> None:
    requests = [
        generator.request(text, src_lang=source, tgt_lang=target, **SEARCH)
        for text, source, target in zip(TEXTS, FROM, INTO, strict=True)
    ]
    together = generator.answer(requests)
    expected = generator.generate(TEXTS, src_lang=FROM, tgt_lang=INTO, **SEARCH)
    for ours, theirs in zip(together, expected, strict=True):
        assert [each.token_ids for each in ours] == [each.token_ids for each in theirs]


@pytest.mark.parametrize(
    ("asked", "cause"),
    [
        ({"tgt_lang": ["de_DE", "xx"]}, "knows no language 'xx'"),
        ({"src_lang": ["de_DE", "xx"]}, "knows no language 'xx'"),
        ({"tgt_lang": ["de_DE"]}, "tgt_lang has 1 values for 2 sources"),
        ({"src_lang": ["de_DE"] * 3}, "src_lang has 3 values for 2 sources"),
        ({"decoder_start_token_id": [7]}, "decoder_start_token_id has 1 values for 2 sources"),
        ({"decoder_start_token_id": "de_DE"}, "has to be a token id"),
        ({"decoder_start_token_id": 10**6}, "outside the vocabulary"),
        ({"forced_bos_token_id": [7, 10**6]}, "outside the vocabulary"),
        ({"forced_bos_token_id": [7, 8, 9]}, "forced_bos_token_id"),
        ({"decoder_prompt": [[7, 8], [7]]}, "decoder prompts of 1 and of 2 tokens"),
    ],
    ids=str,
)
def test_what_no_row_can_have_is_refused(generator: Generator, asked, cause: str) -> None:
    with pytest.raises(BeamgenError) as error:
        generator.generate(TEXTS[:2], **SEARCH, **asked)
    assert cause in error.value.cause
    assert error.value.cure
    assert "\n" not in error.value.cause + error.value.cure


def test_a_decoder_alone_begins_with_its_prompt(generators: Callable[[str], Generator]) -> None:
    with pytest.raises(BeamgenError, match=r"decoder_start_token_id was given, and .* has no"):
        generators("gpt2").generate([[5, 9]], decoder_start_token_id=7)


def test_options_may_be_repeated_for_each_prompt(generator: Generator) -> None:
    asked = ["generate", "-m", str(generator.package.folder), "--max-new-tokens", "6", "--json"]
    prompts = [part for text in TEXTS for part in ("-p", text)]
    given = [part for code in INTO for part in ("--target-language", code)]
    told = CliRunner().invoke(
        main, [*asked, *prompts, "--src-lang", "ja_XX", *given, "--batch-size", "2"]
    )
    assert told.exit_code == 0, told.output
    expected = generator.generate(TEXTS, src_lang="ja_XX", tgt_lang=INTO, max_new_tokens=6)
    for line, (best,) in zip(told.stdout.splitlines(), expected, strict=True):
        assert json.loads(line)["hypotheses"][0]["token_ids"] == best.token_ids
    uneven = CliRunner().invoke(main, [*asked, *prompts, *given[:4]])
    assert "--tgt-lang was given 2 times for 3 prompts" in uneven.output
    begun = CliRunner().invoke(main, [*asked, *prompts[:2], "--decoder-start-token-id", "7"])
    assert json.loads(begun.stdout)["hypotheses"][0]["prompt_ids"] == [7]
    as_set = CliRunner().invoke(main, [*asked, *prompts[:2], "--set", "decoder_start_token_id=7"])
    assert "--decoder-start-token-id ID" in as_set.output
