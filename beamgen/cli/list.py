"""``beamgen list``: the architectures at hand."""

from __future__ import annotations

from typing import Any

import click
from rich.console import Console
from rich.table import Table

import beamgen
from beamgen.cli._options import common
from beamgen.cli._print import ERR, OUT, print_json

#: Columns where nobody looks at a terminal: a name is one word there, to be searched for.
_WHOLE = 1000


@click.command(
    short_help="List the architectures at hand.",
    epilog="""\b
Examples:
  beamgen list --json
  beamgen list --features
  beamgen list --refused
""",
)
@click.option(
    "--features", is_flag=True, help="Show what each does: windows, experts, positions; seconds."
)
@click.option(
    "--refused", is_flag=True, help="Show the architectures that cannot be exported, and why."
)
@common
def command(features: bool, refused: bool, as_json: bool) -> None:
    """List the adapters: the architectures that can be exported.

    They come from the entry-point group beamgen.adapters of every installed
    package, beamgen's own among them; so do refusals, which an adapter goes before.
    """
    if refused:
        _refused(as_json)
        return
    rows: list[dict[str, Any]] = [
        {
            "name": adapter.name,
            "model_type": adapter.model_type,
            "class_names": list(adapter.class_names),
            "module": type(adapter).__module__,
            "demo": adapter.demo is not None and adapter.demo.is_dir(),
            "needs": adapter.needs,
            **({"features": beamgen.features(adapter)} if features else {}),
        }
        for adapter in beamgen.adapters()
    ]
    broken = [vars(plugin) for plugin in beamgen.broken_plugins()]
    if as_json:
        print_json({"adapters": rows, "broken": broken})
        return
    table = Table(box=None, pad_edge=False)
    last = "features" if features else "demo"
    for title in ("adapter", "model_type", "HF classes", last):
        # names are there to be typed: where it is narrow, what they stand for takes more lines
        folds = title in ("HF classes", "features")
        table.add_column(title, no_wrap=not folds, overflow="fold" if folds else "ellipsis")
    for row in rows:
        table.add_row(
            row["name"],
            row["model_type"],
            ", ".join(row["class_names"]),
            _last(row),
        )
    console = OUT if OUT.is_terminal else Console(width=_WHOLE, highlight=False)
    console.print(table)
    for plugin in broken:
        ERR.print(
            f"plug-in '{plugin['entry_point']}' of {plugin['distribution']} failed to import: "
            f"{plugin['reason']}",
            markup=False,
        )


def _last(row: dict[str, Any]) -> str:
    """What a row ends with: its features, or whether it has a demo; or what it waits for."""
    if row["needs"] is not None:
        return f"needs transformers {row['needs']}"
    return ", ".join(row["features"]) if "features" in row else "yes" if row["demo"] else "no"


def _refused(as_json: bool) -> None:
    rows = [vars(refusal) for refusal in beamgen.refusals()]
    if as_json:
        print_json({"refused": rows})
        return
    for row in rows:
        OUT.print(f"{row['kind']}: {', '.join(row['model_types'])}", markup=False)
        OUT.print(f"  {row['reason']}", markup=False)
        OUT.print(f"  fix: {row['cure']}", markup=False)
