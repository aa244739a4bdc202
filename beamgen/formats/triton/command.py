"""The options of ``beamgen package triton`` besides those that all formats share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click


@click.command(
    short_help="A model of Triton Inference Server.",
    epilog="""\b
Examples:
  beamgen package triton -m biogpt-onnx
  beamgen package triton -m biogpt-onnx --batching ragged --inputs max_new_tokens
  beamgen package triton -m biogpt-onnx -o model_repository/three --num-beams 3
  beamgen package triton -m gpt2-onnx --lora drugs --max-batch-size 16
  beamgen package triton -m nllb-onnx --batching ragged --tgt-lang deu_Latn
""",
)
@click.option(
    "--batching",
    type=click.Choice(["dynamic", "ragged", "simple"]),
    default="dynamic",
    show_default=True,
    help="Join requests of one prompt length, of any, or none.",
)
@click.option("--max-batch-size", type=int, help="Rows that are joined at most.  [default: 8]")
@click.option(
    "--inputs",
    metavar="NAME,...|all|none",
    help="What every request gives; all else is fixed.  "
    "[default: max_new_tokens, length_penalty; seed, temperature, top_k, top_p]",
)
@click.option("--lora", help="The package's LoRA to build in.")
@click.option(
    "--tgt-lang",
    metavar="CODE",
    help="The language to translate into, which is then fixed: the forced_bos_token_id.",
)
def command(inputs: str | None, settings: Mapping[str, Any], **options: Any) -> dict[str, Any]:
    """Write a model for Triton's ONNX Runtime backend: requests are joined into batches.

    It goes to model_repository/NAME unless --output names another folder. The search
    settings are fixed in the file, but for those that every request gives. Requests that
    were joined are compared with the package's answer to each, and config.pbtxt with
    Triton's rules; where tritonserver is installed, it is asked.
    """
    names = None if inputs is None else inputs.replace(",", " ").split()
    return {**options, "inputs": [] if names == ["none"] else names, "settings": settings}
