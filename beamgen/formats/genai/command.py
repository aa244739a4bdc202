"""The options of ``beamgen package genai`` besides those that all formats share."""

from __future__ import annotations

from typing import Any

import click


@click.command(
    short_help="The decoder step for onnxruntime-genai.",
    epilog="""\b
Examples:
  beamgen package genai -m biogpt-onnx
  beamgen package genai -m my-package --checkpoint ./my-phi3 -o phi3-genai --json
""",
)
@click.option("--checkpoint", help="Its checkpoint.  [default: the one named in the package]")
@click.option("--trust-remote-code", is_flag=True, help="Run Python code of the checkpoint.")
def command(**options: Any) -> dict[str, Any]:
    """Write a folder that onnxruntime-genai loads: streaming, chat, greedy search.

    It is exported from the checkpoint once more, as a step without the search, into
    NAME-genai unless --output names another folder. The tokens are compared with those of
    transformers where onnxruntime-genai is installed.
    """
    return options
