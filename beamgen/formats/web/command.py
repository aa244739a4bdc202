"""The options of ``beamgen package web`` besides those that all formats share."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click


@click.command(
    short_help="A static page that searches in the browser.",
    epilog="""\b
Examples:
  beamgen package web -m gpt2-onnx --example "a bird is"
  beamgen package web -m biogpt-onnx --title BioGPT --example "aspirin is" -o site
  beamgen package web -m gpt2-onnx --node-modules ./node_modules
""",
)
@click.option("--title", help="What the page is called.  [default: the checkpoint's name]")
@click.option("--example", "examples", multiple=True, help="A prompt to offer; repeatable.")
@click.option(
    "--node-modules",
    type=click.Path(path_type=Path),
    help="Where npm installed onnxruntime-web.  [default: fetch it with npm]",
)
def command(**options: Any) -> dict[str, Any]:
    """Write a static page that searches in its reader's browser, and draws the beams.

    The folder is NAME-web unless --output names another; any web server can serve it. The
    page's answers are compared with the package's in Node.js.
    """
    return options
