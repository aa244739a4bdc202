"""What settings and LoRA slots cost in our own files; `beamgen bench` compares with others'.

    python scripts/benchmark.py settings             # what each setting costs per step
    python scripts/benchmark.py lora                 # what slots cost, and a LoRA in them

Every row runs in processes of its own, because two thread pools spin against each other;
the processes take turns, and medians of all their runs are compared. Weights are random,
in the smallest of `beamgen bench`'s shapes, and no EOS may come, so each search takes all
its steps.
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import click
import numpy as np
from rich.console import Console
from rich.table import Table

from beamgen import Generator, SearchConfig, export, open_checkpoint
from beamgen.bench.machine import peak_memory
from beamgen.bench.shapes import find_shape, random_checkpoint


@dataclass(frozen=True)
class Workload:
    """What each contestant searches."""

    prompt_tokens: int
    new_tokens: int
    num_beams: int
    batch_size: int
    threads: int
    settings: dict[str, Any] = field(default_factory=dict)
    lora: str | list[str] | None = None

    def prompt(self, vocab_size: int) -> tuple[Any, Any]:
        """The same random ids for everybody, ``[B, S]``."""
        shape = (self.batch_size, self.prompt_tokens)
        ids = np.random.default_rng(0).integers(3, vocab_size, size=shape)
        return ids, np.ones_like(ids)

    def config(self, base: SearchConfig) -> SearchConfig:
        """All steps, one hypothesis."""
        return base.with_overrides(
            {
                "num_beams": self.num_beams,
                "max_new_tokens": self.new_tokens,
                "eos_token_id": (),
                **self.settings,
            }
        )


def run_file(package: Path, work: Workload) -> Callable[[], Any]:
    """An exported file in ONNX Runtime."""
    generator = Generator(package, threads=work.threads, verify=False)
    batch = work.prompt(generator.package.manifest.vocab_size)
    config = work.config(generator.search)
    return lambda: generator.search_ids(*batch, config, lora=work.lora).sequences


#: One row each of `settings`; all but the first are compared with "beam search".
SETTINGS: dict[str, dict[str, Any]] = {
    "beam search": {},
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


@click.group(help=__doc__)
def main() -> None:
    """Compare, and print a table."""


@main.command()
@click.option("--model", help="Checkpoint folder.  [default: random weights, GPT-2 small's shape]")
@click.option("--new-tokens", default=32, show_default=True)
@click.option("--threads", default=2, show_default=True)
@click.option("--turns", default=3, show_default=True, help="Processes per row, taking turns.")
@click.option("--runs", default=2, show_default=True, help="Timed runs per process.")
@click.option("--only", multiple=True, help="A row to time besides the first; repeatable.")
def settings(
    model: str | None, new_tokens: int, threads: int, turns: int, runs: int, only: tuple[str, ...]
) -> None:
    """What each setting costs, 5 beams unless said.

    The second row is the same file without anything but beam search: its conditions are
    constants, which ONNX Runtime folds away. What is off should cost nothing.
    """
    rows = {name: own for name, own in SETTINGS.items() if not only or name in only}
    rows = {"beam search": {}, "nothing else in the graph": {}, **rows}
    with tempfile.TemporaryDirectory() as scratch:
        checkpoint = model or _random(Path(scratch, "checkpoint"))
        package, bare = Path(scratch, "package"), Path(scratch, "bare")
        export(checkpoint, package, parity=False)
        _only_beam_search(package, bare)
        work = Workload(64, new_tokens, 5, 1, threads)
        found: dict[str, list[dict[str, Any]]] = {name: [] for name in rows}
        for _ in range(turns):
            for name, own in rows.items():
                folder = bare if name == "nothing else in the graph" else package
                found[name].append(_run(folder, replace(work, settings=own), runs))
    Console(width=120).print(_settings_table(found, new_tokens))


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


def _settings_table(found: dict[str, list[dict[str, Any]]], new_tokens: int) -> Table:
    table = Table(title="5 beams unless said; medians", box=None)
    table.add_column("setting")
    for title in ("ms/step", "min-max", "over beam search", "peak MB"):
        table.add_column(title, justify="right")

    def steps(name: str) -> list[float]:
        return [1000 * s / new_tokens for result in found[name] for s in result["seconds"]]

    base = statistics.median(steps("beam search"))
    for name, results in found.items():
        each = steps(name)
        median = statistics.median(each)
        table.add_row(
            name,
            f"{median:.1f}",
            f"{min(each):.1f}-{max(each):.1f}",
            f"{median - base:+.1f} ms",
            f"{max(result['rss'] for result in results) / 1e6:.0f}",
        )
    return table


@main.command()
@click.option("--model", help="Checkpoint folder.  [default: random weights, GPT-2 small's shape]")
@click.option("--new-tokens", default=64, show_default=True)
@click.option("--batch-size", default=1, show_default=True)
@click.option("--threads", default=2, show_default=True)
@click.option("--rank", default=8, show_default=True)
@click.option("--turns", default=3, show_default=True, help="Processes per row, taking turns.")
@click.option("--runs", default=3, show_default=True, help="Timed runs per process.")
def lora(
    model: str | None,
    new_tokens: int,
    batch_size: int,
    threads: int,
    rank: int,
    turns: int,
    runs: int,
) -> None:
    """What slots on all linear layers cost: empty, and with LoRAs in them. 5 beams.

    With a batch of several rows, also two LoRAs in turn by row, in the loop backend.
    """
    work = Workload(64, new_tokens, 5, batch_size, threads)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        checkpoint = model or _random(folder / "checkpoint")
        loras = [
            _random_lora(checkpoint, folder / name, rank, seed)
            for seed, name in enumerate(("one", "other"))
        ]
        rows: dict[str, tuple[Path, Any]] = {}
        for backend in ("loop", "contrib"):
            plain, slots = folder / f"{backend}-plain", folder / f"{backend}-slots"
            settings = {"num_beams": 5, "eos_token_id": ()}
            for package, own, targets in ((plain, [], None), (slots, loras, [])):
                export(
                    checkpoint,
                    package,
                    parity=False,
                    backend=backend,
                    settings=settings,
                    lora=own,
                    lora_slots=targets,
                )
            rows[f"{backend}, no slots"] = plain, None
            rows[f"{backend}, slots, no LoRA"] = slots, None
            rows[f"{backend}, slots, rank {rank}"] = slots, "one"
            if batch_size > 1 and backend == "loop":
                in_turn = [("one", "other")[row % 2] for row in range(batch_size)]
                rows["loop, slots, two LoRAs by row"] = slots, in_turn
        found: dict[str, list[dict[str, Any]]] = {name: [] for name in rows}
        for turn in range(turns):
            for name in list(rows)[:: 1 if turn % 2 else -1]:
                package, active = rows[name]
                result = _run(package, replace(work, lora=active), runs)
                found[name].append(result)
    Console(width=120).print(_lora_table(found, new_tokens))


def _random_lora(checkpoint: str | Path, folder: Path, rank: int, seed: int) -> Path:
    """Layers of peft with random A and B, on all linear layers."""
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
    return folder


def _lora_table(found: dict[str, list[dict[str, Any]]], new_tokens: int) -> Table:
    table = Table(title="medians", box=None)
    table.add_column("file")
    for title in ("ms/token", "min-max", "over no slots", "peak MB"):
        table.add_column(title, justify="right")
    base = 0.0
    for name, results in found.items():
        each = [1000 * s / new_tokens for result in results for s in result["seconds"]]
        median = statistics.median(each)
        base = median if name.endswith("no slots") else base
        table.add_row(
            name,
            f"{median:.1f}",
            f"{min(each):.1f}-{max(each):.1f}",
            f"{100 * (median / base - 1):+.1f} %",
            f"{max(result['rss'] for result in results) / 1e6:.0f}",
        )
    return table


@main.command(hidden=True)
@click.argument("package", type=click.Path(path_type=Path))
@click.argument("work")
@click.argument("runs", type=int)
def worker(package: Path, work: str, runs: int) -> None:
    """One process of one row: prints its times and tokens as JSON."""
    search = run_file(package, Workload(**json.loads(work)))
    tokens = search()  # warms up
    seconds = []
    for _ in range(runs):
        start = time.perf_counter()
        search()
        seconds.append(time.perf_counter() - start)
    click.echo(json.dumps({"seconds": seconds, "tokens": tokens.tolist(), "rss": peak_memory()}))


def _random(folder: Path) -> Path:
    return random_checkpoint(find_shape(None), folder)


def _run(package: Path, work: Workload, runs: int) -> dict[str, Any]:
    command = [sys.executable, __file__, "worker", str(package), json.dumps(asdict(work))]
    threads = {"OMP_NUM_THREADS": str(work.threads), "TRANSFORMERS_VERBOSITY": "error"}
    output = subprocess.run(
        [*command, str(runs)],
        check=True,
        text=True,
        stdout=subprocess.PIPE,
        env={**os.environ, **threads},
    ).stdout
    result: dict[str, Any] = json.loads(output.splitlines()[-1])
    return result


if __name__ == "__main__":
    main()
