"""Measures the encoder-decoder demo checkpoints on what they did not see.

Writes ``held-out-NAME.jsonl`` beside them: in a line an input, what is right, and what is right as
well, the likeliest first. Then it searches with ``generate`` of ``transformers`` and counts
outputs that are one of these, and BLEU and chrF against all of them, where sacrebleu is
installed::

    python scripts/measure_demo_seq2seq.py marian
    python scripts/measure_demo_seq2seq.py t5 --wordnet wordnet/usr/share/wordnet

Of packages made of the checkpoint it counts besides how many outputs are those of ``generate``::

    python scripts/measure_demo_seq2seq.py marian --package marian-onnx --package marian-int8
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import click
import torch
from demo_text import read_entries
from train_demo_seq2seq import CPU_THREADS, RECIPES, Example, held_out, wordnet_option
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

from beamgen import Generator

_BATCH = 50
_NEW_TOKENS = 64


class Output(NamedTuple):
    """What came out for a text: the decoder's tokens behind its start, and what they say."""

    ids: list[int]
    text: str


def translate(folder: Path, sources: Sequence[str], beams: int) -> list[Output]:
    """What ``generate`` of transformers makes of texts."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForSeq2SeqLM.from_pretrained(folder).eval()
    found: list[Output] = []
    for start in range(0, len(sources), _BATCH):
        batch = tokenizer(list(sources[start : start + _BATCH]), return_tensors="pt", padding=True)
        rows = model.generate(**batch, num_beams=beams, max_new_tokens=_NEW_TOKENS)
        texts = tokenizer.batch_decode(rows, skip_special_tokens=True)
        ids = [_whole(row[1:], tokenizer.eos_token_id) for row in rows.tolist()]
        found += map(Output, ids, texts)
    return found


def _whole(row: list[int], eos: int) -> list[int]:
    """Tokens up to EOS; ``generate`` pads with EOS, too, where the pad token is 0."""
    return row[: row.index(eos) + 1] if eos in row else row


def translate_in(package: Path, sources: Sequence[str], beams: int) -> list[Output]:
    """What a package makes of texts."""
    generator = Generator(package)
    found: list[Output] = []
    for start in range(0, len(sources), _BATCH):
        batch = list(sources[start : start + _BATCH])
        best = generator.generate(batch, num_beams=beams, max_new_tokens=_NEW_TOKENS)
        found += [Output(each[0].token_ids, each[0].text or "") for each in best]
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
@click.option(
    "--package",
    "packages",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    multiple=True,
    help="Measure this one as well; repeatable.",
)
@click.option("--beams", default=4, show_default=True, help="Beams of the search.")
@click.option("--show", default=20, show_default=True, help="Wrong outputs to print.")
def main(
    name: str, wordnet: Path, demo: Path, packages: tuple[Path, ...], beams: int, show: int
) -> None:
    """Writes what was kept out, and counts what comes out."""
    torch.set_num_threads(CPU_THREADS)
    recipe = RECIPES[name]
    examples = held_out(recipe, read_entries(wordnet) if recipe.reads_wordnet else [])
    lines = "".join(f"{line(*example)}\n" for example in examples)
    (demo / f"held-out-{name}.jsonl").write_text(lines, "utf-8")
    sources = [source for source, _ in examples]
    outputs = translate(demo / name, sources, beams)
    tell(outputs, examples, show)
    for package in packages:
        found = translate_in(package, sources, beams)
        same = sum(one.ids == other.ids for one, other in zip(found, outputs, strict=True))
        click.echo(f"{package}: the tokens of {same} of {len(found)} are generate's")
        tell(found, examples, 0)


def tell(outputs: Sequence[Output], examples: Sequence[Example], show: int) -> None:
    """Prints how many outputs are right, and some that are not."""
    right: dict[str, list[bool]] = defaultdict(list)
    texts = [output.text for output in outputs]
    for (source, targets), output in zip(examples, texts, strict=True):
        kind = source.partition(":")[0] if ":" in source else "all"
        right[kind].append(output in targets)
        if output not in targets and show > 0:
            show -= 1
            click.echo(f"  {source}\n    wrong: {output}\n    right: {targets[0]}")
    for kind, each in right.items():
        click.echo(f"{kind}: {sum(each)} of {len(each)} right")
    click.echo(scores(texts, examples))


if __name__ == "__main__":
    main()
