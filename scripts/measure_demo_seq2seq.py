"""Measures the encoder-decoder demo checkpoints on what they did not see.

Writes ``held-out-NAME.jsonl`` beside them: in a line an input, what is right, and what is right as
well, the likeliest first. Then it searches with ``generate`` of ``transformers`` and counts
outputs that are one of these, and BLEU and chrF against all of them, where sacrebleu is
installed::

    python scripts/measure_demo_seq2seq.py marian
    python scripts/measure_demo_seq2seq.py t5 --wordnet wordnet/usr/share/wordnet
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

import click
import torch
from demo_text import read_entries
from train_demo_seq2seq import CPU_THREADS, RECIPES, Example, held_out, wordnet_option
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

_BATCH = 50


def translate(folder: Path, sources: Sequence[str], beams: int) -> list[str]:
    """What a checkpoint makes of texts."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForSeq2SeqLM.from_pretrained(folder).eval()
    found: list[str] = []
    for start in range(0, len(sources), _BATCH):
        batch = tokenizer(list(sources[start : start + _BATCH]), return_tensors="pt", padding=True)
        ids = model.generate(**batch, num_beams=beams, max_new_tokens=64)
        found += tokenizer.batch_decode(ids, skip_special_tokens=True)
    return found


def line(source: str, targets: Sequence[str]) -> str:
    """An example as ``--quality-text`` reads it, and what else is right."""
    completion, *also = targets
    found = {"prompt": source, "completion": completion} | ({"also": also} if also else {})
    return json.dumps(found, ensure_ascii=False)


def scores(outputs: Sequence[str], examples: Sequence[Example]) -> str:
    """BLEU and chrF against all that is right, or why not."""
    if find_spec("sacrebleu") is None:
        return "no BLEU and chrF: pip install sacrebleu"
    import sacrebleu

    width = max(len(targets) for _, targets in examples)
    references = [
        [targets[i] if i < len(targets) else targets[0] for _, targets in examples]
        for i in range(width)
    ]
    bleu = sacrebleu.corpus_bleu(list(outputs), references)
    chrf = sacrebleu.corpus_chrf(list(outputs), references)
    return f"BLEU {bleu.score:.2f}, chrF {chrf.score:.2f}"


@click.command(help="Measures the encoder-decoders; see the head of this file.")
@click.argument("name", type=click.Choice([*RECIPES]))
@wordnet_option
@click.option(
    "--demo",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("model_adapters/demo"),
    show_default=True,
    help="Folder of the demo checkpoints; the texts go there, too.",
)
@click.option("--beams", default=4, show_default=True, help="Beams of the search.")
@click.option("--show", default=20, show_default=True, help="Wrong outputs to print.")
def main(name: str, wordnet: Path, demo: Path, beams: int, show: int) -> None:
    """Writes what was kept out, and counts what comes out."""
    torch.set_num_threads(CPU_THREADS)
    recipe = RECIPES[name]
    examples = held_out(recipe, read_entries(wordnet) if recipe.reads_wordnet else [])
    lines = "".join(f"{line(*example)}\n" for example in examples)
    (demo / f"held-out-{name}.jsonl").write_text(lines, "utf-8")
    outputs = translate(demo / name, [source for source, _ in examples], beams)
    right: dict[str, list[bool]] = defaultdict(list)
    for (source, targets), output in zip(examples, outputs, strict=True):
        kind = source.partition(":")[0] if ":" in source else "all"
        right[kind].append(output in targets)
        if output not in targets and show > 0:
            show -= 1
            click.echo(f"  {source}\n    wrong: {output}\n    right: {targets[0]}")
    for kind, each in right.items():
        click.echo(f"{kind}: {sum(each)} of {len(each)} right")
    click.echo(scores(outputs, examples))


if __name__ == "__main__":
    main()
