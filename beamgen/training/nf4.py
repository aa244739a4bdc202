"""A base whose linear layers are stored in nf4, four bits a weight, by bitsandbytes."""

from __future__ import annotations

import torch
from transformers import AutoModelForCausalLM, BitsAndBytesConfig, PreTrainedModel

from beamgen.checkpoint.checkpoint import Checkpoint
from beamgen.errors import CheckpointError, one_line


def load_nf4(checkpoint: Checkpoint) -> PreTrainedModel:
    """The model with its linear layers in nf4, which compute in float32.

    Raises:
        CheckpointError: its weights do not load so.
    """
    quantized = BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=torch.float32
    )
    try:
        model = AutoModelForCausalLM.from_pretrained(
            checkpoint.folder,
            dtype=torch.float32,
            quantization_config=quantized,
            trust_remote_code=checkpoint.trust_remote_code,
            local_files_only=True,
        )
    except Exception as error:  # each weight format fails in its own way
        raise CheckpointError(
            f"cannot load {checkpoint.source} in nf4: {one_line(error)}",
            "train with --method lora",
        ) from error
    _never_repack(model)
    return model


def _never_repack(model: PreTrainedModel) -> None:
    """Keep nf4 layers trainable on CPUs with AVX512-BF16.

    There bitsandbytes repacks a layer in the first evaluation, for a product in bfloat16
    that has no gradient, and it stays so when training goes on. Layers whose width is no
    multiple of 64 it cannot repack at all.

    Source: bitsandbytes 0.50, ``Linear4bit.forward`` and ``_convert_weight_packed_for_cpu``.
    """
    from bitsandbytes.nn.modules import Linear4bit

    for module in model.modules():
        if isinstance(module, Linear4bit):
            module.support_avx512bf16_for_cpu = False
