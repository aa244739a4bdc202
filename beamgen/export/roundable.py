"""What a quantized file of a checkpoint rounds, found as an export finds it."""

from __future__ import annotations

import tempfile
from pathlib import Path

from beamgen.adapter import DecoderAdapter
from beamgen.checkpoint.checkpoint import Checkpoint
from beamgen.errors import MissingExtraError
from beamgen.quantization.record import Precision


def precision_of(
    checkpoint: Checkpoint, adapter: DecoderAdapter, name: str, asked_by: str
) -> Precision:
    """The precision that a file of this checkpoint has, with the parameters that it rounds.

    The decoder is traced and rounded as for a package, and dropped.

    Args:
        checkpoint: what is traced, with its LoRA merged.
        adapter: the architecture's.
        name: ``fp16``, ``int8`` or ``int4``.
        asked_by: the command, for the message where an extra is missing.

    Raises:
        MissingExtraError: what exports is not installed.
        AdapterError: the model cannot be traced, or has nothing to round.
        CheckpointError, LoraError: the weights do not load.
    """
    try:
        from beamgen.decoder.export import export_decoder
        from beamgen.decoder.passes.quantize import quantize
    except ImportError as error:
        raise MissingExtraError(asked_by, "export", error.name or "torch") from error
    with tempfile.TemporaryDirectory(prefix="beamgen-") as scratch:
        model = checkpoint.load_merged()
        decoder = export_decoder(adapter, model, Path(scratch), every_expert=True)
        return quantize(decoder.model, name)
