"""The demo checkpoints' tokenizers, learned from their texts."""

from __future__ import annotations

import json
import string
from collections.abc import Iterable, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import sentencepiece as spm
from sacremoses import MosesTokenizer
from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers, trainers
from transformers import (
    BioGptTokenizer,
    GPT2TokenizerFast,
    LlamaTokenizer,
    LlamaTokenizerFast,
    MarianTokenizer,
    PreTrainedTokenizerBase,
    T5TokenizerFast,
    WhisperTokenizerFast,
)
from transformers.convert_slow_tokenizer import convert_slow_tokenizer

# As in Phi-3: the newline after each role marker and after each end of turn belongs to the marker.
PHI3_CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{{ '<|' + message['role'] + '|>\\n' + message['content'] + '<|end|>\\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>\\n' }}{% else %}{{ eos_token }}{% endif %}"
)


def learn_bpe(
    texts: Iterable[str],
    pre_tokenizer: pre_tokenizers.PreTokenizer,
    trainer: trainers.BpeTrainer,
) -> tuple[list[str], list[str]]:
    """Learns a byte-pair encoding.

    Args:
        texts: what to learn it from.
        pre_tokenizer: splits a text into the words that no merge crosses.
        trainer: sets the size and the alphabet.

    Returns:
        The pieces of its vocabulary by id, and its merges, first learned first, two symbols
        separated by a space each.
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizer
    tokenizer.train_from_iterator(texts, trainer)
    learned = json.loads(tokenizer.to_str())["model"]
    pieces = sorted(learned["vocab"], key=learned["vocab"].__getitem__)
    return pieces, [f"{left} {right}" for left, right in learned["merges"]]


def write_lines(path: Path, lines: Iterable[str]) -> None:
    """Writes a text file of the given lines."""
    path.write_text("".join(f"{line}\n" for line in lines), "utf-8")


def write_vocabulary(path: Path, pieces: Iterable[str]) -> None:
    """Writes a ``vocab.json`` that numbers the pieces in order."""
    vocabulary = {piece: index for index, piece in enumerate(pieces)}
    path.write_text(json.dumps(vocabulary, ensure_ascii=False), "utf-8")


def build_gpt2_tokenizer(texts: Sequence[str], folder: Path) -> PreTrainedTokenizerBase:
    """Builds a byte-level BPE whose last id is its only special token, and which cannot pad."""
    pieces, merges = learn_bpe(
        texts,
        pre_tokenizers.ByteLevel(add_prefix_space=False),
        trainers.BpeTrainer(
            vocab_size=1199,
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    write_vocabulary(folder / "vocab.json", [*pieces, "<|endoftext|>"])
    write_lines(folder / "merges.txt", ["#version: 0.2", *merges])
    return GPT2TokenizerFast(
        vocab_file=str(folder / "vocab.json"),
        merges_file=str(folder / "merges.txt"),
        model_max_length=128,
    )


def build_biogpt_tokenizer(texts: Sequence[str], folder: Path) -> PreTrainedTokenizerBase:
    """Builds a BPE over Moses tokens, with every printable ASCII character in its alphabet."""
    moses = MosesTokenizer(lang="en")
    pieces, merges = learn_bpe(
        (moses.tokenize(text, aggressive_dash_splits=True, return_str=True) for text in texts),
        pre_tokenizers.WhitespaceSplit(),
        trainers.BpeTrainer(vocab_size=1100, end_of_word_suffix="</w>", show_progress=False),
    )
    specials = ["<s>", "<pad>", "</s>", "<unk>"]
    characters = string.ascii_letters + string.digits + string.punctuation
    alphabet = [*characters, *(f"{character}</w>" for character in characters)]
    write_vocabulary(folder / "vocab.json", dict.fromkeys([*specials, *alphabet, *pieces]))
    write_lines(folder / "merges.txt", merges)
    return BioGptTokenizer(
        vocab_file=str(folder / "vocab.json"),
        merges_file=str(folder / "merges.txt"),
        model_max_length=128,
    )


def build_phi3_tokenizer(texts: Sequence[str], folder: Path) -> PreTrainedTokenizerBase:
    """Builds a SentencePiece BPE with byte fallback, as Llama's, and the markers of Phi-3."""
    model = BytesIO()
    spm.SentencePieceTrainer.train(
        sentence_iterator=iter(texts),
        model_writer=model,
        model_type="bpe",
        vocab_size=1275,
        byte_fallback=True,
        normalization_rule_name="identity",
        split_digits=True,
        num_threads=1,  # the result depends on it
        minloglevel=2,
    )
    (folder / "tokenizer.model").write_bytes(model.getvalue())
    vocab_file = str(folder / "tokenizer.model")
    markers = ("<|user|>", "<|assistant|>", "<|system|>", "<|end|>")
    return LlamaTokenizerFast(
        vocab_file=vocab_file,
        # Converted here, as the fast class would leave out the space before the first word.
        tokenizer_object=convert_slow_tokenizer(LlamaTokenizer(vocab_file, legacy=True)),
        eos_token="<|endoftext|>",
        pad_token="<|endoftext|>",
        additional_special_tokens=[AddedToken(m, rstrip=True, special=True) for m in markers],
        add_bos_token=False,
        legacy=True,
        chat_template=PHI3_CHAT_TEMPLATE,
        model_max_length=256,
    )


def learn_unigram(texts: Iterable[str], vocab_size: int, **options: Any) -> bytes:
    """Learns a SentencePiece model with all printable ASCII in its alphabet.

    It normalizes as SentencePiece does by default.
    """
    model = BytesIO()
    spm.SentencePieceTrainer.train(
        sentence_iterator=iter(texts),
        model_writer=model,
        model_type="unigram",
        vocab_size=vocab_size,
        character_coverage=1.0,
        num_threads=1,  # the result depends on it
        minloglevel=2,
        **options,
    )
    return model.getvalue()


def build_marian_tokenizer(
    sources: Sequence[str], targets: Sequence[str], folder: Path
) -> PreTrainedTokenizerBase:
    """Builds two SentencePiece models, English and German, that share a vocabulary."""
    ascii_characters = string.ascii_letters + string.digits + string.punctuation
    pieces: dict[str, None] = {}
    for name, texts, size, alphabet in (
        ("source", sources, 600, ascii_characters),
        ("target", targets, 900, f"{ascii_characters}ÄÖÜäöüß"),
    ):
        model = learn_unigram(texts, size, required_chars=alphabet)
        (folder / f"{name}.spm").write_bytes(model)
        learned = spm.SentencePieceProcessor(model_proto=model)
        own = (learned.id_to_piece(i) for i in range(len(learned)) if not learned.is_control(i))
        pieces.update(dict.fromkeys(piece for piece in own if piece != "<unk>"))
    write_vocabulary(folder / "vocab.json", ["</s>", "<unk>", *pieces, "<pad>"])
    return MarianTokenizer(
        source_spm=str(folder / "source.spm"),
        target_spm=str(folder / "target.spm"),
        vocab=str(folder / "vocab.json"),
        source_lang="en",
        target_lang="de",
        model_max_length=128,
    )


def build_t5_tokenizer(texts: Sequence[str], folder: Path) -> PreTrainedTokenizerBase:
    """Builds a SentencePiece model with T5's ids, and its hundred sentinels."""
    alphabet = string.ascii_letters + string.digits + string.punctuation + "ÄÖÜäöüß"
    model = learn_unigram(
        texts,
        1500,
        required_chars=alphabet,
        split_digits=True,
        pad_id=0,
        eos_id=1,
        unk_id=2,
        bos_id=-1,
        pad_piece="<pad>",
    )
    (folder / "spiece.model").write_bytes(model)
    return T5TokenizerFast(
        vocab_file=str(folder / "spiece.model"), model_max_length=128, legacy=True
    )


def build_whisper_tokenizer(
    texts: Sequence[str], folder: Path, seconds: int
) -> PreTrainedTokenizerBase:
    """Builds a byte-level BPE with Whisper's tokens for tasks and times, in Whisper's order."""
    pieces, merges = learn_bpe(
        texts,
        pre_tokenizers.ByteLevel(add_prefix_space=False),
        trainers.BpeTrainer(
            vocab_size=500,
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    folder.mkdir(parents=True, exist_ok=True)
    write_vocabulary(folder / "vocab.json", [*pieces, "<|endoftext|>"])
    write_lines(folder / "merges.txt", ["#version: 0.2", *merges])
    tasks = (
        "startoftranscript", "en", "de", "translate", "transcribe", "startoflm", "startofprev",
        "nospeech", "notimestamps",
    )  # fmt: skip
    tokenizer = WhisperTokenizerFast(
        vocab_file=str(folder / "vocab.json"),
        merges_file=str(folder / "merges.txt"),
        pad_token="<|endoftext|>",
        additional_special_tokens=["<|endoftext|>", *(f"<|{task}|>" for task in tasks)],
        model_max_length=64,
    )
    times = (f"<|{0.02 * i:.2f}|>" for i in range(50 * seconds + 1))
    tokenizer.add_tokens([AddedToken(time, special=False, normalized=False) for time in times])
    return tokenizer
