"""HF's model with a package's rounding, which gives what a quantized file has to answer.

Each rounded parameter gets the values that the stored numbers stand for. What a product
rounds as it runs, its input, is rounded in a hook before HF's layer, by the file's rule; in two
planes at the product itself, of which a part is left out.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

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

#: What a product's input is rounded to, and what of that its second plane stands for, if any.
Round = Callable[["torch.Tensor"], tuple["torch.Tensor", "torch.Tensor | None"]]


@dataclass
class Border:
    """How far what is rounded is moved before, in steps from one number to the next.

    By a little, as float arithmetic does: what lies at the border of two numbers falls to the
    other side.
    """

    moved: float = 0.0


@dataclass(frozen=True)
class Reader:
    """A module that reads rounded parameters of its own.

    Attributes:
        module: HF's.
        by_row: the name that it has for each of them, and whether each row of it, along the last
            axis, has scales of its own; otherwise each column.
        multiplies: whether it multiplies its input with them; a table is only looked up.
        precision: what they are stored in.
    """

    module: torch.nn.Module
    by_row: Mapping[str, bool]
    multiplies: bool
    precision: str

    @property
    def stacks(self) -> list[torch.Tensor]:
        """Those of its parameters that are stacks of matrices ``[E, ., .]``."""
        own = (self.module.get_parameter(name) for name in self.by_row)
        return [weight for weight in own if weight.dim() == 3]


def readers(model: PreTrainedModel, precision: Precision) -> list[Reader]:
    """The modules of a model that read what a package rounded, tied parameters more than once.

    One that reads parameters of two precisions is there for each.

    Raises:
        CheckpointError: the model lacks a parameter that the package rounded.
    """
    import torch
    from transformers.pytorch_utils import Conv1D

    parameters = dict(model.named_parameters())
    names = {name.removesuffix(COLUMNS): name for name in precision.quantized}
    _check_present(parameters, names)
    columns = {id(parameters[name]): full.endswith(COLUMNS) for name, full in names.items()}
    stored = {id(parameters[name]): precision.of(full) for name, full in names.items()}
    found = []
    for module in model.modules():
        multiplies = not isinstance(module, torch.nn.Embedding)
        by_row: dict[str, dict[str, bool]] = {}
        for name, weight in module._parameters.items():
            if id(weight) in columns:
                rows = not (isinstance(module, Conv1D) or columns[id(weight)])
                by_row.setdefault(stored[id(weight)], {})[name] = rows
        found += [Reader(module, own, multiplies, kind) for kind, own in by_row.items()]
    return found


def _check_present(parameters: Collection[str], names: Iterable[str]) -> None:
    """Refuse a model that lacks a parameter of these names."""
    missing = [name for name in names if name not in parameters]
    if not missing:
        return
    if missing[0].rpartition(".")[0] in parameters:
        raise CheckpointError(
            f"the package rounded {missing[0]}, which the transformers that is installed keeps "
            "in one tensor with others and does not round alone",
            "export in fp32, or in an environment with transformers 4.57",
        )
    raise CheckpointError(
        f"the checkpoint has no parameter {missing[0]}, which the package rounded",
        "compare with the checkpoint that the package was exported from",
    )


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

    if precision.name == "fp32":
        return model
    border = border or Border()
    done: set[int] = set()
    seconds: dict[int, torch.Tensor] | None = {} if precision.name == "w16" else None
    for reader in readers(model, precision):
        for name, by_row in reader.by_row.items():
            weight = reader.module.get_parameter(name)
            if id(weight) not in done:
                done.add(id(weight))
                whole, second = _planes(weight, reader.precision, by_row)
                with torch.no_grad():
                    weight.copy_(whole)
                if seconds is not None and second is not None:
                    seconds[id(weight)] = second
        if precision.activations is not None:
            round_inputs(reader, partial(_rounded_input, reader.precision, border), seconds)
    return model


def rounded(weight: torch.Tensor, precision: str, by_row: bool) -> torch.Tensor:
    """What the stored numbers of a matrix, or of each of a stack, stand for.

    Args:
        weight: ``[n, k]`` or ``[E, n, k]``; ``k`` before ``n`` where not ``by_row``.
        precision: ``w16``, ``fp16``, ``int8`` or ``int4``.
        by_row: see ``Reader``.
    """
    return _planes(weight, precision, by_row)[0]


def _planes(
    weight: torch.Tensor, precision: str, by_row: bool
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """What the stored numbers stand for, and those of the second plane alone, if there is one."""
    import torch

    values = weight.detach() if by_row else weight.detach().mT
    rows = values.reshape(-1, values.shape[-1]).cpu().numpy()

    def placed(found: Floats) -> torch.Tensor:
        shaped = torch.from_numpy(found).reshape(values.shape).to(weight.device)
        return shaped if by_row else shaped.mT.contiguous()

    if precision == "w16":
        first, second = from_int8_planes(rows)
        return placed(first + second), placed(second)
    return placed(_WEIGHTS[precision](rows)), None


def round_inputs(
    reader: Reader, rounding: Round, seconds: Mapping[int, torch.Tensor] | None = None
) -> None:
    """Let a module round what it multiplies with its rounded parameters, from now on.

    Args:
        reader: the module.
        rounding: of what it multiplies with them.
        seconds: of weights in two planes what the second stands for, by the weights' ids.
    """
    if not reader.multiplies:
        return
    if reader.stacks or seconds is not None:
        from beamgen.quantization.operands import round_operands

        own = [reader.module.get_parameter(name) for name in reader.by_row]
        round_operands(reader.module, reader.stacks or own, rounding, seconds or {})
    else:
        reader.module.register_forward_pre_hook(partial(_round_input, rounding))


def _round_input(
    rounding: Round, _: torch.nn.Module, given: tuple[torch.Tensor, ...]
) -> tuple[torch.Tensor, ...]:
    """Round what a layer is fed: a forward pre-hook of torch."""
    x, *rest = given
    return (rounding(x)[0], *rest)


def _rounded_input(
    precision: str, border: Border, x: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor | None]:
    if precision == "w16":
        first, second = tokens_to_planes(x, border.moved)
        return first + second, second
    return ACTIVATIONS[precision](x, border.moved), None


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


_WEIGHTS = {"fp16": from_float16, "int8": from_int8_rows, "int4": from_int4_blocks}
#: How a product's input is rounded as it runs, to one plane.
ACTIVATIONS = {"int8": tokens_to_uint8, "int4": blocks_to_int8}
