"""``beamgen inspect``: what is in a package or an .onnx file."""

from __future__ import annotations

from typing import Any

import click
from rich.markup import escape
from rich.table import Table

import beamgen
from beamgen.cli._options import common
from beamgen.cli._print import OUT, print_json, status, told_decoder

#: Operators of a domain that are named.
_SHOWN = 6


@click.command(
    short_help="Show what is in a package or an .onnx file.",
    epilog="""\b
Examples:
  beamgen inspect -m biogpt-onnx
  beamgen inspect -m somewhere/model.onnx --functions
  beamgen inspect -m biogpt-onnx --json
""",
)
@click.option("-m", "--model", required=True, help="Package folder, or any .onnx file.")
@click.option(
    "--functions", is_flag=True, help="List all operators, and the functions that the file defines."
)
@click.option("--no-load", is_flag=True, help="Do not try which providers load it.")
@common
def command(model: str, functions: bool, no_load: bool, as_json: bool) -> None:
    """Show what is in a package or an .onnx file, and who can run it.

    A file that left its folder still knows where it came from, its settings and the
    parity verdict of its export. A file that beamgen did not write is described, too.
    """
    with status("reading the file"):
        found = beamgen.describe(model, providers=not no_load)
    if as_json:
        print_json(found.to_json())
        return
    _show_head(found)
    _show_ports("inputs", found.inputs)
    if found.lora_slots:
        click.echo(f"and {2 * found.lora_slots} inputs of {found.lora_slots} LoRA slots")
    results = [port for port in found.outputs if not port.name.startswith("trace/")]
    _show_ports("outputs", results)
    traced = len(found.outputs) - len(results)
    if traced:
        click.echo(f"and {traced} outputs that tell each step's decisions")
    _show_body(found, all_operators=functions)
    if functions:
        _show_functions(found)
    _show_providers(found)


def _show_head(found: beamgen.Description) -> None:
    click.secho(str(found.file), bold=True, nl=False)
    click.echo(f"  {_bytes(found.bytes)}")
    for name, size in found.external_data.items():
        click.echo(f"external data: {name}, {'MISSING' if size is None else _bytes(size)}")
    about = found.provenance
    if about is None:
        click.echo(f"not written by beamgen; producer: {found.producer or 'unknown'}")
    else:
        source, versions = about["source"], about["versions"]
        revision = f" at {source['revision']}" if source["revision"] else ""
        lora = f", merged with the LoRA {source['lora']}" if source["lora"] else ""
        click.echo(
            f"made of: {source['kind']} {source['model']}{revision} "
            f"({about['adapter']}, {source['dtype']}){lora}"
        )
        if "decoder" in source:
            click.echo(f"decoder: {told_decoder(source['decoder'])}")
        click.echo(
            f"made by: beamgen {versions['beamgen']}, backend {about['backend']}, "
            f"{about['dtype']}, with transformers {versions['transformers']}"
        )
    if about is not None and about.get("encoder"):
        click.echo(f"encoder: {_encoder(about['encoder'])}")
    if about is not None and about["precision"]["name"] != "fp32":
        precision = beamgen.Precision.from_json(about["precision"])
        click.echo(f"weights: {precision}")
        click.echo(f"quality: {precision.quality}")
    if found.format is not None:
        click.echo(f"for:     {found.format}")
    if found.proof is not None:
        of = " (of the package that it was made of)" if found.format is not None else ""
        click.echo(f"parity:  {found.proof}{of if found.proof.verdict else ''}")
        click.echo(f"rules:   generate of transformers {found.proof.rules}")
    if found.loras:
        click.echo(f"LoRAs:   {', '.join(found.loras)}")
    if found.inexact is not None:
        click.secho(f"warning: {found.inexact}", fg="yellow")
    if found.changed is not None:
        click.secho(f"warning: {found.changed}", fg="yellow")


def _encoder(encoder: dict[str, Any]) -> str:
    most = encoder["max_positions"]
    read = "sources of any length" if most is None else f"sources of up to {most} positions"
    return f"{read}; the decoder begins with token {encoder['decoder_start_token_id']}"


def _show_ports(title: str, ports: list[Any]) -> None:
    table = Table(box=None, pad_edge=False)
    table.add_column(title, no_wrap=True)
    table.add_column("type, shape", no_wrap=True)
    if title == "inputs":
        table.add_column("default", no_wrap=True)
    table.add_column("meaning", min_width=24)
    for port in ports:
        # axes that are a parameter's own carry its name in the graph
        axes = [str(axis or "?").removesuffix(f"_{port.name}") for axis in port.shape or ()]
        shape = ", ".join(axes) if port.shape is not None else "..."
        cells = [port.name, f"{port.dtype} [{shape}]"]
        if title == "inputs":
            cells.append("required" if port.required else _default(port.default))
        table.add_row(*map(escape, [*cells, port.meaning]))
    click.echo()
    OUT.print(table)


def _show_body(found: beamgen.Description, all_operators: bool) -> None:
    click.echo()
    for domain, counts in found.operators.items():
        version = found.opsets.get(domain)
        of = f" {version}" if version is not None else ""
        shown = list(counts.items())[: None if all_operators else _SHOWN]
        listed = ", ".join(f"{name} {count}" for name, count in shown)
        if len(shown) < len(counts):
            listed += f" and {len(counts) - len(shown)} kinds more"
        click.echo(f"{domain}{of}, {sum(counts.values())} nodes: {listed}")
    weights = ", ".join(f"{_bytes(size)} {dtype}" for dtype, size in found.weights.items())
    click.echo(f"weights: {weights or 'none'}; functions of its own: {len(found.functions)}")


def _show_functions(found: beamgen.Description) -> None:
    click.echo()
    for function in found.functions:
        click.echo(f"{function.name}, {function.nodes} nodes  {function.meaning}")
    click.echo()


def _show_providers(found: beamgen.Description) -> None:
    if found.runtime is None:
        return
    click.echo(f"runs here, with ONNX Runtime {found.runtime}:")
    for provider in found.providers:
        if provider.loads and not provider.nodes:
            continue  # it loads, and leaves all of it to the CPU
        if provider.loads:
            click.echo(f"  {provider.name}: {provider.nodes} of {provider.all_nodes} nodes")
        else:
            click.echo(f"  {provider.name}: does not load: {provider.reason}")


def _default(value: Any) -> str:
    return value if isinstance(value, str) else ", ".join(map(str, value)) or "none"


def _bytes(count: int) -> str:
    for unit, size in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count} B"
