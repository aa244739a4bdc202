"""HF's model with a package's rounding, which gives what a quantized file has to answer.

Each rounded parameter gets the values that the stored numbers stand for. What a product
rounds as it runs, its input, is rounded in a hook before HF's layer, by the file's rule.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from beamgen.errors import CheckpointError
from beamgen.quantization.record import COLUMNS, Precision
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


@dataclass
class Border:
    """How far what is rounded is moved before, in steps from one number to the next.

    By a little, as float arithmetic does: what lies at the border of two numbers falls to the
    other side.
    """

    moved: float = 0.0


def emulate(
    model: PreTrainedModel, precision: Precision, border: Border | None = None
) -> PreTrainedModel:
    """Round a pristine fp32 model, in place, as a package's precision says.

    Args:
        model: HF's.
        precision: the package's.
        border: moves what is rounded as it runs, as long as it is set.

    Raises:
        CheckpointError: the model lacks a parameter that the package rounded.
    """
    import torch
    from transformers.pytorch_utils import Conv1D

    from beamgen.quantization.stacked import round_operands

    if precision.name == "fp32":
        return model
    rounding = partial(_round, precision.name, border or Border())
    parameters = dict(model.named_parameters())
    names = {name.removesuffix(COLUMNS): name for name in precision.quantized}
    missing = [name for name in names if name not in parameters]
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
    wanted = {id(parameters[name]): full.endswith(COLUMNS) for name, full in names.items()}
    rounded: set[int] = set()
    for module in model.modules():
        own: list[Any] = [each for each in module._parameters.values() if id(each) in wanted]
        for weight in own:
            if id(weight) not in rounded:
                rounded.add(id(weight))
                by_row = not (isinstance(module, Conv1D) or wanted[id(weight)])
                _round_weight(weight, precision.name, by_row)
        if not own or precision.activations is None or isinstance(module, torch.nn.Embedding):
            continue
        stacks = [weight for weight in own if weight.dim() == 3]
        if stacks:
            round_operands(module, stacks, rounding)
        else:
            module.register_forward_pre_hook(partial(_round_input, rounding))
    return model


def _round_weight(weight: torch.Tensor, precision: str, by_row: bool) -> None:
    """Round a matrix, or each of a stack, in place: each row has scales of its own, or column."""
    import torch

    values = weight.detach() if by_row else weight.detach().mT
    rows = values.reshape(-1, values.shape[-1]).numpy()
    found = torch.from_numpy(_WEIGHTS[precision](rows)).reshape(values.shape)
    with torch.no_grad():
        weight.copy_(found if by_row else found.mT)


def _round_input(
    rounding: Callable[[torch.Tensor], torch.Tensor],
    _: torch.nn.Module,
    given: tuple[torch.Tensor, ...],
) -> tuple[torch.Tensor, ...]:
    """Round what a layer is fed: a forward pre-hook of torch."""
    x, *rest = given
    return (rounding(x), *rest)


def _round(precision: str, border: Border, x: torch.Tensor) -> torch.Tensor:
    return _ACTIVATIONS[precision](x, border.moved)


def tokens_to_uint8(x: torch.Tensor, moved: float = 0.0) -> torch.Tensor:
    """Round ``x [..., k]`` as ``RoundTokens`` of the file does; floats that the bytes stand for."""
    peaks = x.abs().amax(dim=-1, keepdim=True)
    return ((x / peaks).nan_to_num() / STEP + moved).round() * (STEP * peaks)


def blocks_to_int8(x: torch.Tensor, moved: float = 0.0) -> torch.Tensor:
    """Round ``x [..., k]`` as ``MatMulNBits`` does at accuracy level 4; floats, not bytes.

    Source: MLAS, ``QuantizeARow_CompInt8``.
    """
    import torch

    width = x.shape[-1]
    padded = torch.nn.functional.pad(x, (0, -width % BLOCK))
    blocks = padded.reshape(*padded.shape[:-1], padded.shape[-1] // BLOCK, BLOCK)
    peak = blocks.abs().amax(dim=-1, keepdim=True)
    inverse = torch.where(peak > 0, 127 / peak, 0.0)
    numbers = (blocks * inverse + moved).round()
    return (numbers * (peak / 127)).reshape(padded.shape)[..., :width]


_ACTIVATIONS = {"int8": tokens_to_uint8, "int4": blocks_to_int8}
