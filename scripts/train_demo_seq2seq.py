"""Trains the encoder-decoders kept under ``model_adapters/demo``: a translator and a T5.

Both learn from text that is made here: sentences of ``demo_grammar.py``, tasks of
``demo_tasks.py``. The nouns of T5's task ``plural`` come from WordNet, as the texts of
``train_demo_checkpoints.py`` do, where its source is named::

    python scripts/train_demo_seq2seq.py marian
    python scripts/train_demo_seq2seq.py t5 --wordnet wordnet/usr/share/wordnet

A run is repeatable, in one piece or in several: ``--minutes`` stops it in between, and the same
command goes on from the file ``--state``, which is written every hundred steps, too.
"""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import click
import torch
from demo_grammar import one_target, phrases, sentences
from demo_models import build_marian, build_t5
from demo_tasks import TaskWriter, regular_plurals
from demo_text import Entry, read_entries
from demo_tokenizers import build_marian_tokenizer, build_t5_tokenizer
from torch.nn.utils.rnn import pad_sequence
from transformers import PreTrainedModel, PreTrainedTokenizerBase, set_seed

HELD_OUT = 1000  # examples kept from training, the first of seed 0
CHUNK = 12_800  # examples drawn and sorted by length at a time
BATCH = 64
FOR_VOCABULARY = 40_000  # examples that the tokenizers are learned from
WARMUP = 200  # steps in which the learning rate rises
EACH = 100  # steps whose mean loss is told
IGNORED_LABEL = -100
CPU_THREADS = 1  # fixed, because the order of a sum depends on it

Example = tuple[str, tuple[str, ...]]


def translations(entries: Sequence[Entry], seed: int) -> Iterator[Example]:
    """Sentences and their translations, without end."""
    del entries
    for pair in sentences(seed):
        yield pair.source, pair.targets


def tasks(entries: Sequence[Entry], seed: int) -> Iterator[Example]:
    """Tasks and their answers, without end."""
    writer = TaskWriter(random.Random(seed), regular_plurals(entries))
    while True:
        task = writer.task()
        yield task.source, task.targets


def marian_tokenizer(examples: Sequence[Example], folder: Path) -> PreTrainedTokenizerBase:
    """Learned from each language apart."""
    sources, targets = zip(*examples, strict=True)
    return build_marian_tokenizer(sources, [text for texts in targets for text in texts], folder)


def t5_tokenizer(examples: Sequence[Example], folder: Path) -> PreTrainedTokenizerBase:
    """Learned from all texts."""
    texts = [text for source, targets in examples for text in (source, targets[0])]
    return build_t5_tokenizer(texts, folder)


@dataclass(frozen=True)
class Recipe:
    """What makes one of the checkpoints.

    Attributes:
        examples: draws examples without end, from WordNet's senses and a seed.
        always: examples that each chunk has besides.
        build_tokenizer: learns a tokenizer from examples, with a folder for its files.
        build_model: builds an untrained model for the tokenizer.
        steps: number of optimiser steps.
        rate: the highest learning rate.
        scaled: by what the rate of some parameters is multiplied, by how their names end.
        reads_wordnet: whether its examples need WordNet.
    """

    examples: Callable[[Sequence[Entry], int], Iterator[Example]]
    always: tuple[Example, ...]
    build_tokenizer: Callable[[Sequence[Example], Path], PreTrainedTokenizerBase]
    build_model: Callable[[PreTrainedTokenizerBase], PreTrainedModel]
    steps: int
    rate: float
    scaled: Mapping[str, float] = field(default_factory=dict)
    reads_wordnet: bool = False


# A step of AdamW is of one size for all parameters, and T5's are not: its embeddings begin at 1
# and are divided by the root of their width in the head, its queries at a fifth of other models',
# for attention divides by nothing.
_T5_SCALES = {"shared.weight": 10, "relative_attention_bias.weight": 10, ".q.weight": 0.18}

RECIPES = {
    "marian": Recipe(translations, phrases(), marian_tokenizer, build_marian, 3000, 2e-3),
    "t5": Recipe(tasks, (), t5_tokenizer, build_t5, 6000, 2e-3, _T5_SCALES, reads_wordnet=True),
}


def held_out(recipe: Recipe, entries: Sequence[Entry]) -> list[Example]:
    """The examples that no training sees."""
    distinct = dict(islice(recipe.examples(entries, 0), 2 * HELD_OUT))
    return list(distinct.items())[:HELD_OUT]


class Encoder:
    """Texts to batches of ids."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        """Take the tokenizer."""
        self.tokenizer = tokenizer

    def __call__(self, batch: Sequence[tuple[str, str]]) -> dict[str, torch.Tensor]:
        """A batch, padded on the right."""
        sources, targets = zip(*batch, strict=True)
        encoded = self.tokenizer(list(sources), text_target=list(targets))
        rows = [torch.tensor(ids) for ids in encoded["input_ids"]]
        labels = [torch.tensor(ids) for ids in encoded["labels"]]
        pad = int(self.tokenizer.pad_token_id)
        return {
            "input_ids": pad_sequence(rows, batch_first=True, padding_value=pad),
            "attention_mask": pad_sequence([torch.ones_like(r) for r in rows], batch_first=True),
            "labels": pad_sequence(labels, batch_first=True, padding_value=IGNORED_LABEL),
        }


def batches_of_chunk(
    recipe: Recipe, entries: Sequence[Entry], kept_out: set[str], number: int
) -> list[list[tuple[str, str]]]:
    """The batches of a chunk, each of nearly one length, in random order."""
    rng = random.Random(number)
    drawn = list(islice(recipe.examples(entries, number), CHUNK)) + 2 * list(recipe.always)
    examples = [
        (source, one_target(rng, targets)) for source, targets in drawn if source not in kept_out
    ]
    rng.shuffle(examples)
    examples.sort(key=lambda example: len(example[0]) // 4)
    batches = [examples[i : i + BATCH] for i in range(0, len(examples) - BATCH + 1, BATCH)]
    rng.shuffle(batches)
    return batches


def train(
    name: str,
    recipe: Recipe,
    entries: Sequence[Entry],
    folder: Path,
    state_file: Path,
    steps: int,
    seed: int,
    minutes: float,
) -> bool:
    """Trains a checkpoint, from where it stopped, and saves it.

    Returns:
        Whether it is done.
    """
    end = time.monotonic() + 60 * minutes
    set_seed(seed)
    folder.mkdir(parents=True, exist_ok=True)
    kept_out = {source for source, _ in held_out(recipe, entries)}
    tokenizer = recipe.build_tokenizer(
        list(islice(recipe.examples(entries, 1), FOR_VOCABULARY)) + 20 * list(recipe.always), folder
    )
    model = recipe.build_model(tokenizer)
    optimizer = torch.optim.AdamW(
        groups_of(recipe, model), recipe.rate, betas=(0.9, 0.98), weight_decay=0.01
    )
    step, chunk, place = 0, 2, 0
    if state_file.exists():
        state = torch.load(state_file, weights_only=True)
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        step, chunk, place = state["step"], state["chunk"], state["place"]
    else:
        click.echo(f"{name}: {model.num_parameters():,} parameters, vocabulary of {len(tokenizer)}")
    encode, model = Encoder(tokenizer), model.train()
    batches = batches_of_chunk(recipe, entries, kept_out, chunk)
    losses: list[float] = []

    def save() -> None:
        state = {"model": model.state_dict(), "optimizer": optimizer.state_dict()}
        fresh = state_file.with_suffix(".new")
        torch.save(state | {"step": step, "chunk": chunk, "place": place}, fresh)
        fresh.replace(state_file)

    while step < steps and time.monotonic() < end:
        for group in optimizer.param_groups:
            group["lr"] = recipe.rate * group["scale"] * _schedule(step, steps)
        loss = model(**encode(batches[place])).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        losses.append(float(loss.detach()))
        step, place = step + 1, place + 1
        if place == len(batches):
            chunk, place = chunk + 1, 0
            batches = batches_of_chunk(recipe, entries, kept_out, chunk)
        if step % EACH == 0:
            click.echo(f"step {step}: loss {sum(losses[-EACH:]) / len(losses[-EACH:]):.4f}")
            save()
    save()
    tokenizer.save_pretrained(folder)
    model.eval().save_pretrained(folder)
    return step == steps


def groups_of(recipe: Recipe, model: PreTrainedModel) -> list[dict[str, Any]]:
    """The parameters, those together whose rate is the same."""
    groups: dict[float, list[torch.nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        scales = [scale for end, scale in recipe.scaled.items() if name.endswith(end)]
        groups.setdefault(scales[0] if scales else 1.0, []).append(parameter)
    return [{"params": parameters, "scale": scale} for scale, parameters in groups.items()]


def _schedule(step: int, steps: int) -> float:
    """Up in a line, down in a cosine."""
    if step < WARMUP:
        return (step + 1) / WARMUP
    return 0.5 * (1 + math.cos(math.pi * (step - WARMUP) / max(steps - WARMUP, 1)))


wordnet_option = click.option(
    "--wordnet",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("/usr/share/wordnet"),
    show_default=True,
    help="Folder with WordNet's data.* files and cntlist.rev, for t5.",
)


@click.command(help="Trains the encoder-decoders; see the head of this file.")
@click.argument("name", type=click.Choice([*RECIPES]))
@wordnet_option
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("model_adapters/demo"),
    show_default=True,
    help="Folder to save the checkpoint in, in a folder of its own.",
)
@click.option(
    "--state",
    type=click.Path(path_type=Path, dir_okay=False),
    required=True,
    help="File of the state that a run goes on from.",
)
@click.option("--seed", default=0, show_default=True, help="Seed of the first weights.")
@click.option("--steps", type=int, help="Optimiser steps, in place of the recipe's own number.")
@click.option("--minutes", default=math.inf, help="Stop after so long.")
def main(
    name: str, wordnet: Path, out: Path, state: Path, seed: int, steps: int | None, minutes: float
) -> None:
    """Trains one of them."""
    torch.set_num_threads(CPU_THREADS)
    recipe = RECIPES[name]
    entries = read_entries(wordnet) if recipe.reads_wordnet else []
    done = train(name, recipe, entries, out / name, state, steps or recipe.steps, seed, minutes)
    click.echo("done" if done else "stopped: call again to go on")


if __name__ == "__main__":
    main()
