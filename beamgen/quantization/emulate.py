"""HF's model with a package's rounding, which gives what a quantized file has to answer.

Each rounded parameter gets the values that the stored numbers stand for. What a product
rounds as it runs, its input, is rounded in a hook before HF's layer, by the file's rule.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from beamgen.errors import CheckpointError
from beamgen.quantization.record import Precision
from beamgen.quantization.rounding import (
    BLOCK,
    STEP,
    from_float16,
    from_int4_blocks,
    from_int8_rows,
)

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

_WEIGHTS = {"fp16": from_float16, "int8": from_int8_rows, "int4": from_int4_blocks}


def emulate(model: PreTrainedModel, precision: Precision) -> PreTrainedModel:
    """Round a pristine fp32 model, in place, as a package's precision says.

    Raises:
        CheckpointError: the model lacks a parameter that the package rounded.
    """
    import torch
    from transformers.pytorch_utils import Conv1D

    if precision.name == "fp32":
        return model
    parameters = dict(model.named_parameters())
    missing = [name for name in precision.quantized if name not in parameters]
    if missing and missing[0].rpartition(".")[0] in parameters:
        raise CheckpointError(
            f"the package rounded {missing[0]}, which the transformers that is installed keeps "
            "in one tensor with others and does not round alone",
            "export in fp32, or in an environment with transformers 4.57",
        )
    if missing:
        raise CheckpointError(
            f"the checkpoint has no parameter {missing[0]}, which the package rounded",
            "compare with the checkpoint that the package was exported from",
        )
    wanted = {id(parameters[name]) for name in precision.quantized}
    rounded: set[int] = set()
    for module in model.modules():
        weight: Any = module._parameters.get("weight")
        if id(weight) not in wanted:
            continue
        if id(weight) not in rounded:
            rounded.add(id(weight))
            by_row = not isinstance(module, Conv1D)
            values = weight.detach().numpy()
            found = _WEIGHTS[precision.name](values if by_row else values.T)
            with torch.no_grad():
                weight.copy_(torch.from_numpy(found if by_row else found.T))
        if precision.activations is not None and not isinstance(module, torch.nn.Embedding):
            module.register_forward_pre_hook(partial(_round_input, precision.name))
    return model


def _round_input(
    precision: str, _: torch.nn.Module, given: tuple[torch.Tensor, ...]
) -> tuple[torch.Tensor, ...]:
    """Round what a layer is fed: a forward pre-hook of torch."""
    x, *rest = given
    return (_ACTIVATIONS[precision](x), *rest)


def tokens_to_uint8(x: torch.Tensor) -> torch.Tensor:
    """Round ``x [..., k]`` as ``RoundTokens`` of the file does; floats that the bytes stand for."""
    peaks = x.abs().amax(dim=-1, keepdim=True)
    return ((x / peaks).nan_to_num() / STEP).round() * (STEP * peaks)


def blocks_to_int8(x: torch.Tensor) -> torch.Tensor:
    """Round ``x [..., k]`` as ``MatMulNBits`` does at accuracy level 4; floats, not bytes.

    Source: MLAS, ``QuantizeARow_CompInt8``.
    """
    import torch

    width = x.shape[-1]
    padded = torch.nn.functional.pad(x, (0, -width % BLOCK))
    blocks = padded.reshape(*x.shape[:-1], -1, BLOCK)
    peak = blocks.abs().amax(dim=-1, keepdim=True)
    inverse = torch.where(peak > 0, 127 / peak, 0.0)
    numbers = (blocks * inverse).round()
    return (numbers * (peak / 127)).reshape(padded.shape)[..., :width]


_ACTIVATIONS = {"int8": tokens_to_uint8, "int4": blocks_to_int8}
