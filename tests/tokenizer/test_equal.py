"""Without transformers a tokenizer gives the ids, the texts and the chats that it gives."""

from __future__ import annotations

import json
import random
import shutil
from pathlib import Path

import pytest
import transformers
from support.architectures import ARCHITECTURES
from support.odd_texts import odd_texts
from support.saved_tokenizers import SAVED, save
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from beamgen import find_adapter
from beamgen.tokenizer.hf import HfTokenizer
from beamgen.tokenizer.load import load_tokenizer
from beamgen.tokenizer.tokenizer import Tokenizer

#: Of texts with `make slow`; `make test` takes a tenth of them.
COUNT = 3000
FEW = COUNT // 10

OF_VERSION_5 = transformers.__version__ >= "5"


def _saved(name: str, folder: Path) -> Path:
    """As the installed transformers saves it: version 5 writes other files, with other classes."""
    made = save(name, folder / "made")
    if not OF_VERSION_5:
        return made
    AutoTokenizer.from_pretrained(made).save_pretrained(folder / "saved")
    return folder / "saved"


def _both(folder: Path) -> tuple[Tokenizer, PreTrainedTokenizerBase]:
    own = load_tokenizer(folder)
    assert own is not None
    assert not isinstance(own, HfTokenizer), "transformers read it"
    return own, AutoTokenizer.from_pretrained(folder)


def _check(own: Tokenizer, hf: PreTrainedTokenizerBase, count: int, seed: int) -> None:
    """Ids of texts, texts of ids and of any ids at all, with special tokens and without."""
    special = sorted({token.content for token in hf.added_tokens_decoder.values()})
    texts = odd_texts(count, seed, special)
    rows = {True: hf(texts, verbose=False)["input_ids"]}
    rows[False] = hf(texts, add_special_tokens=False, verbose=False)["input_ids"]
    for add, expected in rows.items():
        for text, ids in zip(texts, expected, strict=True):
            assert own.encode(text, add_special_tokens=add) == ids, text
    drawn = random.Random(seed)
    anything = [
        [drawn.randrange(len(hf)) for _ in range(drawn.randrange(12))] for _ in range(count)
    ]
    for skip in (True, False):
        for ids in [*rows[True], *anything]:
            expected = hf.decode(ids, skip_special_tokens=skip)
            assert own.decode(ids, skip_special_tokens=skip) == expected, ids


def _check_names(own: Tokenizer, hf: PreTrainedTokenizerBase) -> None:
    assert len(own) == len(hf)
    named = dict(own.special_tokens_map)
    if OF_VERSION_5:
        named.pop("additional_special_tokens", None)  # in files of version 4, for its templates
    assert named == hf.special_tokens_map
    assert own.special_tokens == HfTokenizer(hf).special_tokens
    if not OF_VERSION_5:  # it takes a class of its own for some models
        assert own.name == type(hf).__name__.removesuffix("Fast")
    spelled = [own.convert_ids_to_tokens(i) for i in range(len(hf))]
    assert spelled == hf.convert_ids_to_tokens(range(len(hf)))


def _check_chats(own: Tokenizer, hf: PreTrainedTokenizerBase, count: int, seed: int) -> None:
    texts = iter(odd_texts(3 * count, seed, ["<|user|>", "</s>"]))
    for _ in range(count):
        chat = [{"role": role, "content": next(texts)} for role in ("system", "user", "assistant")]
        for ask in (True, False):
            expected = hf.apply_chat_template(
                chat, add_generation_prompt=ask, tokenize=True, return_dict=True
            )
            text = own.chat_text(chat, add_generation_prompt=ask)
            assert own.encode(text, add_special_tokens=False) == expected["input_ids"]


def _check_demo(name: str, count: int) -> None:
    own, hf = _both(find_adapter(name).demo)
    _check_names(own, hf)
    _check(own, hf, count, seed=1)
    assert (own.chat_template is None) == (hf.chat_template is None)
    if hf.chat_template:
        _check_chats(own, hf, count, seed=2)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_the_demo_tokenizers(name: str) -> None:
    _check_demo(name, FEW)


@pytest.mark.slow
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_the_demo_tokenizers_on_many_texts(name: str) -> None:
    _check_demo(name, COUNT)


@pytest.mark.parametrize("name", SAVED)
def test_every_known_class_and_what_a_config_changes(name: str, tmp_path: Path) -> None:
    own, hf = _both(_saved(name, tmp_path))
    _check_names(own, hf)
    _check(own, hf, FEW, seed=3)
    _check_chats(own, hf, FEW // 10, seed=4)


@pytest.mark.slow
@pytest.mark.parametrize("name", SAVED)
def test_every_known_class_on_many_texts(name: str, tmp_path: Path) -> None:
    own, hf = _both(_saved(name, tmp_path))
    _check(own, hf, COUNT, seed=5)
    _check_chats(own, hf, COUNT, seed=6)


def test_what_version_5_writes_is_read_as_what_it_was_made_of(tmp_path: Path) -> None:
    """Its class is no name that 4.57 knows, and its extra tokens are a list."""
    demo = find_adapter("phi3").demo
    for name in ("tokenizer.json", "chat_template.jinja"):
        shutil.copyfile(demo / name, tmp_path / name)
    config = {
        "backend": "tokenizers",
        "bos_token": "<s>",
        "eos_token": "<|endoftext|>",
        "extra_special_tokens": ["<|user|>", "<|assistant|>", "<|system|>", "<|end|>"],
        "is_local": True,
        "legacy": True,
        "pad_token": "<|endoftext|>",
        "tokenizer_class": "TokenizersBackend",
        "unk_token": "<unk>",
    }
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    own, hf = load_tokenizer(tmp_path), AutoTokenizer.from_pretrained(demo)
    assert own is not None
    assert own.name == "TokenizersBackend"
    assert own.special_tokens == HfTokenizer(hf).special_tokens
    _check(own, hf, FEW, seed=7)
    _check_chats(own, hf, FEW // 10, seed=8)
