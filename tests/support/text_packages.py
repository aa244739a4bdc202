"""Tiny encoder-decoders that read text, each with the tokenizer that its kind has."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
from transformers import AutoTokenizer

from beamgen import Package, export, find_adapter, open_package
from beamgen.testing import tiny_model
from support.spm_tokenizers import publish

#: adapter -> the tokenizer that such a checkpoint is published with.
TOKENIZERS = {"t5": "t5", "marian": "two models", "mbart_seq2seq": "mbart"}


@pytest.fixture(scope="session")
def text_checkpoints(once: Callable[..., Path]) -> Callable[[str], Path]:
    """``text_checkpoints("t5")``: a tiny random checkpoint with a tokenizer; read-only."""

    @cache
    def make(name: str) -> Path:
        def write(folder: Path) -> None:
            publish(TOKENIZERS[name], folder)
            tokenizer = AutoTokenizer.from_pretrained(folder)
            config = find_adapter(name).tiny_config()
            config.vocab_size = len(tokenizer)
            config.eos_token_id, config.pad_token_id = (
                tokenizer.eos_token_id,
                tokenizer.pad_token_id,
            )
            if name == "marian":  # whose decoder begins with its last token
                config.decoder_vocab_size = len(tokenizer)
                config.decoder_start_token_id = tokenizer.pad_token_id
            tiny_model(config).save_pretrained(folder)

        return once(f"text_checkpoints/{name}", write)

    return make


@pytest.fixture(scope="session")
def text_packages(
    once: Callable[..., Path], text_checkpoints: Callable[[str], Path]
) -> Callable[[str], Package]:
    """``text_packages("t5")``: the package of that checkpoint; read-only."""

    @cache
    def make(name: str) -> Package:
        source = text_checkpoints(name)
        return open_package(
            once(f"text_packages/{name}", lambda folder: export(source, folder, parity=False))
        )

    return make
