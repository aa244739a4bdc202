"""``beamgen quantize``: a package whose weights have fewer bits, and what that costs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

import beamgen
from beamgen.cli._options import common, quantization
from beamgen.cli._print import print_json, print_parity, print_precision, status


@click.command(
    short_help="Make a smaller package of a package, and check it.",
    epilog="""\b
Examples:
  beamgen quantize -m biogpt-onnx
  beamgen quantize -m biogpt-onnx --precision int4 -o biogpt-small
  beamgen quantize -m my-package --quality-text held-out.txt
""",
)
@click.argument("package", required=False)
@click.option("-m", "--model", help="Package folder that `export` wrote; or name it without -m.")
@click.option(
    "--precision",
    type=click.Choice(["w16", "fp16", "int8", "int4"]),
    default="int8",
    show_default=True,
    help="Of the weights; int4 needs ONNX Runtime's own operators.",
)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    help="Package folder.  [default: PACKAGE-PRECISION]",
)
@quantization
@click.option("--checkpoint", help="Its checkpoint.  [default: the one named in the package]")
@click.option("--trust-remote-code", is_flag=True, help="Run Python code of the checkpoint.")
@click.option("--force", is_flag=True, help="Replace an existing package.")
@click.option("--no-parity", is_flag=True, help="Do not compare with transformers.")
@common
@click.pass_context
def command(
    ctx: click.Context,
    /,
    package: str | None,
    model: str | None,
    output: Path | None,
    no_parity: bool,
    as_json: bool,
    **values: Any,
) -> None:
    """Export the checkpoint of a package once more, with weights in fewer bits.

    Settings, backend, LoRA slots and LoRAs are the package's; it stays as it is. What
    the rounding costs is measured on text: a demo checkpoint's own, or --quality-text.
    Then the new package is compared with transformers on the same rounded weights, so
    that errors of the search show as errors. Exit code 0: they agree; 3: they do not.
    """
    named = [each for each in (model, package) if each is not None]
    if len(named) != 1:
        raise click.UsageError(f"{len(named) or 'No'} packages were named, pass one with -m", ctx)
    with status("reading the package") as progress:
        result = beamgen.quantize(
            beamgen.open_package(named[0]),
            output,
            parity=not no_parity,
            progress=progress,
            **values,
        )
    made = result.package
    if as_json:
        print_json({"folder": str(made.folder), **made.manifest.to_json()})
    else:
        size = sum(entry["bytes"] for entry in made.manifest.files.values()) / 1e6
        click.secho(f"{made.folder}/", bold=True, nl=False)
        click.echo(f"  {result.checkpoint.source}, {size:.1f} MB")
        print_precision(made.manifest.precision)
        if result.parity is not None:
            print_parity(result.parity)
        for name, report in result.lora_parity.items():
            print_parity(report, name)
    ctx.exit(result.exit_code)
