"""Trains small checkpoints of other architectures than the demo's, to measure rounding on.

What fewer bits cost says nothing on random weights. These models have the tokenizer and the
texts of the GPT-2 demo checkpoint, so that ``model_adapters/demo/held-out-gpt2.txt`` is text that
they did not see either. That they learned is shown by the loss on texts that were left out, beside
the loss of what knows only how often each token occurs. See ``train_demo_checkpoints.py`` for the
source of the text::

    python scripts/train_small_checkpoints.py llama gemma2 mixtral \
        --wordnet wordnet/usr/share/wordnet --out small
    beamgen export -m small/llama --precision int8 --no-parity -o llama-int8 \
        --quality-text model_adapters/demo/held-out-gpt2.txt

A run is repeatable, as those of the demo checkpoints are, and takes some minutes of one core.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import click
import torch
from demo_text import read_entries
from torch import Tensor
from train_demo_checkpoints import (
    CPU_THREADS,
    HELD_OUT,
    IGNORED_LABEL,
    MAX_TOKENS,
    RECIPES,
    collate,
    encode,
    wordnet_option,
)
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    GenerationConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    get_cosine_schedule_with_warmup,
    set_seed,
)

from beamgen import find_adapter

_DEMO = "gpt2"
_BATCH, _RATE, _WARMUP = 32, 3e-3, 100
_LAYERS, _WIDTH, _INNER, _HEADS = 4, 96, 256, 4


def build_model(name: str, tokenizer: PreTrainedTokenizerBase) -> PreTrainedModel:
    """Builds a model of an adapter's architecture, of the demo checkpoints' size."""
    config = find_adapter(name).tiny_config()
    ids = {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id}
    sizes = {
        "vocab_size": len(tokenizer),
        "num_hidden_layers": _LAYERS,
        "hidden_size": _WIDTH,
        "intermediate_size": _INNER,
        "head_dim": _WIDTH // _HEADS,
        "query_pre_attn_scalar": _WIDTH // _HEADS,
        "pad_token_id": None,
        **ids,
    }
    known = {key: value for key, value in sizes.items() if hasattr(config, key)}
    fields = {**config.to_dict(), **known}
    fields.pop("layer_types", None)  # which the class makes of the number of layers
    model: PreTrainedModel = AutoModelForCausalLM.from_config(type(config)(**fields))
    model.generation_config = GenerationConfig(**ids)
    return model


def batches(sequences: Sequence[list[int]], starts: Iterable[int]) -> Iterator[dict[str, Tensor]]:
    """Those of ``_BATCH`` sequences that begin at ``starts``."""
    for start in starts:
        yield collate([{"input_ids": ids} for ids in sequences[start : start + _BATCH]])


def train(model: PreTrainedModel, sequences: Sequence[list[int]], steps: int) -> float:
    """Trains a model in place, and returns the mean loss of the last tenth of the steps.

    ``sequences`` are sorted by length, so that little of a batch is padding.
    """
    optimizer = torch.optim.AdamW(model.parameters(), _RATE, betas=(0.9, 0.98), weight_decay=0.05)
    schedule = get_cosine_schedule_with_warmup(optimizer, _WARMUP, steps)
    losses = []
    model.train()
    for batch in batches(
        sequences, (random.randrange(len(sequences) - _BATCH) for _ in range(steps))
    ):
        loss = model(**batch).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        losses.append(float(loss.detach()))
    last = losses[-max(steps // 10, 1) :]
    model.eval()
    return sum(last) / len(last)


@torch.no_grad()
def loss_of(model: PreTrainedModel, sequences: Sequence[list[int]]) -> float:
    """The mean negative log-probability of a token, each sequence's first one left out."""
    told = count = 0.0
    for batch in batches(sequences, range(0, len(sequences), _BATCH)):
        predicted = int((batch["labels"][:, 1:] != IGNORED_LABEL).sum())
        told += float(model(**batch).loss) * predicted
        count += predicted
    return told / count


def unigram_loss(
    seen: Sequence[list[int]], sequences: Sequence[list[int]], vocabulary: int
) -> float:
    """The same of a model that knows the frequency of each token in ``seen``, and nothing else."""
    counts = torch.ones(vocabulary)  # of one more than were seen
    counts += torch.bincount(
        torch.tensor([i for ids in seen for i in ids[1:]]), minlength=vocabulary
    )
    told = torch.tensor([i for ids in sequences for i in ids[1:]])
    return float(-(counts / counts.sum()).log()[told].mean())


@click.command(help="Trains small checkpoints; see the head of this file.")
@click.argument("names", nargs=-1, required=True)
@wordnet_option
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), required=True)
@click.option("--seed", default=0, show_default=True, help="Seed of everything random.")
@click.option("--steps", default=3000, show_default=True, help="Optimiser steps.")
def main(names: Sequence[str], wordnet: Path, out: Path, seed: int, steps: int) -> None:
    """Trains on what the demo checkpoint was trained on, drawn in the same way."""
    torch.set_num_threads(CPU_THREADS)
    tokenizer = AutoTokenizer.from_pretrained(Path("model_adapters/demo") / _DEMO)
    set_seed(seed)
    examples = RECIPES[_DEMO].examples(read_entries(wordnet))
    random.shuffle(examples)
    sequences = [encode(tokenizer, example) for example in examples]
    fitting = [ids for ids in sequences if len(ids) <= MAX_TOKENS]
    seen, unseen = (sorted(ids, key=len) for ids in (fitting[HELD_OUT:], fitting[:HELD_OUT]))
    click.echo(f"unigram held-out loss {unigram_loss(seen, unseen, len(tokenizer)):.3f}")
    for name in names:
        set_seed(seed)
        model = build_model(name, tokenizer)
        click.echo(f"{name}: {model.num_parameters():,} parameters")
        trained = train(model, seen, steps)
        click.echo(f"train loss {trained:.3f}, held-out loss {loss_of(model, unseen):.3f}")
        tokenizer.save_pretrained(out / name)
        model.save_pretrained(out / name)


if __name__ == "__main__":
    main()
