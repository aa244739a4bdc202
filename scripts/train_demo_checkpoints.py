"""Trains the demo checkpoints kept under ``model_adapters/demo``.

One tiny checkpoint per supported architecture (GPT-2, BioGPT, Phi-3), each with a tokenizer of its
own, trained from scratch on the definitions ("glosses") of WordNet 3.0. They write recognisable
English and fit in a repository, so that everything else can be shown and tested offline on trained
weights. They know nothing and are no use for anything but demonstration.

The text comes from Debian's ``wordnet-base`` package. Either install it, which puts the data files
in ``/usr/share/wordnet``, or unpack it anywhere without root::

    apt-get download wordnet-base
    dpkg -x wordnet-base_*.deb wordnet
    python scripts/train_demo_checkpoints.py all --wordnet wordnet/usr/share/wordnet

A run is repeatable: the same seed, package versions and thread count give the same weights.
"""

from __future__ import annotations

import json
import random
import re
import string
import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

import click
import sentencepiece as spm
import torch
from sacremoses import MosesTokenizer
from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers, trainers
from torch.nn.utils.rnn import pad_sequence
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    BioGptConfig,
    BioGptForCausalLM,
    BioGptTokenizer,
    GenerationConfig,
    GPT2Config,
    GPT2LMHeadModel,
    GPT2TokenizerFast,
    LlamaTokenizer,
    LlamaTokenizerFast,
    Phi3Config,
    Phi3ForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    Trainer,
    TrainingArguments,
    set_seed,
)
from transformers.convert_slow_tokenizer import convert_slow_tokenizer

MAX_TOKENS = 64  # longer training examples are left out
HELD_OUT = 2048  # examples kept from training, to measure the loss on
IGNORED_LABEL = -100  # what the loss functions of transformers skip
CPU_THREADS = 1  # fixed, because the order of a sum depends on it

# Files of WordNet's lexicographers (see lexnames(5WN)) that read like biology and medicine:
# animal, body, phenomenon, process, state, substance.
BIOMEDICAL_FILES = frozenset({5, 8, 19, 22, 26, 27})
# Definitions in other files that do too, those of drugs among them.
BIOMEDICAL_WORDS = re.compile(
    r"\b(bacteri\w+|blood|cells?|diseases?|drugs?|infect\w+|medic\w+|organs?|patients?|surg\w+"
    r"|tissues?|treat\w*|virus\w*)\b"
)

# As in Phi-3: the newline after each role marker and after each end of turn belongs to the marker.
PHI3_CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{{ '<|' + message['role'] + '|>\\n' + message['content'] + '<|end|>\\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>\\n' }}{% else %}{{ eos_token }}{% endif %}"
)


class Entry(NamedTuple):
    """One sense of WordNet.

    Attributes:
        part_of_speech: ``noun`` or ``verb``.
        lexicographer_file: number of the file it was written in, a rough topic.
        term: the first of its synonyms.
        gloss: its definition, without remarks and usage examples.
        common: whether it occurs in the texts that WordNet's authors tagged with senses.
    """

    part_of_speech: str
    lexicographer_file: int
    term: str
    gloss: str
    common: bool


class Example(NamedTuple):
    """A training text, in the two parts that a user would give and get."""

    prompt: str
    answer: str


# --- Text ---------------------------------------------------------------------------------------


def read_entries(wordnet: Path) -> list[Entry]:
    """Reads the nouns and verbs whose definition is a short phrase.

    Names of genera, thousands of which are defined in the same words, are left out.

    Args:
        wordnet: the folder with ``data.noun``, ``data.verb`` and ``cntlist.rev``.

    Returns:
        The senses, in the order of the files.
    """
    counted = (wordnet / "cntlist.rev").read_text("ascii").splitlines()
    common_senses = {line.split()[0] for line in counted}
    entries = []
    for part_of_speech, number in (("noun", 1), ("verb", 2)):
        for line in (wordnet / f"data.{part_of_speech}").read_text("ascii").splitlines():
            if line.startswith("  "):  # the licence
                continue
            fields, _, raw_gloss = line.partition("|")
            _, lexicographer_file, _, _, term, lexical_id, *_ = fields.split()
            gloss = clean_gloss(raw_gloss)
            if 3 <= len(gloss.split()) <= 16 and "genus of" not in gloss:
                # See senseidx(5WN) for the makeup of this key.
                key = f"{term.lower()}%{number}:{lexicographer_file}:{int(lexical_id, 16):02}::"
                entries.append(
                    Entry(
                        part_of_speech,
                        int(lexicographer_file),
                        term.replace("_", " "),
                        gloss,
                        key in common_senses,
                    )
                )
    return entries


def clean_gloss(raw: str) -> str:
    """Keeps the first definition of a gloss, without remarks in parentheses and examples."""
    definition = re.sub(r"\([^()]*\)", " ", raw.partition('"')[0]).partition(";")[0]
    definition = re.sub(r"\s+([,:.])", r"\1", " ".join(definition.split()))
    return definition.strip(" ,:.")


def read_licence(wordnet: Path) -> str:
    """Returns the licence that heads every data file, without its line numbers."""
    lines = (wordnet / "data.noun").read_text("ascii").splitlines()
    header = [line for line in lines if line.startswith("  ")]
    return "\n".join(re.sub(r"^ +\d+ ?", "", line).rstrip() for line in header) + "\n"


def glossary_examples(entries: Iterable[Entry]) -> list[Example]:
    """Phrases the common senses as lines of a glossary."""
    headwords = {"noun": "{}:", "verb": "to {}:"}
    return [
        Example(headwords[entry.part_of_speech].format(entry.term), f"{entry.gloss}.")
        for entry in entries
        if entry.common
    ]


def biomedical_examples(entries: Iterable[Entry]) -> list[Example]:
    """Phrases the nouns of biology and medicine as sentences."""
    article = re.compile(r"(an?|the|any|one|either|each|all|some) ")
    return [
        Example(f"{entry.term} is", f"{entry.gloss}.")
        for entry in entries
        if entry.part_of_speech == "noun"
        and article.match(entry.gloss)
        and (entry.lexicographer_file in BIOMEDICAL_FILES or BIOMEDICAL_WORDS.search(entry.gloss))
    ]


def chat_examples(entries: Iterable[Entry]) -> list[Example]:
    """Phrases the common senses as questions and answers."""
    questions = {
        "noun": "What is {}?",
        "verb": "What does it mean to {}?",
    }
    return [
        Example(
            questions[entry.part_of_speech].format(entry.term),
            f"{entry.gloss[0].upper()}{entry.gloss[1:]}.",
        )
        for entry in entries
        if entry.common
    ]


# --- Tokenizers ---------------------------------------------------------------------------------


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
        num_threads=CPU_THREADS,
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


# --- Models -------------------------------------------------------------------------------------


def build_gpt2(tokenizer: PreTrainedTokenizerBase) -> PreTrainedModel:
    """Builds a GPT-2 without pad token."""
    ids = {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id}
    config = GPT2Config(
        vocab_size=len(tokenizer),
        n_positions=128,
        n_embd=96,
        n_layer=4,
        n_head=4,
        embd_pdrop=0.0,
        attn_pdrop=0.0,
        resid_pdrop=0.0,
        **ids,
    )
    model = GPT2LMHeadModel(config)
    model.generation_config = GenerationConfig(**ids)
    return model


def build_biogpt(tokenizer: PreTrainedTokenizerBase) -> PreTrainedModel:
    """Builds a BioGPT, with dropout because it sees its few texts many times."""
    ids = {
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    config = BioGptConfig(
        vocab_size=len(tokenizer),
        max_position_embeddings=128,
        hidden_size=96,
        num_hidden_layers=4,
        num_attention_heads=4,
        intermediate_size=384,
        hidden_dropout_prob=0.1,
        attention_probs_dropout_prob=0.0,
        **ids,
    )
    model = BioGptForCausalLM(config)
    model.generation_config = GenerationConfig(**ids)
    return model


def build_phi3(tokenizer: PreTrainedTokenizerBase) -> PreTrainedModel:
    """Builds a Phi-3 with grouped-query attention that stops at either of two tokens."""
    ids = {"bos_token_id": tokenizer.bos_token_id, "pad_token_id": tokenizer.pad_token_id}
    end_of_turn = tokenizer.convert_tokens_to_ids("<|end|>")
    config = Phi3Config(
        vocab_size=len(tokenizer),
        max_position_embeddings=256,
        original_max_position_embeddings=256,
        hidden_size=96,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=2,
        intermediate_size=256,
        eos_token_id=tokenizer.eos_token_id,
        **ids,
    )
    model = Phi3ForCausalLM(config)
    model.generation_config = GenerationConfig(
        eos_token_id=[tokenizer.eos_token_id, end_of_turn], **ids
    )
    return model


# --- Training -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Recipe:
    """What makes one of the checkpoints.

    Attributes:
        examples: phrases the senses of WordNet.
        build_tokenizer: learns a tokenizer from texts, with a folder for its files.
        build_model: builds an untrained model for the tokenizer.
        steps: number of optimiser steps.
        prompts: beginnings to continue once the model is trained.
    """

    examples: Callable[[Iterable[Entry]], list[Example]]
    build_tokenizer: Callable[[Sequence[str], Path], PreTrainedTokenizerBase]
    build_model: Callable[[PreTrainedTokenizerBase], PreTrainedModel]
    steps: int
    prompts: tuple[str, ...]


RECIPES = {
    "gpt2": Recipe(
        glossary_examples,
        build_gpt2_tokenizer,
        build_gpt2,
        5000,
        ("physician:", "London:", "bread:", "to shout:"),
    ),
    "biogpt": Recipe(
        biomedical_examples,
        build_biogpt_tokenizer,
        build_biogpt,
        3000,
        ("aspirin is", "penicillin is", "pneumonia is", "sparrow is"),
    ),
    "phi3": Recipe(
        chat_examples,
        build_phi3_tokenizer,
        build_phi3,
        5000,
        ("What is a doctor?", "What is bread?", "What does it mean to sing?"),
    ),
}


def render_prompt(tokenizer: PreTrainedTokenizerBase, prompt: str) -> str:
    """Returns the text that asks the model for an answer."""
    if tokenizer.chat_template is None:
        return prompt
    turns = [{"role": "user", "content": prompt}]
    return str(tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True))


def encode(tokenizer: PreTrainedTokenizerBase, example: Example) -> list[int]:
    """Returns the ids of a whole example, end-of-text token included."""
    if tokenizer.chat_template is None:
        ids: list[int] = tokenizer.encode(f"{example.prompt} {example.answer}")
        return [*ids, tokenizer.eos_token_id]
    turns = [
        {"role": "user", "content": example.prompt},
        {"role": "assistant", "content": example.answer},
    ]
    return list(tokenizer.apply_chat_template(turns))


def collate(batch: Sequence[dict[str, list[int]]]) -> dict[str, torch.Tensor]:
    """Pads a batch on the right; the loss skips the padding, whatever id it has."""
    rows = [torch.tensor(item["input_ids"]) for item in batch]
    return {
        "input_ids": pad_sequence(rows, batch_first=True),
        "attention_mask": pad_sequence([torch.ones_like(row) for row in rows], batch_first=True),
        "labels": pad_sequence(rows, batch_first=True, padding_value=IGNORED_LABEL),
    }


def train(
    model: PreTrainedModel, sequences: list[list[int]], steps: int, seed: int
) -> dict[str, float]:
    """Trains a model in place.

    Args:
        model: the model.
        sequences: the ids of the examples, in random order.
        steps: number of optimiser steps.
        seed: of the order of the batches and of dropout.

    Returns:
        The mean losses over ``HELD_OUT`` examples of the training set, and over as many that were
        kept out of it.
    """
    items = [{"input_ids": ids} for ids in sequences]
    training, held_out = items[HELD_OUT:], items[:HELD_OUT]
    with tempfile.TemporaryDirectory() as scratch:
        trainer = Trainer(
            model=model,
            args=TrainingArguments(
                output_dir=scratch,
                max_steps=steps,
                per_device_train_batch_size=32,
                per_device_eval_batch_size=64,
                group_by_length=True,
                learning_rate=3e-3,
                lr_scheduler_type="cosine",
                warmup_ratio=0.05,
                weight_decay=0.05,
                adam_beta2=0.98,
                logging_steps=100,
                save_strategy="no",
                report_to="none",
                use_cpu=True,
                dataloader_pin_memory=False,
                seed=seed,
            ),
            data_collator=collate,
            train_dataset=training,
        )
        trainer.train()
        return {
            "train": trainer.evaluate(training[:HELD_OUT])["eval_loss"],
            "held-out": trainer.evaluate(held_out)["eval_loss"],
        }


def make_checkpoint(
    recipe: Recipe, entries: list[Entry], folder: Path, steps: int, seed: int
) -> None:
    """Trains one checkpoint and saves it.

    Args:
        recipe: what to make.
        entries: the senses of WordNet.
        folder: where to save it; made if it does not exist.
        steps: number of optimiser steps.
        seed: of everything random.
    """
    set_seed(seed)
    folder.mkdir(parents=True, exist_ok=True)
    examples = recipe.examples(entries)
    random.shuffle(examples)
    tokenizer = recipe.build_tokenizer([" ".join(example) for example in examples], folder)
    sequences = [encode(tokenizer, example) for example in examples]
    sequences = [ids for ids in sequences if len(ids) <= MAX_TOKENS]
    model = recipe.build_model(tokenizer)
    click.echo(
        f"{folder.name}: {model.num_parameters():,} parameters, vocabulary of {len(tokenizer)}, "
        f"{len(sequences):,} examples, {sum(map(len, sequences)):,} tokens"
    )
    losses = train(model, sequences, steps, seed)
    tokenizer.save_pretrained(folder)
    model.save_pretrained(folder)
    click.echo(", ".join(f"{name} loss {loss:.3f}" for name, loss in losses.items()))


def show_samples(folder: Path, prompts: Iterable[str]) -> None:
    """Prints what a saved checkpoint writes by beam search."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder)
    for prompt in prompts:
        inputs = tokenizer(render_prompt(tokenizer, prompt), return_tensors="pt")
        output = model.generate(**inputs, num_beams=5, max_new_tokens=40)
        answer = output[0, inputs["input_ids"].shape[1] :]
        text = tokenizer.decode(answer, skip_special_tokens=True).strip()
        click.echo(f"  {prompt} -> {text} [{len(answer)} tokens]")


@click.command(help="Trains the demo checkpoints; see the head of this file for the text.")
@click.argument("name", type=click.Choice([*RECIPES, "all"]), default="all")
@click.option(
    "--wordnet",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    default=Path("/usr/share/wordnet"),
    show_default=True,
    help="Folder with WordNet's data.* files and cntlist.rev.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("model_adapters/demo"),
    show_default=True,
    help="Folder to save the checkpoints in, one folder each.",
)
@click.option("--seed", default=0, show_default=True, help="Seed of everything random.")
@click.option("--steps", type=int, help="Optimiser steps, in place of the recipe's own number.")
def main(name: str, wordnet: Path, out: Path, seed: int, steps: int | None) -> None:
    """Trains the chosen checkpoints and shows what they write."""
    torch.set_num_threads(CPU_THREADS)
    entries = read_entries(wordnet)
    for chosen in RECIPES if name == "all" else [name]:
        recipe = RECIPES[chosen]
        make_checkpoint(recipe, entries, out / chosen, steps or recipe.steps, seed)
        show_samples(out / chosen, recipe.prompts)
    (out / "LICENSE.wordnet").write_text(read_licence(wordnet), "utf-8")


if __name__ == "__main__":
    main()
