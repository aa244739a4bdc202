"""Translators: source and target tokenizers, and languages by their codes."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

from beamgen import BeamgenError, Generator, Package
from beamgen.cli import main

TEXTS = ["the beam search is exact", "a decoder"]
ASKED = {"num_beams": 3, "max_new_tokens": 7}

#: What a base install with the extra sentencepiece lacks.
ABSENT = ["accelerate", "onnxscript", "optimum", "peft", "sacremoses", "torch", "transformers"]


def _hf(folder: Path, texts: list[str], src_lang: str | None = None, **settings) -> list[list[int]]:
    tokenizer = AutoTokenizer.from_pretrained(folder)
    if src_lang is not None:
        tokenizer.src_lang = src_lang
    model = AutoModelForSeq2SeqLM.from_pretrained(folder).eval()
    batch = tokenizer(texts, padding=True, return_tensors="pt")
    with torch.no_grad():
        found: list[list[int]] = model.generate(**batch, **ASKED, **settings).tolist()
    return found


def _same(generator: Generator, ours: list, theirs: list[list[int]], folder: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(folder)
    for (best,), sequence in zip(ours, theirs, strict=True):
        ids = [*best.prompt_ids, *best.token_ids]
        assert sequence[: len(ids)] == ids
        assert best.text == tokenizer.decode(sequence, skip_special_tokens=True)


def test_languages_are_named_by_their_codes(
    text_packages: Callable[[str], Package], text_checkpoints: Callable[[str], Path]
) -> None:
    folder = text_checkpoints("mbart_seq2seq")
    generator = Generator(text_packages("mbart_seq2seq"))
    codes = AutoTokenizer.from_pretrained(folder).lang_code_to_id
    for src_lang, tgt_lang in ((None, "de_DE"), ("ja_XX", "de_DE"), ("ja_XX", "ro_RO")):
        theirs = _hf(folder, TEXTS, src_lang, forced_bos_token_id=codes[tgt_lang])
        ours = generator.generate(TEXTS, src_lang=src_lang, tgt_lang=tgt_lang, **ASKED)
        _same(generator, ours, theirs, folder)
        assert all(best.token_ids[0] == codes[tgt_lang] for (best,) in ours)
    start, word = 2, AutoTokenizer.from_pretrained(folder)("a", add_special_tokens=False).input_ids
    begun = torch.tensor([[start, codes["ro_RO"], *word]] * 2)  # HF forces no token behind a prompt
    theirs = _hf(folder, TEXTS, decoder_input_ids=begun)
    for prompt in ("a", [start, codes["ro_RO"], *word]):
        ours = generator.generate(TEXTS, tgt_lang="ro_RO", decoder_prompt=prompt, **ASKED)
        _same(generator, ours, theirs, folder)
    told = CliRunner().invoke(
        main,
        ["generate", "-m", str(generator.package.folder), "-p", TEXTS[0], "--json",
         "--src-lang", "ja_XX", "--tgt-lang", "ro_RO", "--num-beams", "3",
         "--max-new-tokens", "7"],
    )  # fmt: skip
    assert told.exit_code == 0, told.output
    (best,) = json.loads(told.stdout)["hypotheses"]
    (theirs_alone,) = _hf(folder, TEXTS[:1], "ja_XX", forced_bos_token_id=codes["ro_RO"])
    assert [*best["prompt_ids"], *best["token_ids"]] == theirs_alone[: 1 + len(best["token_ids"])]


def test_source_and_target_have_a_model_each(
    text_packages: Callable[[str], Package], text_checkpoints: Callable[[str], Path]
) -> None:
    folder = text_checkpoints("marian")
    generator = Generator(text_packages("marian"))
    tokenizer = AutoTokenizer.from_pretrained(folder)
    texts = [f">>fra<< {TEXTS[0]}", TEXTS[1]]
    target = tokenizer(text_target="hcraes", add_special_tokens=False).input_ids
    assert target != tokenizer("hcraes", add_special_tokens=False).input_ids
    start = tokenizer.pad_token_id
    theirs = _hf(folder, texts, decoder_input_ids=torch.tensor([[start, *target]] * 2))
    ours = generator.generate(texts, decoder_prompt="hcraes", **ASKED)
    _same(generator, ours, theirs, folder)


def test_a_translator_runs_without_transformers(
    text_packages: Callable[[str], Package], text_checkpoints: Callable[[str], Path]
) -> None:
    package = text_packages("marian")
    assert not (package.folder / "tokenizer.json").is_file()
    code = (
        f"import sys; sys.modules |= dict.fromkeys({ABSENT})\n"
        "import beamgen\n"
        f"(best,), = beamgen.Generator({str(package.folder)!r}).generate("
        f"{TEXTS[:1]!r}, **{ASKED!r})\n"
        "print(best.prompt_ids + best.token_ids)"
    )
    done = subprocess.run([sys.executable, "-c", code], text=True, capture_output=True)
    assert done.returncode == 0, done.stderr
    ids = json.loads(done.stdout)
    (theirs,) = _hf(text_checkpoints("marian"), TEXTS[:1])
    assert theirs[: len(ids)] == ids


@pytest.mark.parametrize(
    ("name", "prompts", "given", "cause"),
    [
        ("mbart_seq2seq", "text", {"src_lang": "de"}, "knows no language 'de'"),
        ("mbart_seq2seq", "text", {"tgt_lang": "de_XX"}, "knows no language 'de_XX'"),
        ("mbart_seq2seq", [[5, 6]], {"src_lang": "de_DE"}, "no prompt is a plain text"),
        (
            "mbart_seq2seq",
            "text",
            {"tgt_lang": "de_DE", "forced_bos_token_id": 5},
            "tgt_lang and forced_bos_token_id were given",
        ),
        ("marian", "text", {"tgt_lang": "fr"}, "is told of no languages"),
        ("t5", "text", {"src_lang": "en"}, "is told of no languages"),
    ],
)
def test_what_is_no_language_is_refused(
    name: str, prompts, given, cause: str, text_packages: Callable[[str], Package]
) -> None:
    with pytest.raises(BeamgenError) as refused:
        Generator(text_packages(name)).generate(prompts, **given)
    assert cause in refused.value.cause
    assert len(refused.value.cure.splitlines()) == 1
