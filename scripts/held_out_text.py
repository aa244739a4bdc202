"""Writes the texts that the demo checkpoints did not see, for measuring them.

The training draws its texts by seed and leaves the first ``HELD_OUT`` out; these are the
first of them whose terms are in no text that was trained on. See
``train_demo_checkpoints.py`` for the source of the text::

    python scripts/held_out_text.py --wordnet wordnet/usr/share/wordnet
"""

from __future__ import annotations

import json
import random
from pathlib import Path

import click
from demo_text import Example, read_entries
from train_demo_checkpoints import HELD_OUT, MAX_TOKENS, RECIPES, encode, wordnet_option
from transformers import AutoTokenizer, PreTrainedTokenizerBase, set_seed


def as_line(tokenizer: PreTrainedTokenizerBase, example: Example) -> str:
    """Returns a text, or a chat as a list of messages, in one line."""
    if tokenizer.chat_template is None:
        return f"{example.prompt} {example.answer}"
    turns = zip(("user", "assistant"), (example.prompt, example.answer), strict=True)
    return json.dumps([{"role": role, "content": content} for role, content in turns])


@click.command(help="Writes the held-out texts; see the head of this file.")
@wordnet_option
@click.option(
    "--demo",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("model_adapters/demo"),
    show_default=True,
    help="Folder of the demo checkpoints; the texts go there, too.",
)
@click.option("--count", default=256, show_default=True, help="Texts for each.")
@click.option("--seed", default=0, show_default=True, help="Seed of the training.")
def main(wordnet: Path, demo: Path, count: int, seed: int) -> None:
    """Draws as the training does, and writes what it left out."""
    entries = read_entries(wordnet)
    for name, recipe in RECIPES.items():
        tokenizer = AutoTokenizer.from_pretrained(demo / name)
        set_seed(seed)
        examples = recipe.examples(entries)
        random.shuffle(examples)
        fitting = [e for e in examples if len(encode(tokenizer, e)) <= MAX_TOKENS]
        trained = {example.prompt for example in fitting[HELD_OUT:]}
        unseen = [e for e in fitting[:HELD_OUT] if e.prompt not in trained][:count]
        lines = [as_line(tokenizer, example) for example in unseen]
        (demo / f"held-out-{name}.txt").write_text("\n".join([*lines, ""]), "utf-8")
        click.echo(f"{name}: {len(lines)} texts")


if __name__ == "__main__":
    main()
