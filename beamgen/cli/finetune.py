"""``beamgen finetune``: a JSONL file of examples becomes a LoRA, or another checkpoint."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

import click

import beamgen
from beamgen.cli._options import common, ignore_unread
from beamgen.cli._print import print_json, status
from beamgen.cli._sections import SectionedCommand, section


@click.command(
    cls=SectionedCommand,
    short_help="Train a LoRA on a JSONL file of examples.",
    epilog="""\b
Examples:
  beamgen finetune --model-class BioGptModel --data examples/lora/drugs.jsonl -o drugs \\
    --eval-data examples/lora/drugs-eval.jsonl --learning-rate 5e-3 --num-train-epochs 20
  beamgen finetune -m ./my-phi3 --data chats.jsonl -o my-lora --rank 16
  beamgen finetune -m ./my-phi3 --data chats.jsonl -o my-lora --rank 16 --resume
  beamgen finetune -m ./my-phi3 --data chats.jsonl -o my-lora --method qlora
  beamgen finetune -m ./my-phi3 --data chats.jsonl -o my-lora --method qat --precision int4
  beamgen finetune -m ./my-phi3 --data chats.jsonl -o my-int4 --method qat --precision int4 \\
    --all-weights
""",
)
@click.option("-m", "--model", help="Checkpoint folder or hub id.  [default: the class's demo]")
@click.option("--model-class", help="HF class, adapter name or model_type; see `beamgen list`.")
@click.option(
    "--data",
    type=click.Path(path_type=Path),
    help='JSONL: {"prompt", "completion"} or {"messages"} in every row.',
)
@click.option(
    "--eval-data",
    type=click.Path(path_type=Path),
    help="JSONL to measure the loss on; no part of --data is held out for it.",
)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    help="PEFT folder, or checkpoint of all weights.  [default: NAME-lora, NAME-qat]",
)
@click.option("--resume", is_flag=True, help="Go on with what was interrupted.")
@click.option("--force", is_flag=True, help="Replace such a folder, or what was interrupted.")
@click.option("--revision", help="Branch, tag or commit of a hub id.")
@click.option("--trust-remote-code", is_flag=True, help="Run Python code of the checkpoint.")
@ignore_unread
@section(
    "The LoRA",
    click.option(
        "--method",
        type=click.Choice(["lora", "qlora", "loftq", "qat"]),
        default="lora",
        show_default=True,
        help="On the model as it is, on an nf4 copy of it, with LoftQ's base and start, or "
        "through the rounding of a file.",
    ),
    click.option(
        "--precision",
        type=click.Choice(["int8", "int4"]),
        help="Of the file, for loftq and qat; the one to export in.",
    ),
    click.option("--all-weights", is_flag=True, help="With qat: train them, and no LoRA."),
    click.option("--rank", type=int, default=8, show_default=True, help="Rank of A and B."),
    click.option(
        "--lora-alpha", type=int, default=16, show_default=True, help="Scales by alpha / rank."
    ),
    click.option(
        "--lora-dropout",
        type=float,
        default=0.0,
        show_default=True,
        help="On the LoRA's input, while training.",
    ),
    click.option(
        "--target-modules",
        multiple=True,
        metavar="NAME",
        help="Ending of module names, e.g. q_proj; repeatable.  [default: every linear layer]",
    ),
    click.option("--use-rslora", is_flag=True, help="Scale by alpha / sqrt(rank)."),
)
@section(
    "The training",
    click.option(
        "--num-train-epochs", type=float, help="How often each row is seen.  [default: 3]"
    ),
    click.option("--max-steps", type=int, help="Optimizer steps, instead of epochs."),
    click.option(
        "--learning-rate",
        type=float,
        default=2e-4,
        show_default=True,
        help="At the start; it falls linearly to 0.",
    ),
    click.option("--batch-size", type=int, default=8, show_default=True, help="Rows per step."),
    click.option("--max-length", type=int, help="Tokens a row may have; longer ones are refused."),
    click.option(
        "--seed",
        type=int,
        default=0,
        show_default=True,
        help="Of the start, the order of the rows and dropout.",
    ),
    click.option(
        "--save-steps",
        type=int,
        default=50,
        show_default=True,
        help="Optimizer steps from one save to the next.",
    ),
)
@common
def command(
    model: str | None,
    data: Path | None,
    output: Path | None,
    model_class: str | None,
    target_modules: tuple[str, ...],
    as_json: bool,
    **settings: Any,
) -> None:
    """Train a LoRA, or all weights, on prompts and completions, or on chats.

    The loss counts the completion, or the chat's last message, and the EOS behind it.
    What comes out is a PEFT folder, for `beamgen export --lora` and `beamgen lora convert`.

    With --method qlora the LoRA is trained against weights in nf4, which are not those it
    is used on. With --method qat the loss is that of the int8 or int4 file which will hold it
    merged; with --all-weights a checkpoint comes out. With --method loftq the LoRA is for slots
    of such a file, and belongs to the checkpoint written beside it, OUTPUT/base.
    """
    with status("reading the rows") as progress:
        result = beamgen.finetune(
            model,
            data,
            output,
            model_class=model_class,
            target_modules=target_modules or "all-linear",
            progress=progress,
            **settings,
        )
    if as_json:
        record = json.loads((result.folder / "finetune.json").read_text(encoding="utf-8"))
        print_json({"folder": str(result.folder), **record})
        return
    if model is None:
        click.echo(f"no --model was given: this is the demo checkpoint of {model_class}")
    _show(result)


def _show(result: beamgen.FinetuneResult) -> None:
    click.secho(f"{result.folder}/", bold=True, nl=False)
    click.echo(f"  {result.method} on {result.base}, {result.trainable_parameters:,} parameters")
    click.echo(f"{result.steps} steps, training loss {result.train_loss:.3f}")
    if result.eval_loss is not None:
        click.echo(f"evaluation loss {result.eval_loss_before:.3f} -> {result.eval_loss:.3f}")
    for line in _next(result):
        click.echo(line)


def _next(result: beamgen.FinetuneResult) -> list[str]:
    """The commands that use what was trained, in the form that it was trained for."""
    folder, precision = shlex.quote(str(result.folder)), result.precision
    if result.all_weights:
        return [f"export it: beamgen export -m {folder} --precision {precision}"]
    if result.method == "qat":
        return [f"merge it:  beamgen export --lora {folder} --precision {precision}"]
    if result.method == "loftq":
        return [f"export it: beamgen export --lora {folder} --lora-slots --precision {precision}"]
    return [
        f"merge it:  beamgen export --lora {folder}",
        f"or switch: beamgen export --lora {folder} --lora-slots",
    ]
