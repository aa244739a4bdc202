"""The options of ``beamgen package text`` besides those that all formats share."""

from __future__ import annotations

from typing import Any

import click


@click.command(
    short_help="One file that takes text and gives text.",
    epilog="""\b
Examples:
  beamgen package text -m gpt2-onnx
  beamgen package text -m gpt2-onnx -o gpt2-text --force --json
""",
)
def command() -> dict[str, Any]:
    """Put the package's tokenizer into the graph: text in, text out.

    The folder is NAME-text unless --output names another. Its model.onnx needs
    onnxruntime-extensions besides ONNX Runtime; with it, ids, texts, tokens and scores are
    compared with Hugging Face's tokenizer and the package.
    """
    return {}
