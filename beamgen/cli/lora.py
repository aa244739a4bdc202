"""``beamgen lora``: the LoRAs of a package that has slots for them."""

from __future__ import annotations

import shlex
from collections import Counter
from typing import Any

import click
from rich.table import Table

import beamgen
from beamgen.cli._options import common
from beamgen.cli._print import OUT, print_json, print_parity, status


@click.group(
    short_help="Convert, check and list the LoRAs of a package.",
    epilog="""\b
Examples:
  beamgen export -m ./my-gpt2 -o gpt2-onnx --lora-slots
  beamgen lora check ./my-lora -m gpt2-onnx
  beamgen lora convert ./my-lora -m gpt2-onnx
  beamgen lora list -m gpt2-onnx
  beamgen generate -m gpt2-onnx -p "a bird is" --lora my-lora
""",
)
def command() -> None:
    """LoRAs that a package takes at run time, one file each in its adapters/.

    The package has to be exported with --lora-slots.
    """


_SHOWN = 10

_package = click.option("-m", "--model", required=True, help="Package folder that `export` wrote.")


@command.command(
    short_help="Add a LoRA to a package, and check it.",
    epilog="""\b
Examples:
  beamgen lora convert ./my-lora -m gpt2-onnx
  beamgen lora convert ./run/checkpoint-500 -m gpt2-onnx --name drugs
  beamgen lora convert olive.onnx_adapter -m gpt2-onnx
""",
)
@click.argument("source", metavar="PEFT_DIR|FILE")
@_package
@click.option("--name", help="What it is called in the package.  [default: the folder's name]")
@click.option("--checkpoint", help="The base model.  [default: the one named in the package]")
@click.option("--force", is_flag=True, help="Replace a LoRA of that name.")
@click.option("--no-parity", is_flag=True, help="Do not compare with transformers + peft.")
@click.option("--trust-remote-code", is_flag=True, help="Run Python code of the checkpoint.")
@common
@click.pass_context
def convert(
    ctx: click.Context,
    /,
    source: str,
    model: str,
    no_parity: bool,
    as_json: bool,
    **values: Any,
) -> None:
    """Write adapters/NAME.onnx_adapter from what peft saved, and compare it with peft.

    PEFT_DIR is a folder or hub id; a file that `olive convert-adapters` wrote will do,
    but cannot be compared with anything. alpha, rsLoRA and rank patterns are honoured;
    DoRA and whatever else is more than A and B on linear layers is refused by name.
    Exit code 0: it agrees with transformers + peft; 3: it does not.
    """
    package = beamgen.open_package(model, verify=False)
    with status("reading the LoRA") as progress:
        done = beamgen.convert_lora(
            package, source, parity=not no_parity, progress=progress, **values
        )
    fit = beamgen.lora_fit(done.lora, done.package)
    if as_json:
        print_json(_row(done.package, done.name))
    else:
        click.secho(str(done.path), bold=True)
        _show_fit(fit)
        if done.parity is not None:
            print_parity(done.parity, done.name)
        else:
            click.echo("not compared with transformers")
        folder = shlex.quote(model)
        click.echo(f'next: beamgen generate -m {folder} --lora {done.name} -p "TEXT"')
    ctx.exit(done.parity.exit_code if done.parity else 0)


@command.command(
    short_help="Check whether a LoRA fits a package.",
    epilog="""\b
Example:
  beamgen lora check ./my-lora -m gpt2-onnx
""",
)
@click.argument("source", metavar="PEFT_DIR|FILE")
@_package
@common
@click.pass_context
def check(ctx: click.Context, /, source: str, model: str, as_json: bool) -> None:
    """Check whether a LoRA fits a package, and list the tensors that do not.

    Takes what `convert` takes; needs neither torch nor the base model, and writes
    nothing. Exit code 0: it fits; 3: it does not; 1: it cannot be read, or is no LoRA
    that slots can take.
    """
    fit = beamgen.lora_fit(beamgen.read_lora(source), beamgen.open_package(model, verify=False))
    if as_json:
        print_json(
            {
                "fits": not fit.problems,
                "problems": fit.problems,
                "cure": fit.cure,
                "notes": fit.notes,
                **_weights(fit.lora),
            }
        )
    else:
        click.echo(f"{source}: {'does not fit' if fit.problems else 'fits'} {model}")
        _show_fit(fit)
        for problem in fit.problems[:_SHOWN]:
            click.echo(f"  {problem}")
        if len(fit.problems) > _SHOWN:
            click.echo(f"  ... and {len(fit.problems) - _SHOWN} more; --json lists them all")
        if fit.cure:
            click.echo(f"fix: {fit.cure}")
    ctx.exit(fit.exit_code)


@command.command(
    "list",
    epilog="""\b
Example:
  beamgen lora list -m gpt2-onnx --json
""",
)
@_package
@common
def list_(model: str, as_json: bool) -> None:
    """List the LoRAs of a package, and its slots."""
    package = beamgen.open_package(model, verify=False)
    rows = [_row(package, name) for name in sorted({*package.loras, *package.manifest.loras})]
    slots = package.manifest.lora_slots
    if as_json:
        print_json({"loras": rows, "slots": [vars(slot) for slot in slots]})
        return
    if not slots:
        click.echo("the package has no slots: export the checkpoint with --lora-slots")
        return
    if rows:
        table = Table(box=None, pad_edge=False)
        for title in ("lora", "rank", "layers", "kB", "parity"):
            table.add_column(title)
        for row in rows:
            verdict = (row["parity"] or {}).get("verdict", "not compared")
            layers = row.get("problem") or _layers(row["layers"])
            table.add_row(
                row["name"],
                ", ".join(map(str, row.get("ranks", []))),
                layers,
                f"{row['bytes'] / 1000:.0f}",
                verdict,
            )
        OUT.print(table)
    counted = Counter(sorted(slot.module.rpartition(".")[2] for slot in slots))
    click.echo(f"LoRAs: {len(rows)}; slots: {len(slots)}, on {_layers(counted)}")


@command.command(
    epilog="""\b
Example:
  beamgen lora remove my-lora -m gpt2-onnx
""",
)
@click.argument("name")
@_package
@common
def remove(name: str, model: str, as_json: bool) -> None:
    """Delete a LoRA from a package."""
    package = beamgen.remove_lora(beamgen.open_package(model, verify=False), name)
    if as_json:
        print_json({"removed": name, "left": list(package.loras)})
    else:
        click.echo(f"removed {name} from {model}")


def _row(package: beamgen.Package, name: str) -> dict[str, Any]:
    """What a listing shows of one of a package's LoRAs."""
    path, about = package.loras.get(name), package.manifest.loras.get(name, {})
    row = {"name": name, "source": about.get("source"), "parity": about.get("parity")}
    if path is None:
        folder = shlex.quote(str(package.folder))
        lost = f"its file is missing: beamgen lora remove {name} -m {folder}"
        return {**row, "file": None, "bytes": 0, "problem": lost, "layers": {}}
    row |= {"file": str(path), "bytes": path.stat().st_size}
    try:
        return {**row, **_weights(beamgen.read_lora(path)), "base": about.get("base")}
    except beamgen.BeamgenError as error:
        return {**row, "problem": error.cause, "layers": {}}


def _weights(lora: beamgen.Lora) -> dict[str, Any]:
    return {"ranks": lora.ranks, "layers": lora.targets, "base": lora.base}


def _layers(counts: dict[str, int]) -> str:
    return ", ".join(f"{count} {name}" for name, count in counts.items())


def _show_fit(fit: beamgen.FitReport) -> None:
    ranks = ", ".join(map(str, fit.lora.ranks))
    click.echo(f"rank {ranks} on {_layers(fit.lora.targets)}; the package has {fit.slots} slots")
    for note in fit.notes:
        click.echo(f"note: {note}")
