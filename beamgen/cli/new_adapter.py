"""``beamgen new-adapter``: a file for an architecture that has no adapter yet."""

from __future__ import annotations

from pathlib import Path

import click

import beamgen
from beamgen.cli._options import common
from beamgen.cli._print import print_json, status


@click.command(
    short_help="Write an adapter for another architecture.",
    epilog="""\b
Examples:
  beamgen new-adapter olmo --from olmo
  beamgen new-adapter my-glm --from glm --output my_adapters/glm.py
""",
)
@click.argument("name")
@click.option(
    "--from",
    "model_type",
    required=True,
    metavar="MODEL_TYPE",
    help="The architecture, as model_type in a checkpoint's config.json names it.",
)
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), help="File to write.  [default: NAME.py]"
)
@common
@click.pass_context
def command(
    ctx: click.Context, /, name: str, model_type: str, output: Path | None, as_json: bool
) -> None:
    """Write an adapter called NAME, and hold it against the conformance suite.

    Sizes and names come from the architecture's config class in transformers, and from
    what a tiny random model of it keeps in its cache. Exit code 0 says that every check
    holds, 3 that some do not: the file is the beginning then.
    """
    with status("drafting the adapter, and running the conformance suite on it"):
        made = beamgen.new_adapter(name, model_type, output)
    if as_json:
        print_json(
            {
                "name": made.name,
                "file": str(made.file),
                "passed": list(made.passed),
                "failed": list(made.failed),
                "checks": made.checks,
            }
        )
    else:
        _show(made)
    ctx.exit(3 if made.failed else 0)


def _show(made: beamgen.NewAdapter) -> None:
    click.secho(str(made.file), bold=True)
    for line in made.passed:
        click.echo(f"  holds  {line}")
    for line in made.failed:
        click.echo(f"  FAILS  {line}")
    click.echo(f"{made.checks - len(made.failed)} of {made.checks} checks hold")
    entry = f'[project.entry-points."beamgen.adapters"] {made.name} = "PACKAGE.{made.file.stem}"'
    if made.failed:
        click.echo(f'next: correct {made.file}, then beamgen.testing.check_adapter("{made.name}")')
        click.echo("      docs/adding-an-architecture.md goes through a hard case")
    else:
        click.echo(f"next: put it into a package whose pyproject.toml says {entry}")
        click.echo("      then `beamgen list` names it, and beamgen export takes its checkpoints")
