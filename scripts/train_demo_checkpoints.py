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

import random
import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import click
import torch
from demo_models import build_biogpt, build_gpt2, build_phi3
from demo_text import (
    Entry,
    Example,
    biomedical_examples,
    chat_examples,
    glossary_examples,
    read_entries,
    read_licence,
)
from demo_tokenizers import build_biogpt_tokenizer, build_gpt2_tokenizer, build_phi3_tokenizer
from torch.nn.utils.rnn import pad_sequence
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    Trainer,
    TrainingArguments,
    set_seed,
)

MAX_TOKENS = 64  # longer training examples are left out
HELD_OUT = 2048  # examples kept from training, to measure the loss on
IGNORED_LABEL = -100  # what the loss functions of transformers skip
CPU_THREADS = 1  # fixed, because the order of a sum depends on it


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


wordnet_option = click.option(
    "--wordnet",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    default=Path("/usr/share/wordnet"),
    show_default=True,
    help="Folder with WordNet's data.* files and cntlist.rev.",
)


@click.command(help="Trains the demo checkpoints; see the head of this file for the text.")
@click.argument("name", type=click.Choice([*RECIPES, "all"]), default="all")
@wordnet_option
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
