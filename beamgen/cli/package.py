"""``beamgen package``: a package in the format of what will run it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

import beamgen
from beamgen.cli._options import common
from beamgen.cli._print import print_check, print_json, status
from beamgen.cli._settings import chosen_settings, search_settings

#: Options that each belong to one format, which refuses the others'.
_OF_FORMATS = (
    "with_tokenizer",
    "checkpoint",
    "trust_remote_code",
    "batching",
    "max_batch_size",
    "lora",
    "title",
    "examples",
    "node_modules",
)


@click.command(
    short_help="Write a package in the format of what will run it.",
    epilog="""\b
Examples:
  beamgen package -m gpt2-onnx --with-tokenizer
  beamgen package -m biogpt-onnx --format genai
  beamgen package -m biogpt-onnx --format triton -o model_repository/biogpt
  beamgen package -m biogpt-onnx --format triton --batching ragged --inputs max_new_tokens
  beamgen package -m gpt2-onnx --format web --example "aspirin is"
""",
)
@click.option("-m", "--model", required=True, help="Package folder that `export` wrote.")
@click.option(
    "--format",
    "format_",
    default="onnx",
    show_default=True,
    type=click.Choice(beamgen.FORMATS),
    help="What will run it.",
)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    help="Folder to write.  [default: NAME-text, NAME-genai, NAME-web, model_repository/NAME]",
)
@click.option("--force", is_flag=True, help="Replace an existing folder of that format.")
@click.option(
    "--with-tokenizer",
    is_flag=True,
    default=None,
    help="onnx: put the tokenizer into the graph: text in, text out.",
)
@click.option(
    "--checkpoint", help="genai: its checkpoint.  [default: the one named in the package]"
)
@click.option(
    "--trust-remote-code",
    is_flag=True,
    default=None,
    help="genai: run Python code of the checkpoint.",
)
@click.option(
    "--batching",
    type=click.Choice(["dynamic", "ragged", "simple"]),
    help="triton: join requests of one prompt length, of any, or none.  [default: dynamic]",
)
@click.option(
    "--max-batch-size", type=int, help="triton: rows that are joined at most.  [default: 8]"
)
@click.option(
    "--inputs",
    metavar="NAME,...|all|none",
    help="triton: parameters that every request gives; the others are fixed.  "
    "[default: max_new_tokens, length_penalty; seed, temperature, top_k, top_p]",
)
@click.option("--lora", help="triton: the package's LoRA to build in.")
@click.option("--title", help="web: what the page is called.  [default: the checkpoint's name]")
@click.option("--example", "examples", multiple=True, help="web: a prompt to offer; repeatable.")
@click.option(
    "--node-modules",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="web: where npm installed onnxruntime-web.  [default: fetch it with npm]",
)
@search_settings
@common
@click.pass_context
def command(
    ctx: click.Context,
    /,
    model: str,
    format_: str,
    output: Path | None,
    force: bool,
    inputs: str | None,
    as_json: bool,
    **values: Any,
) -> None:
    """Write a package in the format of what will run it, and check it there.

    The package itself is not changed. Each format is checked with its real consumer
    where that is installed. Exit code 0: nothing disagreed; 3: something did.

    The search settings are for formats in whose file they are fixed; elsewhere
    they are set by each request.
    """
    package = beamgen.open_package(model)
    own = {name: values.pop(name) for name in _OF_FORMATS}
    names = None if inputs is None else inputs.replace(",", " ").split()
    own["inputs"] = [] if names == ["none"] else names
    own["settings"] = chosen_settings(values) or None
    given = {name: value for name, value in own.items() if value not in (None, ())}
    with status("reading the package") as progress:
        done = beamgen.package_as(package, format_, output, force=force, progress=progress, **given)
    if as_json:
        print_json(
            {
                "folder": str(done.folder),
                "format": done.format,
                "checks": [vars(check) for check in done.checks],
            }
        )
    else:
        click.secho(f"{done.folder}/", bold=True)
        for check in done.checks:
            print_check(check)
        for line in done.after:
            click.echo(f"next: {line}")
    ctx.exit(done.exit_code)
