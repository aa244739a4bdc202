"""A base whose linear layers are stored in nf4, four bits a weight, by bitsandbytes."""

from __future__ import annotations

import torch
from transformers import BitsAndBytesConfig, PreTrainedModel

from beamgen.checkpoint.auto_model import auto_model
from beamgen.checkpoint.checkpoint import Checkpoint
from beamgen.errors import CheckpointError, one_line
from beamgen.lora.targets import linear_layers
from beamgen.training.isolation import quiet

_BLOCK = 64  # weights that share a scale, of one row or of two


def check_widths(checkpoint: Checkpoint) -> None:
    """Refuse a model whose layers bitsandbytes does not bring back from nf4 on this machine.

    Raises:
        CheckpointError: it has such layers.
    """
    model = checkpoint.empty_model()
    head = model.get_output_embeddings()  # which stays as it is
    names = {name for name, module in model.named_modules() if module is not head}
    widths = {slot.in_features for slot in linear_layers(model) if slot.module in names}
    wrong = [str(width) for width in sorted(widths) if not dequantizes(width)]
    if wrong:
        raise CheckpointError(
            f"{checkpoint.source} has layers {' and '.join(wrong)} wide, which bitsandbytes reads "
            f"wrongly from nf4 on this CPU: with AVX-512 a width has to be a multiple of {_BLOCK}",
            "train with --method lora, or on a machine with a GPU",
        )


def dequantizes(width: int) -> bool:
    """Whether bitsandbytes reads nf4 rows of this width correctly on this machine.

    Asked of bitsandbytes itself: a matrix is read as it is, and as rows of one block each,
    which is always right.

    Source: ``dequantizeBlockwise4bitCpu`` in bitsandbytes 0.50's csrc/cpu_ops.cpp, which with
    AVX-512 takes a row's scales to begin at a whole block.
    """
    with quiet():
        from bitsandbytes.functional import dequantize_4bit, quantize_4bit

        device = "cuda" if torch.cuda.is_available() else "cpu"
        rows = torch.arange(1.0, _BLOCK * width + 1, device=device).reshape(_BLOCK, width)
        packed, state = quantize_4bit(rows, blocksize=_BLOCK, quant_type="nf4")
        found = dequantize_4bit(packed, state)
        state.shape = torch.Size((width, _BLOCK))
        return torch.equal(found, dequantize_4bit(packed, state).reshape(rows.shape))


def load_nf4(checkpoint: Checkpoint) -> PreTrainedModel:
    """The model with its linear layers in nf4, which compute in float32.

    Raises:
        CheckpointError: its weights do not load so.
    """
    quantized = BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=torch.float32
    )
    try:
        model = auto_model(checkpoint.config).from_pretrained(
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
    that has no gradient, and it stays so when training goes on.

    Source: bitsandbytes 0.50, ``Linear4bit.forward`` and ``_convert_weight_packed_for_cpu``.
    """
    from bitsandbytes.nn.modules import Linear4bit

    for module in model.modules():
        if isinstance(module, Linear4bit):
            module.support_avx512bf16_for_cpu = False
