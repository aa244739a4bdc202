"""The HF model that a package of any precision is compared with."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from beamgen.checkpoint.checkpoint import Checkpoint
from beamgen.quantization.record import Precision

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def reference_model(
    checkpoint: Checkpoint, precision: Precision, *, in_slots: bool = False
) -> PreTrainedModel:
    """The HF model whose ``generate`` a package has to equal.

    In fp32 that is the checkpoint's. Otherwise its weights are rounded as the package's
    are, and so is what its products read. A LoRA that was merged is rounded with
    the weights; one in slots is not, and reads what was not rounded.

    Args:
        checkpoint: of the package, with its LoRA.
        precision: of the package.
        in_slots: whether the LoRA is in slots.

    Raises:
        CheckpointError, LoraError, MissingExtraError: see ``Checkpoint.load_model``.
    """
    if precision.name == "fp32":
        return checkpoint.load_model()
    from beamgen.quantization.emulate import emulate

    if checkpoint.lora is None or not in_slots:
        return emulate(checkpoint.load_merged(), precision)
    from beamgen.checkpoint.lora_source import find_peft
    from beamgen.lora.peft_model import active

    model = emulate(replace(checkpoint, lora=None).load_model(), precision)
    return active(model, find_peft(checkpoint.lora), checkpoint.fused)
