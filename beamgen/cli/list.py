"""``beamgen list``: the architectures at hand."""

from __future__ import annotations

from typing import Any

import click
from rich.table import Table

import beamgen
from beamgen.cli._options import common
from beamgen.cli._print import ERR, OUT, print_json


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
        table.add_column(title, no_wrap=title != "features")
    for row in rows:
        table.add_row(
            row["name"],
            row["model_type"],
            ", ".join(row["class_names"]),
            ", ".join(row["features"]) if features else "yes" if row["demo"] else "no",
        )
    OUT.print(table)
    for plugin in broken:
        ERR.print(
            f"plug-in '{plugin['entry_point']}' of {plugin['distribution']} failed to import: "
            f"{plugin['reason']}",
            markup=False,
        )


def _refused(as_json: bool) -> None:
    rows = [vars(refusal) for refusal in beamgen.refusals()]
    if as_json:
        print_json({"refused": rows})
        return
    for row in rows:
        OUT.print(f"{row['kind']}: {', '.join(row['model_types'])}", markup=False)
        OUT.print(f"  {row['reason']}", markup=False)
        OUT.print(f"  fix: {row['cure']}", markup=False)
