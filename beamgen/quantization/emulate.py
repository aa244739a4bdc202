"""HF's model with a package's rounding, which gives what a quantized file has to answer.

Each rounded parameter gets the values that the stored numbers stand for. What a product
rounds as it runs, its input, is rounded in a hook before HF's layer, by the file's rule; in two
planes at the product itself, of which a part is left out.
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
    FINER,
    STEP,
    Floats,
    from_float16,
    from_int4_blocks,
    from_int8_planes,
    from_int8_rows,
)

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel


#: What a weight's rows stand for, rounded, and what of that their second plane does, if any.
Planes = tuple[Floats, Floats | None]


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

    from beamgen.quantization.operands import round_operands

    if precision.name == "fp32":
        return model
    border = border or Border()
    rounding = partial(_round, precision.name, border)
    planes = partial(_planes, precision.name, border)
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
    seconds: dict[int, torch.Tensor] = {}
    for module in model.modules():
        own: list[Any] = [each for each in module._parameters.values() if id(each) in wanted]
        for weight in own:
            if id(weight) not in rounded:
                rounded.add(id(weight))
                by_row = not (isinstance(module, Conv1D) or wanted[id(weight)])
                second = _round_weight(weight, precision.name, by_row)
                if second is not None:
                    seconds[id(weight)] = second
        if not own or precision.activations is None or isinstance(module, torch.nn.Embedding):
            continue
        stacks = [weight for weight in own if weight.dim() == 3]
        if stacks or precision.name == "w16":
            round_operands(module, stacks or own, planes, seconds)
        else:
            module.register_forward_pre_hook(partial(_round_input, rounding))
    return model


def _round_weight(weight: torch.Tensor, precision: str, by_row: bool) -> torch.Tensor | None:
    """Round a matrix, or each of a stack, in place: each row has scales of its own, or column.

    Returns:
        What the second plane stands for, of the weight's shape; None where there is one plane.
    """
    import torch

    values = weight.detach() if by_row else weight.detach().mT
    rows = values.reshape(-1, values.shape[-1]).numpy()

    def placed(found: Floats) -> torch.Tensor:
        shaped = torch.from_numpy(found).reshape(values.shape)
        return shaped if by_row else shaped.mT

    found, second = _WEIGHTS[precision](rows)
    with torch.no_grad():
        weight.copy_(placed(found))
    return None if second is None else placed(second)


def _round_input(
    rounding: Callable[[torch.Tensor], torch.Tensor],
    _: torch.nn.Module,
    given: tuple[torch.Tensor, ...],
) -> tuple[torch.Tensor, ...]:
    """Round what a layer is fed: a forward pre-hook of torch."""
    x, *rest = given
    return (rounding(x), *rest)


def _round(precision: str, border: Border, x: torch.Tensor) -> torch.Tensor:
    return _planes(precision, border, x)[0]


def _planes(
    precision: str, border: Border, x: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Activations rounded, and what the second plane of that stands for, if there is one."""
    if precision == "w16":
        first, second = tokens_to_planes(x, border.moved)
        return first + second, second
    return _ACTIVATIONS[precision](x, border.moved), None


def tokens_to_uint8(x: torch.Tensor, moved: float = 0.0) -> torch.Tensor:
    """Round ``x [..., k]`` as ``RoundTokens`` of the file does; floats that the bytes stand for."""
    peaks = x.abs().amax(dim=-1, keepdim=True)
    return ((x / peaks).nan_to_num() / STEP + moved).round() * (STEP * peaks)


def tokens_to_planes(x: torch.Tensor, moved: float = 0.0) -> tuple[torch.Tensor, torch.Tensor]:
    """Round ``x [..., k]`` as ``RoundTokensToPlanes`` does; floats that the planes stand for."""
    steps = x.abs().amax(dim=-1, keepdim=True) * STEP
    shares = (x / steps).nan_to_num() + moved
    first = shares.round()
    second = ((shares - first) * FINER).round()
    return first * steps, second * (steps / FINER)


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


def _one_plane(rounding: Callable[[Floats], Floats]) -> Callable[[Floats], Planes]:
    return lambda rows: (rounding(rows), None)


def _two_planes(rows: Floats) -> Planes:
    first, second = from_int8_planes(rows)
    return first + second, second


_WEIGHTS = {
    "w16": _two_planes,
    "fp16": _one_plane(from_float16),
    "int8": _one_plane(from_int8_rows),
    "int4": _one_plane(from_int4_blocks),
}
_ACTIVATIONS = {"int8": tokens_to_uint8, "int4": blocks_to_int8}
