"""What each setting costs in a file of ours; `beamgen bench` compares with other runtimes.

    python scripts/cost_of_settings.py
    python scripts/cost_of_settings.py --new-tokens 64 --turns 6 --runs 3 --only none

Weights are random, in GPT-2 small's shape. The second row is the same file without
anything but beam search: its conditions are constants, which ONNX Runtime folds away.
What is off should cost nothing.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any

import click
import numpy as np
from rich.console import Console
from rich.table import Table
from timed_process import Search, Times, random_weights, time_in_turns

from beamgen import export
from beamgen.bench.workload import Task

PLAIN = "beam search"
BARE = "nothing else in the graph"
#: One row each; all but the first are compared with it.
SETTINGS: dict[str, dict[str, Any]] = {
    PLAIN: {},
    BARE: {},
    "repetition_penalty": {"repetition_penalty": 1.2},
    "no_repeat_ngram_size": {"no_repeat_ngram_size": 3},
    "bad_words_ids": {"bad_words_ids": [[i, i + 1] for i in range(100, 200)]},
    "suppress_tokens": {"suppress_tokens": list(range(100, 200))},
    "renormalize_logits": {"renormalize_logits": True},
    "output_scores": {"output_scores": True},
    "beam sampling, top_k 50": {"do_sample": True, "seed": 0},
    "beam sampling, top_k 50, top_p 0.95": {"do_sample": True, "seed": 0, "top_p": 0.95},
    "beam sampling, top_p 0.95 alone": {"do_sample": True, "seed": 0, "top_p": 0.95, "top_k": 0},
    "beam sampling, all tokens": {"do_sample": True, "seed": 0, "top_k": 0},
    "greedy": {"num_beams": 1},
    "sampling, top_k 50": {"num_beams": 1, "do_sample": True, "seed": 0},
    "64 beams": {"num_beams": 64},
    "64 beams, sampling": {"num_beams": 64, "do_sample": True, "seed": 0},
    "256 beams": {"num_beams": 256},
    "256 beams, sampling": {"num_beams": 256, "do_sample": True, "seed": 0},
}


@click.command(help=__doc__)
@click.option("--model", help="Checkpoint folder.  [default: random weights]")
@click.option("--new-tokens", default=32, show_default=True)
@click.option("--threads", default=2, show_default=True)
@click.option("--turns", default=3, show_default=True, help="Processes per row, taking turns.")
@click.option("--runs", default=2, show_default=True, help="Timed runs per process.")
@click.option("--only", multiple=True, help="A row to time besides the first two; repeatable.")
def main(
    model: str | None, new_tokens: int, threads: int, turns: int, runs: int, only: tuple[str, ...]
) -> None:
    """Time every row, and print the table."""
    rows = {
        name: settings
        for name, settings in SETTINGS.items()
        if not only or name in (PLAIN, BARE, *only)
    }
    task = Task(64, new_tokens, num_beams=5, batch_size=1, threads=threads)
    with tempfile.TemporaryDirectory() as scratch:
        package, bare = Path(scratch, "package"), Path(scratch, "bare")
        export(model or random_weights(Path(scratch, "checkpoint")), package, parity=False)
        _only_beam_search(package, bare)
        searches = {
            name: Search(bare if name == BARE else package, task, settings)
            for name, settings in rows.items()
        }
        Console(width=120).print(_table(searches, time_in_turns(searches, turns, runs)))


def _only_beam_search(package: Path, target: Path) -> None:
    """A copy whose conditions, one beam or not and processing or not, are constant."""
    import onnx_ir as ir

    shutil.copytree(package, target)
    model = ir.load(target / "model.onnx")
    never = ir.Value(name="never", const_value=ir.tensor(np.array(False), name="never"))
    model.graph.register_initializer(never)
    for node in ir.traversal.RecursiveGraphIterator(model.graph):
        for value in node.outputs:
            if (value.name or "").endswith(("/one_beam", "/processed")):
                value.replace_all_uses_with(never)
    ir.save(model, target / "model.onnx")


def _table(searches: dict[str, Search], times: dict[str, Times]) -> Table:
    table = Table(title="5 beams unless said; medians", box=None)
    table.add_column("setting")
    for title in ("ms/step", "min-max", "over beam search", "peak MB"):
        table.add_column(title, justify="right")
    base, _, _ = times[PLAIN].cells(searches[PLAIN])
    for name, search in searches.items():
        median, span, memory = times[name].cells(search)
        table.add_row(name, f"{median:.1f}", span, f"{median - base:+.1f} ms", memory)
    return table


if __name__ == "__main__":
    main()
