"""What a checkpoint's config does at great lengths, proved on a small random model of it.

A window of 4096 tokens changes nothing in a short search, so that a file without it would pass
for exact. The small model has the checkpoint's features, and windows and boundaries of a few
tokens.
"""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING

from beamgen.adapter import DecoderAdapter
from beamgen.checkpoint.attention import follow_meant
from beamgen.checkpoint.auto_model import auto_model
from beamgen.checkpoint.checkpoint import Checkpoint
from beamgen.checkpoint.small_config import lengths, small_config
from beamgen.errors import BeamgenError, BeamgenWarning, one_line
from beamgen.export.prove import Progress
from beamgen.export.request import ExportRequest
from beamgen.export.search_files import write_search
from beamgen.settings.config import SearchConfig
from beamgen.settings.rules import Rules

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from beamgen.parity.report import CaseResult, ParityReport

# Random weights at this multiple of their initial scale give lively logits.
_LIVELY = 6.0


class Miniature(Checkpoint):
    """A checkpoint with a small config, whose weights are random."""

    def load_model(self) -> PreTrainedModel:
        """The same model each time, of weights that make peaked logits."""
        import torch

        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            model: PreTrainedModel = auto_model(self.config).from_config(
                deepcopy(self.config),
                trust_remote_code=self.trust_remote_code,
                dtype=torch.float32,
            )
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.dim() >= 2:
                    parameter.mul_(_LIVELY)
        follow_meant(model.eval())
        return model

    def load_merged(self) -> PreTrainedModel:
        """The model of ``load_model``: there is no LoRA."""
        return self.load_model()


def prove_lengths(request: ExportRequest, say: Progress) -> Sequence[CaseResult]:
    """Compare searches beyond the windows and boundaries of a request's config.

    Nothing is done where the quick grid reaches beyond all of them with the model itself.
    """
    from beamgen.parity.grids.shapes import LONG_PROMPT

    config = request.checkpoint.config.get_text_config()
    beyond = {name: size for name, size in lengths(config).items() if size >= LONG_PROMPT}
    if not beyond:
        return []
    listed = ", ".join(f"{name} {size}" for name, size in beyond.items())
    if request.decoder is not None:
        warnings.warn(
            f"what happens beyond {listed} was not compared: a decoder file cannot be made small",
            BeamgenWarning,
            stacklevel=5,
        )
        return []
    say(f"parity beyond {listed}, on a small random model of the same config")
    try:
        return compare_small(
            request.checkpoint, request.adapter, request.rules, request.backend
        ).results
    except Exception as error:  # a config may allow no small model in many ways
        reason = error.cause if isinstance(error, BeamgenError) else one_line(error)
        warnings.warn(
            f"what happens beyond {listed} was not compared, because no small model of the "
            f"config could be: {reason}",
            BeamgenWarning,
            stacklevel=5,
        )
        return []


def compare_small(
    checkpoint: Checkpoint, adapter: DecoderAdapter, rules: Rules, backend: str = "loop"
) -> ParityReport:
    """Export a small random model of a checkpoint's config, and compare it with HF.

    Args:
        checkpoint: gives the config alone.
        adapter: the architecture's.
        rules: of ``generate``, the installed one's.
        backend: ``loop`` or ``contrib``.

    Raises:
        BeamgenError: the engine refuses it.
        Exception: of transformers' own, where the config allows no small model.
    """
    from beamgen.parity.check import check_parity
    from beamgen.parity.grids.long import long_grid

    tiny = adapter.tiny_config()
    adapter.kv_geometry(tiny), adapter.position_limits(tiny)  # which say what a config lacks
    config = small_config(checkpoint.config.get_text_config(), tiny)
    whole = {field.name: getattr(checkpoint, field.name) for field in fields(Checkpoint)}
    small = Miniature(**{**whole, "config": config, "lora": None, "resized": None})
    search = SearchConfig((tiny.eos_token_id,), tiny.pad_token_id, num_beams=4)
    with tempfile.TemporaryDirectory(prefix="beamgen-") as made:
        folder = Path(made)
        request = ExportRequest(small, adapter, folder, search, rules, backend=backend)
        package = write_search(request, folder, None, lambda line: None)
        return check_parity(package, small, grid=long_grid)
