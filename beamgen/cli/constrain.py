"""``beamgen constrain``: compile what may be written into a file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

import beamgen
from beamgen.cli._constraint import pattern_options, taken_constraint, with_ids
from beamgen.cli._options import LocalPath, common


@click.command(
    short_help="Compile a regular expression, a JSON schema or a catalogue.",
    epilog="""\b
Examples:
  beamgen constrain -m gpt2-onnx --regex " [0-9]{1,3} mg" -o dose.npz
  beamgen constrain -m gpt2-onnx --json-schema drug.json -o drug.npz
  beamgen generate -m gpt2-onnx -p "aspirin is" --constraint drug.npz
""",
)
@click.option("-m", "--model", required=True, help="Package folder that `export` wrote.")
@pattern_options
@click.option(
    "-o", "--output", required=True, type=LocalPath(), metavar="FILE", help="An .npz file."
)
@common
def command(model: str, output: Path, as_json: bool, **values: Any) -> None:
    """Compile a constraint once, for any number of searches and in any language.

    The file holds plain arrays, the graph's constraint_states, constraint_rows,
    constraint_edges and constraint_next. It is for one tokenizer.
    """
    said = taken_constraint(values)
    if not said:
        raise beamgen.BeamgenError(
            "nothing says what may be written", "pass --regex, --json-schema or --catalogue"
        )
    generator = beamgen.Generator(model, load=False)
    made = generator.resolved(with_ids(generator, said))["constraint"]
    made.save(output)
    told = {"states": made.states, "bytes": made.nbytes, "shortest": made.shortest}
    if as_json:
        click.echo(json.dumps({"output": str(output), **told}))
        return
    click.echo(
        f"{output}: {made.states} states, {made.nbytes} bytes; the shortest text has "
        f"{made.shortest} tokens"
    )
