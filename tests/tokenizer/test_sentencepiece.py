"""Tokenizers of encoder-decoders, as their authors publish them and as HF saves them."""

from __future__ import annotations

import json
import random
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from support.odd_texts import odd_texts
from support.spm_tokenizers import PUBLISHED, publish
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from beamgen.errors import BeamgenError, MissingExtraError
from beamgen.tokenizer import classes
from beamgen.tokenizer.convert import convert_tokenizer
from beamgen.tokenizer.hf import HfTokenizer
from beamgen.tokenizer.load import load_tokenizer
from beamgen.tokenizer.tokenizer import Tokenizer

#: Of texts with `make slow`; `make test` takes a few of them.
COUNT = 3000
FEW = COUNT // 75

#: Which of them version 5 decodes otherwise, or gives no languages.
_OF_4 = ("two models", "one model", "nllb")

NAMES = [
    pytest.param(name, marks=pytest.mark.transformers_4) if name.startswith(_OF_4) else name
    for name in PUBLISHED
]


def _package(source: Path, folder: Path) -> tuple[Tokenizer, PreTrainedTokenizerBase]:
    """What a package's is that was made of a checkpoint, and HF's of the checkpoint."""
    shutil.copytree(source, folder)
    convert_tokenizer(folder)
    own = load_tokenizer(folder)
    assert own is not None
    assert not isinstance(own, HfTokenizer), "transformers read it"
    return own, AutoTokenizer.from_pretrained(source)


def _texts(hf: PreTrainedTokenizerBase, count: int, seed: int) -> list[str]:
    special = sorted(token.content for token in hf.added_tokens_decoder.values())
    codes = [">>fra<<", ">>deu_Latn<<", ">>x<<", ">>", "<<"]
    return ["", " ", *odd_texts(count, seed, [*special[::12], *special[-3:], *codes])]


def _targets(hf: PreTrainedTokenizerBase, texts: list[str], *, around: bool) -> list[list[int]]:
    if getattr(hf, "tgt_lang", "") is None and hf.src_lang:
        hf.tgt_lang = hf.src_lang  # version 5 takes this one, 4.57 fails
    found = hf(text_target=texts, add_special_tokens=around, verbose=False)
    ids: list[list[int]] = found["input_ids"]
    return ids


def _check(own: Tokenizer, hf: PreTrainedTokenizerBase, count: int, seed: int) -> None:
    """Ids of sources and targets, texts of ids and of any ids at all."""
    texts = _texts(hf, count, seed)
    around = hf(texts, verbose=False)["input_ids"]
    bare = hf(texts, add_special_tokens=False, verbose=False)["input_ids"]
    for text, ids, alone in zip(texts, around, bare, strict=True):
        assert own.encode(text) == ids, text
        assert own.encode(text, add_special_tokens=False) == alone, text
    for add in (True, False):
        for text, ids in zip(texts, _targets(hf, texts, around=add), strict=True):
            assert own.encode_target(text, add_special_tokens=add) == ids, text
    drawn = random.Random(seed)
    anything = [
        [drawn.randrange(len(hf)) for _ in range(drawn.randrange(12))] for _ in range(count)
    ]
    for skip in (True, False):
        for ids in [*around, *anything]:
            expected = hf.decode(ids, skip_special_tokens=skip)
            assert own.decode(ids, skip_special_tokens=skip) == expected, ids


def _check_names(own: Tokenizer, hf: PreTrainedTokenizerBase) -> None:
    assert len(own) == len(hf)
    assert own.special_tokens == HfTokenizer(hf).special_tokens
    assert own.eos_token_id == hf.eos_token_id
    assert dict(own.special_tokens_map) == hf.special_tokens_map
    spelled = [own.convert_ids_to_tokens(i) for i in range(len(hf))]
    assert spelled == hf.convert_ids_to_tokens(range(len(hf)))


@pytest.mark.parametrize("name", NAMES)
def test_a_packages_tokenizer_is_hfs(name: str, tmp_path: Path) -> None:
    """Of files that are no ``tokenizer.json``, and of those that HF then saves."""
    published = publish(name, tmp_path / "published")
    own, hf = _package(published, tmp_path / "package")
    _check_names(own, hf)
    _check(own, hf, FEW, seed=11)
    hf = AutoTokenizer.from_pretrained(published)
    hf.save_pretrained(tmp_path / "saved")
    own, hf = _package(tmp_path / "saved", tmp_path / "package of it")
    _check(own, hf, FEW // 2, seed=12)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_a_packages_tokenizer_is_hfs_on_many_texts(name: str, tmp_path: Path) -> None:
    own, hf = _package(publish(name, tmp_path / "published"), tmp_path / "package")
    _check(own, hf, COUNT, seed=13)


@pytest.mark.parametrize(
    ("name", "model_type"),
    [
        ("t5", "t5"),
        pytest.param("two models", "marian", marks=pytest.mark.transformers_4),
        pytest.param("one model", "m2m_100", marks=pytest.mark.transformers_4),
    ],
)
def test_a_config_need_not_name_the_class(name: str, model_type: str, tmp_path: Path) -> None:
    """Many that are published do not: the model's type does."""
    folder = publish(name, tmp_path / "published")
    config = json.loads((folder / "tokenizer_config.json").read_text())
    del config["tokenizer_class"]
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    (folder / "config.json").write_text(json.dumps({"model_type": model_type}))
    own, hf = _package(folder, tmp_path / "package")
    _check(own, hf, FEW, seed=15)


TOLD = {"one model": 100, "one model, fewer codes": 8, "mbart": 25, "mbart50": 52, "nllb": 202}


@pytest.mark.transformers_4
@pytest.mark.parametrize("name", [*TOLD, "nllb, as it was", "mbart, from french"])
def test_a_source_has_the_language_that_it_is_said_to_have(name: str, tmp_path: Path) -> None:
    own, hf = _package(publish(name, tmp_path / "published"), tmp_path / "package")
    assert len(own.languages.ids) == TOLD.get(name, len(own.languages.ids))
    assert own.languages.src_lang == hf.src_lang
    texts = _texts(hf, 8, seed=14)
    for code in random.Random(0).sample(sorted(own.languages.ids), 6):
        hf.src_lang = code
        assert [own.encode(text, src_lang=code) for text in texts] == hf(texts)["input_ids"]
        bare = hf(texts, add_special_tokens=False)["input_ids"]
        assert [own.encode(t, src_lang=code, add_special_tokens=False) for t in texts] == bare
        spelled = own.convert_ids_to_tokens(own.languages.id_of(code))
        assert spelled in (code, f"__{code}__")


@pytest.mark.parametrize(
    ("name", "code", "cause", "cure"),
    [
        ("mbart", "en_US", "knows no language 'en_US'", "did you mean en_XX"),
        ("mbart", "Klingon", "knows no language 'Klingon'", "it knows 25: ar_AR, cs_CZ"),
        ("bart", "en", "is told of no languages, 'en' was given", "leave src_lang and tgt_lang"),
        ("two models", "fr", "is told of no languages", "begin the text with >>fra<< or >>deu_"),
    ],
)
def test_a_language_that_there_is_not_is_refused(
    name: str, code: str, cause: str, cure: str, tmp_path: Path
) -> None:
    own, _ = _package(publish(name, tmp_path / "published"), tmp_path / "package")
    for add in (True, False):
        with pytest.raises(BeamgenError) as refused:
            own.encode("text", src_lang=code, add_special_tokens=add)
        assert cause in refused.value.cause
        assert cure in refused.value.cure


def _files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def test_nothing_is_written_that_reads_otherwise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A class that is read wrongly stays with transformers."""
    folder = publish("mbart", tmp_path / "published")
    before = _files(folder)
    known = classes.KNOWN["MBartTokenizer"]
    assert known.languages is not None
    wrong = replace(known.languages, before=lambda values: True)
    monkeypatch.setitem(classes.KNOWN, "MBartTokenizer", replace(known, languages=wrong))
    assert not convert_tokenizer(folder)
    assert _files(folder) == before
    assert isinstance(load_tokenizer(folder), HfTokenizer)
    monkeypatch.undo()
    assert convert_tokenizer(folder)
    assert not convert_tokenizer(folder), "it is done"
    assert before.items() - {("tokenizer_config.json", before["tokenizer_config.json"])} <= (
        _files(folder).items()
    )


def test_the_library_that_is_missing_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "sentencepiece", None)
    with pytest.raises(MissingExtraError) as refused:
        load_tokenizer(publish("two models", tmp_path / "published"))
    assert refused.value.cure == "pip install 'beamgen[sentencepiece]'"


@pytest.mark.parametrize(
    ("file", "content", "cause"),
    [
        ("vocab.json", b"{}", "vocab.json has no token '<unk>' for what is unknown"),
        ("vocab.json", b"[", "cannot load the tokenizer"),
        ("source.spm", b"nothing", "cannot load the tokenizer"),
        ("target.spm", None, "cannot load the tokenizer"),
    ],
)
def test_damaged_files_are_told(
    file: str, content: bytes | None, cause: str, tmp_path: Path
) -> None:
    folder = publish("two models", tmp_path / "published")
    if content is None:
        (folder / file).unlink()
    else:
        (folder / file).write_bytes(content)
    assert not convert_tokenizer(folder)
    with pytest.raises(BeamgenError) as refused:
        load_tokenizer(folder)
    assert cause in refused.value.cause
    assert len(refused.value.cause.splitlines()) == 1
