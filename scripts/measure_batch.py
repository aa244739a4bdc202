"""What `beamgen batch` gains over a loop of `Generator`, and whether its memory is as estimated.

    python scripts/measure_batch.py --rows 5000
    python scripts/measure_batch.py -m gpt2-onnx --rows 64 --tokens 8-60 --fixed 4,8,16

Without -m the demo checkpoint of GPT-2 is exported; its prompts are the first words of the
definitions that it did not see. Of other packages they are random tokens, and no EOS comes.
Each way runs in a process of its own, one after the other; every row is compared with the loop's.
"""

from __future__ import annotations

import json
import random
import resource
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table

import beamgen

_LOOP = """
import json, sys, time
import beamgen

package, source, column, settings, output, threads = sys.argv[1:]
rows = [json.loads(line) for line in open(source, encoding="utf-8")]
begun = time.perf_counter()
generator = beamgen.Generator(package, threads=int(threads) or None)
found = [generator.generate([row[column]], **json.loads(settings))[0] for row in rows]
seconds = time.perf_counter() - begun
kept = [[(each.token_ids, each.score) for each in hypotheses] for hypotheses in found]
json.dump({"seconds": seconds, "found": kept}, open(output, "w"))
"""

_BATCH = """
import json, sys
import beamgen
from dataclasses import asdict

package, source, column, settings, output, options = sys.argv[1:]
report = beamgen.batch(package, source, output, column=column, **json.loads(settings),
                       **json.loads(options))
print(json.dumps(asdict(report), default=str))
"""


class _Peak(threading.Thread):
    """Watches what the processes of a job hold, and keeps the most of any, and of all at once."""

    def __init__(self, root: int) -> None:
        super().__init__(daemon=True)
        self._root, self._ended = root, threading.Event()
        self.worker = self.together = 0

    def run(self) -> None:
        while not self._ended.wait(0.1):
            held = {pid: _held(pid, "VmHWM") for pid in _family(self._root)}
            workers = [size for pid, size in held.items() if pid != self._root] or held.values()
            self.worker = max([self.worker, *workers])
            now = sum(_held(pid, "VmRSS") for pid in held)
            self.together = max(self.together, now)

    def stop(self) -> None:
        self._ended.set()
        self.join()


def _held(pid: int, name: str) -> int:
    try:
        lines = Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines()
    except OSError:
        return 0
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith(name)), 0)


def _family(root: int) -> list[int]:
    """A process and its children, whichever of its threads started them."""
    found = [root]
    for path in Path(f"/proc/{root}/task").glob("*/children"):
        try:
            text = path.read_text(encoding="utf-8")
        except OSError:
            continue
        for child in text.split():
            found += _family(int(child))
    return found


def _prompts(package: beamgen.Package, rows: int, tokens: str | None) -> Iterator[dict[str, Any]]:
    rng = random.Random(0)
    if tokens is None:
        adapter = beamgen.find_adapter(package.manifest.adapter)
        assert adapter.held_out is not None, "the demo's"
        lines = adapter.held_out.read_text(encoding="utf-8").splitlines()
        for i in range(rows):
            words = lines[i % len(lines)].split()
            yield {"id": i, "text": " ".join(words[: rng.randint(1, len(words))])}
        return
    low, high = map(int, tokens.split("-"))
    for i in range(rows):
        count = rng.randint(low, high)
        ids = [rng.randrange(3, package.manifest.vocab_size - 1) for _ in range(count)]
        yield {"id": i, "ids": ids}


def _run(program: str, *arguments: str) -> tuple[str, _Peak, float]:
    """What a program printed, what it held, and the seconds of processors that it took."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    process = subprocess.Popen(
        [sys.executable, "-c", program, *arguments], stdout=subprocess.PIPE, text=True
    )
    peak = _Peak(process.pid)
    peak.start()
    out, _ = process.communicate()
    peak.stop()
    if process.returncode:
        sys.exit(process.returncode)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return out, peak, sum(after[:2]) - sum(before[:2])


def _differing(found: list[Any], results: Path) -> tuple[int, float]:
    """Rows whose tokens differ from the loop's, and the largest difference of a score."""
    rows, worst = 0, 0.0
    with results.open(encoding="utf-8") as lines:
        for own, row in zip(found, map(json.loads, lines), strict=True):
            tokens = [each["token_ids"] for each in row["hypotheses"]]
            rows += tokens != [ids for ids, _ in own]
            pairs = zip(own, row["hypotheses"], strict=False)
            worst = max([worst, *(abs(score - each["score"]) for (_, score), each in pairs)])
    return rows, worst


@click.command()
@click.option("-m", "--model", type=click.Path(path_type=Path), help="A package folder.")
@click.option("--rows", default=1000, show_default=True)
@click.option("--tokens", help="Of random prompts: 8-60.")
@click.option("--new-tokens", default=20, show_default=True)
@click.option("--fixed", default="", help="Batch sizes to try, too: 1,4,16.")
@click.option("--ray", "on_ray", default="", help="Numbers of Ray's actors to try: 1,2.")
@click.option("--threads", default=0, help="Of the loop's operators.  [default: one per core]")
@click.option("--without-loop", is_flag=True, help="Only measure, and compare nothing.")
def main(
    model: Path | None,
    rows: int,
    tokens: str | None,
    new_tokens: int,
    fixed: str,
    on_ray: str,
    threads: int,
    without_loop: bool,
) -> None:
    """Time a loop of `Generator` and `beamgen batch`, and print a table."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        if model is None:
            model = folder / "package"
            beamgen.export(None, model, model_class="GPT2LMHeadModel", parity=False)
        package = beamgen.open_package(model)
        source = folder / "prompts.jsonl"
        lines = (f"{json.dumps(row)}\n" for row in _prompts(package, rows, tokens))
        source.write_text("".join(lines), encoding="utf-8")
        settings: dict[str, Any] = {"max_new_tokens": new_tokens}
        if tokens is not None:
            settings["eos_token_id"] = []
        given = [str(model), str(source), "text" if tokens is None else "ids", json.dumps(settings)]
        found = None
        table = Table(
            "way",
            "seconds",
            "CPU seconds",
            "rows/s",
            "tokens/s",
            "against the loop",
            "rows that differ",
            "score",
            "peak MB of a process",
            "as estimated",
            "of all",
        )
        loop = None
        if not without_loop:
            _, peak, cpu = _run(_LOOP, *given, str(folder / "loop.json"), str(threads))
            told = json.loads((folder / "loop.json").read_text(encoding="utf-8"))
            loop, found = told["seconds"], told["found"]
            click.echo(f"a loop: {loop:.1f} s", err=True)
            table.add_row(
                "a loop",
                f"{loop:.1f}",
                f"{cpu:.1f}",
                f"{rows / loop:.2f}",
                f"{sum(len(best[0][0]) for best in found) / loop:.1f}",
                "1.00",
                "",
                "",
                f"{peak.worker >> 20}",
                "",
                f"{peak.together >> 20}",
            )
        ways: list[tuple[str, dict[str, Any]]] = [("batch", {})]
        ways += [
            (f"batch size {n}", {"batch_size": int(n), "memory": 2 << 30})
            for n in filter(None, fixed.split(","))
        ]
        ways += [
            (f"Ray, {n} actors", {"engine": "ray", "actors": int(n)})
            for n in filter(None, on_ray.split(","))
        ]
        for i, (name, options) in enumerate(ways):
            out, peak, cpu = _run(_BATCH, *given, str(folder / f"out{i}"), json.dumps(options))
            report = json.loads(out.splitlines()[-1])
            rate = report["rows"] / report["seconds"]
            click.echo(f"{name}: {report['seconds']:.1f} s", err=True)
            against = f"{loop / report['seconds']:.2f}" if loop else ""
            differ, worst = ("", 0.0)
            if found is not None:
                count, worst = _differing(found, Path(report["results"]))
                differ = f"{count} of {rows}"
            table.add_row(
                f"{name}: {report['engine']}",
                f"{report['seconds']:.1f}",
                f"{cpu:.1f}",
                f"{rate:.2f}",
                f"{report['tokens'] / report['seconds']:.1f}",
                against,
                differ,
                f"{worst:.0e}",
                f"{peak.worker >> 20}",
                f"{report['process_bytes'] >> 20}",
                f"{peak.together >> 20}",
            )
        Console(width=160).print(table)


if __name__ == "__main__":
    main()
