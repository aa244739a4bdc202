"""Weights that were stored in fewer bits, brought back by what is stored beside them.

Each is a product of a number from a table and a scale, all of which the file holds, so that
no library is needed and no processor gives another result.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from beamgen.checkpoint.quantization import FIELD
from beamgen.errors import CheckpointError

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

_STATE = ".quant_state.bitsandbytes__"
_SCALE = "_scale_inv"


def dequantized(
    stored: Iterable[tuple[str, torch.Tensor]],
    quantization: str,
    empty: PreTrainedModel,
    block: Sequence[int] = (0, 0),
) -> Iterator[tuple[str, torch.Tensor]]:
    """A checkpoint's tensors as a model takes them; those in fewer bits become float32.

    Args:
        stored: name and tensor, as the files have them.
        quantization: how, see ``quantization_of``.
        empty: the architecture, of which bitsandbytes stores a ``Conv1D`` transposed.
        block: rows and columns that share a scale, of fp8.

    Raises:
        CheckpointError: no tensor is stored so, or one in a form that is not known.
    """
    tensors = dict(stored)
    conv = _conv1d(empty)
    found = 0
    for name in [name for name in tensors if name.endswith(".weight")]:
        if quantization.startswith("bitsandbytes"):
            weight = _of_bitsandbytes(tensors, name)
            if weight is not None and any(path.endswith(f".{name}") for path in conv):
                weight = weight.T.contiguous()
        else:
            weight = _of_fp8(tensors, name, block)
        if weight is not None:
            tensors[name] = weight
            found += 1
    if not found:
        raise CheckpointError(
            f"config.json says that weights are stored by {quantization}, and none is",
            f"if they are plain ones, take {FIELD} out of config.json",
        )
    yield from tensors.items()


def _conv1d(empty: PreTrainedModel) -> list[str]:
    from transformers.pytorch_utils import Conv1D

    modules = empty.named_modules()
    return [f".{name}.weight" for name, module in modules if isinstance(module, Conv1D)]


def _of_bitsandbytes(tensors: dict[str, torch.Tensor], name: str) -> torch.Tensor | None:
    """A weight in 4 or 8 bits, and takes what belongs to it out of ``tensors``."""
    state = next((other for other in tensors if other.startswith(f"{name}{_STATE}")), None)
    if state is not None:
        parts = {n.removeprefix(f"{name}."): tensors.pop(n) for n in _parts(tensors, name)}
        return _four_bits(tensors[name], parts, parts[state.removeprefix(f"{name}.")])
    module = name.removesuffix(".weight")
    scales = tensors.pop(f"{module}.SCB", None)
    layout = tensors.pop(f"{module}.weight_format", None)
    if scales is None:
        return None
    if layout is not None and int(layout) != 0:
        raise CheckpointError(
            f"{name} is stored in the order of a kernel of bitsandbytes, not by rows",
            "save the checkpoint again with bitsandbytes 0.43 or newer",
        )
    # bitsandbytes.functional.int8_vectorwise_dequant
    weight: torch.Tensor = tensors[name] * scales.float().view(-1, 1) * (1 / 127)
    return weight


def _parts(tensors: Mapping[str, torch.Tensor], name: str) -> list[str]:
    return [other for other in tensors if other.startswith(f"{name}.")]


def _four_bits(
    packed: torch.Tensor, parts: Mapping[str, torch.Tensor], state: torch.Tensor
) -> torch.Tensor:
    """Two numbers a byte, the first in its high half, each a place in a table of 16.

    Rounded to the dtype that the weight had, as bitsandbytes rounds it before each product.

    Args:
        packed: any dtype, whose bytes count.
        parts: ``absmax``, a scale for each block of weights, which may be a place in a table
            itself; and the tables.
        state: JSON as bytes.

    Source: ``bitsandbytes.functional.QuantState.from_dict`` and ``dequantize_4bit``.
    """
    import torch

    about = json.loads(bytes(state.tolist()))
    scales = parts["absmax"]
    if "nested_absmax" in parts:
        outer = parts["nested_absmax"].repeat_interleave(about["nested_blocksize"])
        scales = parts["nested_quant_map"][scales.long()] * outer[: len(scales)]
        scales = scales + about["nested_offset"]
    halves = packed.contiguous().view(torch.uint8).reshape(-1)
    places = torch.stack((halves >> 4, halves & 15), dim=1).reshape(-1)
    shape = torch.Size(about["shape"])
    values = parts["quant_map"][places.long()][: shape.numel()]
    values = values * scales.float().repeat_interleave(about["blocksize"])[: shape.numel()]
    return values.reshape(shape).to(getattr(torch, about["dtype"])).float()


def _of_fp8(
    tensors: dict[str, torch.Tensor], name: str, block: Sequence[int]
) -> torch.Tensor | None:
    """A weight in 8-bit floats ``[N, K]``, times a scale for each block of rows and columns.

    Source: ``transformers.integrations.finegrained_fp8.FP8Linear``.
    """
    scales = tensors.pop(f"{name}{_SCALE}", None)
    tensors.pop(f"{name.removesuffix('.weight')}.activation_scale", None)
    if scales is None and tensors[name].itemsize == 1:
        raise CheckpointError(
            f"{name} is stored in 8 bits, without the scales of its blocks ({name}{_SCALE})",
            "download or save the checkpoint again",
        )
    if scales is None:
        return None
    rows, columns = tensors[name].shape
    scales = scales.float().repeat_interleave(block[0], 0)[:rows]
    return tensors[name].float() * scales.repeat_interleave(block[1], 1)[:, :columns]
