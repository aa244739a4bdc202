"""``beamgen parity``: does a package agree with transformers?"""

from __future__ import annotations

import click

import beamgen
from beamgen.cli import _options as options


@click.command(
    short_help="Compare a package with transformers.",
    epilog="""\b
Examples:
  beamgen parity -m biogpt-onnx
  beamgen parity -m biogpt-onnx --grid full --json
  beamgen parity -m my-package --checkpoint ./my-gpt2 -p "a prompt"
""",
)
@click.option("-m", "--model", required=True, help="Package folder that `export` wrote.")
@click.option("--checkpoint", help="Its checkpoint.  [default: the one named in the package]")
@click.option(
    "--grid",
    type=click.Choice(["quick", "full", "settings"]),
    default="quick",
    show_default=True,
    help="12 cases; 96 of the search; or all settings in pairs, sampling too.",
)
@click.option("-p", "--prompt", "prompts", multiple=True, help="A prompt as a further case.")
@click.option("--trust-remote-code", is_flag=True, help="Run Python code of the checkpoint.")
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of the random prompts.")
@options.common
@click.pass_context
def command(
    ctx: click.Context,
    /,
    model: str,
    checkpoint: str | None,
    grid: str,
    prompts: tuple[str, ...],
    trust_remote_code: bool,
    seed: int,
    as_json: bool,
) -> None:
    """Compare a package with transformers' generate() on its checkpoint.

    Tokens and scores of all returned hypotheses are compared. The verdict is
    written into beamgen.json, unless --checkpoint names another checkpoint.
    Exit code 0: exact, or a near-tie that float arithmetic decides; 3: diverged.
    A contrib package is held to the rule of its operator: "op rule" says that this
    rule, which the file follows, gives another answer than transformers.
    """
    package = beamgen.open_package(model)
    source = beamgen.open_source(package, checkpoint, trust_remote_code=trust_remote_code)
    ids = []
    if prompts:
        encode = beamgen.Generator(package, verify=False).encode
        ids = [encode(prompt) for prompt in prompts]
    with options.status("loading the checkpoint") as progress:
        report = beamgen.check_parity(
            package,
            source,
            grid=beamgen.GRIDS[grid],
            prompts=ids,
            seed=seed,
            progress=lambda phase, done, total: progress(f"{phase}: case {done + 1} of {total}"),
        )
    verdict = {**report.to_json(), "grid": grid, "seed": seed}
    try:
        if checkpoint is None:  # a comparison with another checkpoint says nothing of this one
            beamgen.stamp_parity(package, verdict)
    except OSError as error:
        raise beamgen.BeamgenError(
            f"the verdict is {report.verdict}, but it cannot be written: {error.strerror}",
            "make the package folder writable",
        ) from error
    if as_json:
        options.print_json(verdict)
    else:
        options.print_parity(report)
    ctx.exit(report.exit_code)
