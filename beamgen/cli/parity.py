"""``beamgen parity``: does a package agree with transformers?"""

from __future__ import annotations

from pathlib import Path

import click

import beamgen
from beamgen.cli._options import LocalPath, check_reads, common
from beamgen.cli._print import print_json, print_parity, print_precision, status
from beamgen.cli._reports import check_report_paths, reports, write_reports


@click.command(
    short_help="Compare a package with transformers.",
    epilog="""\b
Examples:
  beamgen parity -m biogpt-onnx
  beamgen parity -m biogpt-onnx --grid full --json
  beamgen parity -m my-package --checkpoint ./my-gpt2 -p "a prompt"
  beamgen parity -m biogpt-onnx --lora drugs
  beamgen parity -m whisper-onnx --audio hello.wav
  beamgen parity -m biogpt-onnx --junit parity.xml --summary "$GITHUB_STEP_SUMMARY"
""",
)
@click.option("-m", "--model", required=True, help="Package folder that `export` wrote.")
@click.option("--checkpoint", help="Its checkpoint.  [default: the one named in the package]")
@click.option("--lora", help="Compare with this LoRA of the package, as peft runs it.")
@click.option("--peft", help="Its PEFT folder.  [default: the one it was converted from]")
@click.option(
    "--grid",
    type=click.Choice(["quick", "full", "settings"]),
    default="quick",
    show_default=True,
    help="12 cases; 96 of the search; or all settings in pairs, sampling too.",
)
@click.option("-p", "--prompt", "prompts", multiple=True, help="A prompt as a further case.")
@click.option(
    "--audio",
    type=LocalPath(),
    multiple=True,
    metavar="FILE",
    help="Of a model that hears: a clip as a further case.",
)
@click.option("--trust-remote-code", is_flag=True, help="Run Python code of the checkpoint.")
@click.option(
    "--seed",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    help="Seed of the random prompts.",
)
@reports
@common
@click.pass_context
def command(
    ctx: click.Context,
    /,
    model: str,
    checkpoint: str | None,
    lora: str | None,
    peft: str | None,
    grid: str,
    prompts: tuple[str, ...],
    audio: tuple[Path, ...],
    trust_remote_code: bool,
    seed: int,
    junit: Path | None,
    summary: Path | None,
    as_json: bool,
) -> None:
    """Compare a package with transformers' generate() on its checkpoint.

    Tokens and scores of all returned hypotheses are compared. The verdict is
    written into beamgen.json, unless --checkpoint or --peft names another.
    Exit code 0: exact, or a near-tie that float arithmetic decides; 3: diverged.
    A package of rounded weights is compared with transformers on the same rounded weights.
    A contrib package is held to the rule of its operator: "contrib rule" says that this
    rule, which the file follows, gives another answer than transformers.
    """
    check_report_paths(junit, summary)
    if peft is not None and lora is None:
        raise beamgen.BeamgenError("--peft was given without --lora", "name the LoRA: --lora NAME")
    package = beamgen.open_package(model)
    peft_folder = None if lora is None else beamgen.lora_source(package, lora, peft)
    source = beamgen.open_source(package, checkpoint, trust_remote_code=trust_remote_code)
    if peft_folder is not None:
        source = source.with_lora(peft_folder)
    ids = _ids_of(package, prompts)
    with status("loading the checkpoint") as progress:
        report = beamgen.check_parity(
            package,
            source,
            lora=lora,
            grid=beamgen.GRIDS[grid],
            prompts=ids,
            audio=audio,
            seed=seed,
            progress=lambda phase, done, total: progress(f"{phase}: case {done + 1} of {total}"),
        )
    precision = package.manifest.precision.to_json()
    verdict = {**report.to_json(), "grid": grid, "seed": seed, "precision": precision}
    try:
        if checkpoint is None and peft is None:  # another one's comparison says nothing of this
            beamgen.stamp_parity(package, verdict, lora=lora)
    except OSError as error:
        raise beamgen.BeamgenError(
            f"the verdict is {report.verdict}, but it cannot be written: {error.strerror}",
            "make the package folder writable",
        ) from error
    compared = beamgen.Compared(package, report, grid, lora, seed)
    write_reports([compared], junit, summary)
    if as_json:
        print_json(verdict)
    else:
        print_precision(package.manifest.precision)
        print_parity(report, lora)
    ctx.exit(report.exit_code)


def _ids_of(package: beamgen.Package, prompts: tuple[str, ...]) -> list[list[int]]:
    if not prompts:
        return []
    check_reads(package)
    generator = beamgen.Generator(package, verify=False)
    if generator.tokenizer is None:
        raise beamgen.BeamgenError(
            f"{package.folder} has no tokenizer to read a prompt with", "leave out --prompt"
        )
    return [generator.encode(prompt) for prompt in prompts]
