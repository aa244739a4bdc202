"""What memory long prompts take, in HF's generate and in a file of ours.

    python scripts/memory_of_prompts.py
    python scripts/memory_of_prompts.py --length 16384 --json

A Phi-3 of two layers and 32 heads with random weights. Each search runs in a process of its
own; what counts is the growth of its resident set over what it held before the search.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from beamgen import export, find_adapter
from beamgen.testing import tiny_model

#: Who searches, and with how many beams.
ROWS = {"transformers, 1 beam": ("hf", 1), "transformers": ("hf", 5), "beamgen": ("ours", 5)}

_SEARCH = """
import json, sys, time
import numpy as np

who, folder, length, beams = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
ids = np.random.default_rng(0).integers(3, 96, length)
asked = {"num_beams": beams, "max_new_tokens": 8, "do_sample": False}
if who == "hf":
    import torch
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(folder).eval()

    def search():
        prompt = torch.tensor(ids[None])
        found = model.generate(prompt, attention_mask=torch.ones_like(prompt), **asked)
        return found[0, length:].tolist()
else:
    from beamgen import Generator

    generator = Generator(folder)

    def search():
        return generator.generate([ids.tolist()], **asked)[0][0].token_ids


def held(name):
    lines = open("/proc/self/status").read().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(name))


open("/proc/self/clear_refs", "w").write("5")  # the peak begins here
before, start = held("VmRSS"), time.perf_counter()
tokens = search()
seconds = time.perf_counter() - start
print(json.dumps({"growth": held("VmHWM") - before, "seconds": seconds, "tokens": tokens}))
"""


@click.command(help=__doc__)
@click.option("--length", "lengths", multiple=True, type=int, default=(512, 2048, 4096, 16384))
@click.option("--head-dim", default=4, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="One line for each length.")
def main(lengths: tuple[int, ...], head_dim: int, as_json: bool) -> None:
    """Search prompts of each length, and print what they took."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        tiny_model(_config(max(lengths) + 64, head_dim)).save_pretrained(folder / "checkpoint")
        export(folder / "checkpoint", folder / "package", parity=False)
        for length in lengths:
            found = {name: _search(folder, length, *row) for name, row in ROWS.items()}
            if as_json:
                click.echo(json.dumps({"length": length, **found}))
            else:
                Console(width=100).print(_table(length, found))


def _config(positions: int, head_dim: int) -> Any:
    config = find_adapter("phi3").tiny_config()
    config.num_attention_heads = config.num_key_value_heads = 32
    config.hidden_size, config.intermediate_size = 32 * head_dim, 64 * head_dim
    config.max_position_embeddings = config.original_max_position_embeddings = positions
    return config


def _search(folder: Path, length: int, who: str, beams: int) -> dict[str, Any]:
    model = folder / ("checkpoint" if who == "hf" else "package")
    command = [sys.executable, "-c", _SEARCH, who, str(model), str(length), str(beams)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def _table(length: int, found: dict[str, dict[str, Any]]) -> Table:
    table = Table("search", "MB more", "seconds", "tokens", title=f"{length} prompt tokens")
    for name, row in found.items():
        same = row["tokens"] == found["transformers"]["tokens"]
        megabytes, seconds = f"{row['growth'] / 2**20:.0f}", f"{row['seconds']:.2f}"
        table.add_row(name, megabytes, seconds, "the same" if same else "others")
    return table


if __name__ == "__main__":
    main()
