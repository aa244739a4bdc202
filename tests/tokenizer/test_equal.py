"""Without transformers a tokenizer gives the ids, the texts and the chats that it gives."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from support.architectures import ARCHITECTURES
from support.odd_texts import odd_texts
from support.saved_tokenizers import SAVED, save
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from beamgen import find_adapter
from beamgen.tokenizer.hf import HfTokenizer
from beamgen.tokenizer.load import load_tokenizer
from beamgen.tokenizer.tokenizer import Tokenizer

COUNT = 3000


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
    assert own.special_tokens_map == hf.special_tokens_map
    assert own.special_tokens == HfTokenizer(hf).special_tokens
    assert own.name == type(hf).__name__
    assert own.clean_up_tokenization_spaces == hf.clean_up_tokenization_spaces
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


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_the_demo_tokenizers(name: str) -> None:
    own, hf = _both(find_adapter(name).demo)
    _check_names(own, hf)
    _check(own, hf, COUNT, seed=1)
    assert (own.chat_template is None) == (hf.chat_template is None)
    if hf.chat_template:
        _check_chats(own, hf, COUNT, seed=2)


@pytest.mark.parametrize("name", SAVED)
def test_every_known_class_and_what_a_config_changes(name: str, tmp_path: Path) -> None:
    own, hf = _both(save(name, tmp_path))
    _check_names(own, hf)
    _check(own, hf, COUNT // 10, seed=3)
    _check_chats(own, hf, 30, seed=4)


@pytest.mark.slow
@pytest.mark.parametrize("name", SAVED)
def test_every_known_class_on_many_texts(name: str, tmp_path: Path) -> None:
    own, hf = _both(save(name, tmp_path))
    _check(own, hf, COUNT, seed=5)
    _check_chats(own, hf, COUNT, seed=6)
