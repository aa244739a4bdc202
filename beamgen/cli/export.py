"""``beamgen export``: a checkpoint becomes a package, which is compared with transformers."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import click

import beamgen
from beamgen.cli._options import common, ignore_unread, quantization
from beamgen.cli._print import (
    print_json,
    print_parity,
    print_precision,
    status,
    told_decoder,
)
from beamgen.cli._reports import check_report_paths, reports, write_reports
from beamgen.cli._sections import SEARCH_SETTINGS, SectionedCommand, section
from beamgen.cli._settings import chosen_settings, search_settings, speech_settings

#: Options that go to ``export`` as they are.
_OWN = (
    "adapter",
    "decoder",
    "revision",
    "trust_remote_code",
    "ignore_unread",
    "force",
    "precision",
    "int8_weights",
    "quality_text",
    "rules",
)


@click.command(
    cls=SectionedCommand,
    short_help="Turn a checkpoint into a package, and check it.",
    epilog="""\b
Examples:
  beamgen export --model-class BioGptModel --num-beams 5
  beamgen export -m microsoft/biogpt -o biogpt --max-new-tokens 128
  beamgen export -m ./my-gpt2 --length-penalty 0 --force
  beamgen export -m ./my-gpt2 --do-sample --top-p 0.95 --require seed
  beamgen export -m ./my-gpt2 --search contrib --num-beams 4 --length-penalty 0
  beamgen export -m ./my-gpt2 --precision int8 --quality-text held-out.txt
  beamgen export -m ./my-new-model --adapter default
  beamgen export -m ./my-gpt2 --decoder my-gpt2-optimum/model.onnx
  beamgen export --lora ./my-lora
  beamgen export -m ./my-gpt2 --lora-slots --lora ./drugs --lora ./animals
""",
)
@click.option(
    "-m",
    "--model",
    help="Checkpoint folder or hub id.  [default: the class's demo, or the LoRA's base]",
)
@click.option("--model-class", help="HF class, adapter name or model_type; see `beamgen list`.")
@click.option(
    "--adapter",
    metavar="default",
    help="Take a model_type that no adapter knows by the names of sizes that most configs share.",
)
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), help="Package folder.  [default: NAME-onnx]"
)
@click.option("--revision", help="Branch, tag or commit of a hub id.")
@click.option("--trust-remote-code", is_flag=True, help="Run Python code of the checkpoint.")
@ignore_unread
@click.option("--force", is_flag=True, help="Replace an existing package.")
@click.option("--no-parity", is_flag=True, help="Do not compare with transformers.")
@reports
@section(
    "What the file holds",
    click.option(
        "--search",
        "backend",
        type=click.Choice(["loop", "contrib"]),
        default="loop",
        show_default=True,
        help="HF's search, or ONNX Runtime's own operators (BeamSearch, GreedySearch, Sampling).",
    ),
    click.option(
        "--rules",
        metavar="RELEASE",
        help="Whose generate() to follow, transformers 4.57, 5.18, 5.23 or 5.24; others than the "
        "installed one's take --no-parity.  [default: the installed one's]",
    ),
    click.option(
        "--require",
        multiple=True,
        metavar="NAME|all",
        help="A parameter that gets no default in the file: Node, browsers and Java see no other.",
    ),
    click.option(
        "--decoder",
        metavar="FILE.onnx",
        help="A decoder step that another program exported, instead of a trace of the checkpoint: "
        "docs/decoder-file.md.",
    ),
    click.option(
        "--external-data/--one-file",
        default=None,
        help="Weights in model.onnx.data, which ONNX Runtime maps: half the time and memory to "
        "load.  [default: above 200 MB]",
    ),
)
@section(
    "Precision",
    click.option(
        "--precision",
        type=click.Choice(["fp32", "w16", "fp16", "int8", "int4"]),
        default="fp32",
        show_default=True,
        help="Of the weights: docs/quantization.md has what each costs.",
    ),
    quantization,
)
@section(
    "LoRA",
    click.option(
        "--lora",
        multiple=True,
        metavar="PEFT_DIR",
        help="A LoRA to merge into the weights; with --lora-slots one to keep apart, repeatable.",
    ),
    click.option(
        "--lora-slots",
        is_flag=False,
        flag_value="",
        metavar="[NAMES]",
        help="Take LoRAs at run time, on these layers (q_proj,v_proj or all-linear).  "
        "[default: those --lora needs, or all-linear]",
    ),
)
@section("Speech", speech_settings)
@section(SEARCH_SETTINGS, search_settings)
@common
@click.pass_context
def command(
    ctx: click.Context,
    /,
    model: str | None,
    model_class: str | None,
    output: Path | None,
    backend: str,
    no_parity: bool,
    require: tuple[str, ...],
    lora: tuple[str, ...],
    lora_slots: str | None,
    external_data: bool | None,
    junit: Path | None,
    summary: Path | None,
    as_json: bool,
    **values: Any,
) -> None:
    """Export a checkpoint as one .onnx file that runs the whole beam search.

    The search settings become the file's defaults; each of them stays an input.
    The command ends with a comparison with transformers' generate(): exit code
    0 says they agree, 3 that they do not.

    With --search contrib the file is the operator of ONNX Runtime that the settings
    choose. It fixes some of them and searches by a rule of its own, to which it is held.

    With --precision w16, int8, int4 or fp16 the weights take fewer bits; what that costs is
    measured on text, and the file is compared with transformers on the same rounded weights.

    With --decoder the search is built around a file of another exporter, and the checkpoint
    gives its settings, its tokenizer and what the file is compared with.

    With --lora-slots the file takes LoRAs as optional inputs and is the base model without
    them; `beamgen lora convert` adds more. Each is compared with transformers + peft.
    """
    own = {name: values.pop(name) for name in _OWN}
    if no_parity and (junit or summary):
        raise beamgen.BeamgenError(
            "--no-parity leaves nothing to report", "leave it out, or --junit and --summary"
        )
    check_report_paths(junit, summary)
    settings = chosen_settings(values)
    targets = None if lora_slots is None else lora_slots.replace(",", " ").split()
    if lora_slots and not targets:
        raise beamgen.BeamgenError(
            f"--lora-slots {lora_slots} names no layers", "name some, or leave the names out"
        )
    with status("opening the checkpoint") as progress:
        result = beamgen.export(
            model,
            output,
            model_class=model_class,
            parity=not no_parity,
            settings=settings,
            backend=backend,
            required=require,
            lora=lora,
            lora_slots=targets,
            external_data=external_data,
            progress=progress,
            **own,
        )
    write_reports(_compared(result), junit, summary)
    if as_json:
        print_json(_as_json(result))
    else:
        if model is None and model_class is not None:
            click.echo(f"no --model was given: this is the demo checkpoint of {model_class}")
        _show(result)
    ctx.exit(result.exit_code)


def _compared(result: beamgen.ExportResult) -> list[beamgen.Compared]:
    base = [] if result.parity is None else [beamgen.Compared(result.package, result.parity)]
    loras = [
        beamgen.Compared(result.package, report, lora=name)
        for name, report in result.lora_parity.items()
    ]
    return base + loras


def _as_json(result: beamgen.ExportResult) -> dict[str, Any]:
    return {"folder": str(result.package.folder), **result.package.manifest.to_json()}


def _show(result: beamgen.ExportResult) -> None:
    manifest, folder = result.package.manifest, result.package.folder
    size = sum(entry["bytes"] for entry in manifest.files.values()) / 1e6
    search = manifest.search.for_prompt(1)
    click.secho(f"{folder}/", bold=True, nl=False)
    operator = f", {manifest.operator}" if manifest.operator else ""
    click.echo(f"  {result.checkpoint.source}, {size:.1f} MB, {manifest.precision.name}{operator}")
    print_precision(manifest.precision)
    if manifest.source["lora"]:
        click.echo(f"merged: the LoRA {manifest.source['lora']}")
    if "decoder" in manifest.source:
        click.echo(f"decoder: {told_decoder(manifest.source['decoder'])}")
    if manifest.lora_slots:
        loras = f", LoRAs: {', '.join(result.package.loras)}" if result.package.loras else ""
        click.echo(f"{len(manifest.lora_slots)} LoRA slots{loras}")
    if manifest.source["dtype"] != "float32":
        click.echo(f"the checkpoint's {manifest.source['dtype']} weights became float32")
    if not result.takes_text:
        lacks = (
            "'s tokenizer does not load" if result.checkpoint.has_tokenizer else " has no tokenizer"
        )
        tells = "generate takes --ids" if manifest.features is None else "generate gives ids"
        click.echo(f"the checkpoint{lacks}: {tells}")
    click.echo(
        f"defaults: num_beams {search.num_beams}, max_new_tokens {search.max_new_tokens}, "
        f"length_penalty {search.length_penalty}, early_stopping {search.early_stopping}, "
        f"eos_token_id {list(search.eos_token_id)}, pad_token_id {search.pad_token_id}"
    )
    if result.parity is not None:
        print_parity(result.parity)
    for name, report in result.lora_parity.items():
        print_parity(report, name)
    prompt = ("-p", '"TEXT"') if result.takes_text else ("--ids", '"1 2 3"')
    prompt = prompt if manifest.features is None else ("--audio", "FILE.wav")
    lora = ("--lora", next(iter(result.package.loras))) if result.package.loras else ()
    words = ("next: beamgen generate", "-m", shlex.quote(str(folder)), *prompt, *lora)
    click.echo(" ".join(words))
