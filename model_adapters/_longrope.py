"""What generate does where LongRoPE's factors change, in Phi-3 and its kin."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PretrainedConfig

    from beamgen.adapter import PositionLimits


def recomputed(limits: PositionLimits, config: PretrainedConfig) -> PositionLimits:
    """The limits, with the length beyond which a sequence is computed anew by the long factors.

    Source: ``Phi3ForCausalLM.prepare_inputs_for_generation``, which drops the cache when a
    sequence grows past that length.
    """
    scaling = config.rope_scaling or {}
    if scaling.get("rope_type", scaling.get("type")) != "longrope":
        return limits
    return replace(limits, recompute_boundary=config.original_max_position_embeddings)
