"""Writes the texts that a demo checkpoint was trained on as rows for ``beamgen finetune``.

A row's prompt is as short as its tokens allow, so that nearly all of a text is learned. The texts
that were left out of the training are left out here too: ``held_out_text.py`` writes those. See
``train_demo_checkpoints.py`` for the source of the text::

    python scripts/demo_rows.py gpt2 --wordnet wordnet/usr/share/wordnet --out gpt2-rows.jsonl
"""

from __future__ import annotations

import json
import random
from pathlib import Path

import click
from demo_text import Example, read_entries
from train_demo_checkpoints import HELD_OUT, MAX_TOKENS, RECIPES, encode, wordnet_option
from transformers import AutoTokenizer, PreTrainedTokenizerBase, set_seed


def as_row(tokenizer: PreTrainedTokenizerBase, example: Example) -> dict[str, str]:
    """Returns a text, parted behind the first characters whose tokens are the text's first."""
    text = f"{example.prompt} {example.answer}"
    whole = tokenizer.encode(text)
    for end in range(len(example.prompt)):
        first = tokenizer.encode(text[:end])
        if first and first == whole[: len(first)]:
            return {"prompt": text[:end], "completion": text[end:]}
    return {"prompt": example.prompt, "completion": f" {example.answer}"}


@click.command(help="Writes training rows; see the head of this file.")
@click.argument("name", type=click.Choice([*RECIPES]))
@wordnet_option
@click.option(
    "--demo",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("model_adapters/demo"),
    show_default=True,
    help="Folder of the demo checkpoints.",
)
@click.option(
    "--out", type=click.Path(path_type=Path), required=True, help="The JSONL file to write."
)
@click.option("--count", default=24000, show_default=True, help="Rows, if there are so many.")
@click.option("--seed", default=0, show_default=True, help="Seed of the demo's training.")
def main(name: str, wordnet: Path, demo: Path, out: Path, count: int, seed: int) -> None:
    """Draws as the training of the demo does, and writes what it learned."""
    tokenizer = AutoTokenizer.from_pretrained(demo / name)
    if tokenizer.chat_template is not None:
        raise click.UsageError(f"{name} is trained on chats, whose answers alone would be learned")
    set_seed(seed)
    examples = RECIPES[name].examples(read_entries(wordnet))
    random.shuffle(examples)
    fitting = [e for e in examples if len(encode(tokenizer, e)) <= MAX_TOKENS]
    held_out = {example.prompt for example in fitting[:HELD_OUT]}
    kept = [e for e in fitting[HELD_OUT:] if e.prompt not in held_out][:count]
    rows = [json.dumps(as_row(tokenizer, example), ensure_ascii=False) for example in kept]
    out.write_text("\n".join([*rows, ""]), "utf-8")
    click.echo(f"{name}: {len(rows)} rows")


if __name__ == "__main__":
    main()
