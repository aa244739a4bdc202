"""Hold a tiny random model of every adapter against HF ``generate``, in both large grids.

    python scripts/docs/adapter_parity.py                 # those whose file changed since
    python scripts/docs/adapter_parity.py gpt2 bloom      # these
    python scripts/docs/adapter_parity.py --all

Writes ``docs/adapter-parity.json`` after each adapter, which the site's table of architectures
reads: how many cases had which verdict, and every case that is not exact. About a minute each.
"""

from __future__ import annotations

import json
import sys
import tempfile
import warnings
from importlib.metadata import version
from pathlib import Path
from typing import Any

import click
import transformers
from architectures import RECORD, digest

from beamgen import GRIDS, DecoderAdapter, adapters, check_parity, export, open_checkpoint
from beamgen.errors import BeamgenWarning
from beamgen.runtime.machine import describe_machine
from beamgen.testing import tiny_model

_GRIDS = ("full", "settings")
_LIBRARIES = ("transformers", "torch", "onnxruntime")


@click.command(help=__doc__)
@click.argument("names", nargs=-1)
@click.option("--all", "everything", is_flag=True, help="Those that did not change, too.")
def main(names: tuple[str, ...], everything: bool) -> None:
    """Compare, and write what came of it."""
    transformers.logging.set_verbosity_error()
    warnings.simplefilter("ignore", BeamgenWarning)
    record = _record()
    known = {each.name: each for each in adapters() if each.needs is None}
    if unknown := sorted(set(names) - set(known)):
        raise click.UsageError(f"no adapter is called {', '.join(unknown)}")
    held: dict[str, Any] = record["adapters"]
    for name in set(held) - set(known):
        del held[name]
    for name, adapter in known.items():
        fresh = held.get(name, {}).get("source") == digest(adapter)
        if name in names or (not names and (everything or not fresh)):
            held[name] = _compared(adapter)
            print(name, *(f"{grid} {held[name][grid]}" for grid in _GRIDS), flush=True)
            record["adapters"] = held = dict(sorted(held.items()))
            RECORD.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    wrong = [name for name, found in held.items() for grid in _GRIDS if "diverged" in found[grid]]
    if wrong:
        sys.exit(f"diverged: {', '.join(dict.fromkeys(wrong))}")


def _record() -> dict[str, Any]:
    """What was found before, if with the versions that are installed."""
    versions = {name: version(name) for name in _LIBRARIES}
    before: dict[str, Any] = json.loads(RECORD.read_text()) if RECORD.exists() else {}
    kept = before["adapters"] if before.get("versions") == versions else {}
    return {"versions": versions, "adapters": kept}


def _compared(adapter: DecoderAdapter) -> dict[str, Any]:
    """Counts of verdicts by grid, and the cases that are not exact."""
    found: dict[str, Any] = {"source": digest(adapter), "processor": describe_machine()["cpu"]}
    apart = []
    with tempfile.TemporaryDirectory() as folder:
        saved = Path(folder, "checkpoint")
        tiny_model(adapter.tiny_config()).save_pretrained(saved)
        package = export(saved, Path(folder, "package"), parity=False).package
        for grid in _GRIDS:
            report = check_parity(package, open_checkpoint(saved), grid=GRIDS[grid])
            told = report.to_json()
            verdicts = ("exact", "near-tie", "nothing compared", "diverged")
            found[grid] = {verdict: told[verdict] for verdict in verdicts if told[verdict]}
            apart += [{"grid": grid, **parting} for parting in told["partings"]]
    return {**found, **({"partings": apart} if apart else {})}


if __name__ == "__main__":
    main()
