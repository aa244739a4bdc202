"""What LoRA slots cost in files of ours, empty and with LoRAs in them.

    python scripts/cost_of_lora.py
    python scripts/cost_of_lora.py --batch-size 4    # also two LoRAs in turn by row

Weights are random, in GPT-2 small's shape; slots are on all linear layers; 5 beams.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table
from timed_process import Search, Times, random_weights, time_in_turns

from beamgen import export, open_checkpoint
from beamgen.bench.workload import Task

LORAS = ("one", "other")


@click.command(help=__doc__)
@click.option("--model", help="Checkpoint folder.  [default: random weights]")
@click.option("--new-tokens", default=64, show_default=True)
@click.option("--batch-size", default=1, show_default=True)
@click.option("--threads", default=2, show_default=True)
@click.option("--rank", default=8, show_default=True)
@click.option("--turns", default=3, show_default=True, help="Processes per row, taking turns.")
@click.option("--runs", default=3, show_default=True, help="Timed runs per process.")
def main(
    model: str | None,
    new_tokens: int,
    batch_size: int,
    threads: int,
    rank: int,
    turns: int,
    runs: int,
) -> None:
    """Time every row, and print the table."""
    task = Task(64, new_tokens, num_beams=5, batch_size=batch_size, threads=threads)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        checkpoint = Path(model) if model else random_weights(folder / "checkpoint")
        for seed, name in enumerate(LORAS):
            _write_random_lora(checkpoint, folder / name, rank, seed)
        searches: dict[str, Search] = {}
        for backend in ("loop", "contrib"):
            plain, slots = folder / f"{backend}-plain", folder / f"{backend}-slots"
            _export(checkpoint, plain, backend, loras=None)
            _export(checkpoint, slots, backend, loras=[folder / name for name in LORAS])
            searches[f"{backend}, no slots"] = Search(plain, task)
            searches[f"{backend}, slots, no LoRA"] = Search(slots, task)
            searches[f"{backend}, slots, rank {rank}"] = Search(slots, task, lora="one")
            if batch_size > 1 and backend == "loop":
                by_row = [LORAS[row % 2] for row in range(batch_size)]
                searches["loop, slots, two LoRAs by row"] = Search(slots, task, lora=by_row)
        Console(width=120).print(_table(searches, time_in_turns(searches, turns, runs)))


def _export(checkpoint: Path, target: Path, backend: str, loras: list[Path] | None) -> None:
    """Without slots, or with slots on all linear layers and these LoRAs."""
    export(
        checkpoint,
        target,
        parity=False,
        backend=backend,
        settings={"num_beams": 5, "eos_token_id": ()},
        lora=loras or (),
        lora_slots=None if loras is None else (),
    )


def _write_random_lora(checkpoint: Path, folder: Path, rank: int, seed: int) -> None:
    """A PEFT folder with random A and B on all linear layers."""
    import torch
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(seed)
    config = LoraConfig(
        r=rank,
        lora_alpha=2 * rank,
        target_modules="all-linear",
        task_type="CAUSAL_LM",
        init_lora_weights=False,
    )
    get_peft_model(open_checkpoint(checkpoint).load_model(), config).save_pretrained(str(folder))


def _table(searches: dict[str, Search], times: dict[str, Times]) -> Table:
    table = Table(title="medians", box=None)
    table.add_column("file")
    for title in ("ms/token", "min-max", "over no slots", "peak MB"):
        table.add_column(title, justify="right")
    base = 0.0
    for name, search in searches.items():
        median, span, memory = times[name].cells(search)
        base = median if name.endswith("no slots") else base
        table.add_row(name, f"{median:.1f}", span, f"{100 * (median / base - 1):+.1f} %", memory)
    return table


if __name__ == "__main__":
    main()
