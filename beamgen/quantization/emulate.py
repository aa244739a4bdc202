"""HF's model with a package's rounding: what a quantized file has to answer.

Each rounded parameter gets the values that the stored numbers stand for. What a product
rounds as it runs, its input, is rounded in a hook before HF's layer, by the rule of
ONNX Runtime's operator.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from beamgen.errors import CheckpointError
from beamgen.quantization.precision import Precision
from beamgen.quantization.rounding import BLOCK, from_float16, from_int4_blocks, from_int8_rows

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

_ATTENTION = "beamgen_zeros"
_STEPS = "_beamgen_steps"
_WEIGHTS = {"fp16": from_float16, "int8": from_int8_rows, "int4": from_int4_blocks}


def emulate(model: PreTrainedModel, precision: Precision) -> PreTrainedModel:
    """Round a pristine fp32 model, in place, as a package's precision says.

    Activations of padding are rounded together with those of text, so HF has to compute
    them as the file does, see ``_blind_places_get_zeros``.

    Raises:
        CheckpointError: the model lacks a parameter that the package rounded.
    """
    import torch
    from transformers import AttentionInterface
    from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS, sdpa_mask
    from transformers.pytorch_utils import Conv1D

    if precision.name == "fp32":
        return model
    if precision.activations is not None:
        AttentionInterface.register(_ATTENTION, _blind_places_get_zeros)
        ALL_MASK_ATTENTION_FUNCTIONS.register(_ATTENTION, sdpa_mask)
        model.set_attn_implementation(_ATTENTION)
    parameters = dict(model.named_parameters())
    missing = [name for name in precision.quantized if name not in parameters]
    if missing:
        raise CheckpointError(
            f"the checkpoint has no parameter {missing[0]}, which the package rounded",
            "compare with the checkpoint that the package was exported from",
        )
    steps = _Steps()
    setattr(model, _STEPS, steps)
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
            head = module is model.get_output_embeddings()
            module.register_forward_pre_hook(_Activations(precision.name, steps, head))
    return model


@dataclass
class _Steps:
    """Which places of a sequence the file computes in one step.

    Attributes:
        prompt_len: the first so many together, each later one alone; None: all together.
    """

    prompt_len: int | None = None


@contextmanager
def prompt_then_steps(model: PreTrainedModel, prompt_len: int) -> Iterator[None]:
    """Teacher forcing in one pass rounds as a search does: its prompt, then token by token.

    A search rounds the tokens of all its beams and rows together; this is one alone.
    Without effect on a model that is not emulated.
    """
    steps = getattr(model, _STEPS, None)
    if steps is None:
        yield
        return
    steps.prompt_len = prompt_len
    try:
        yield
    finally:
        steps.prompt_len = None


@dataclass(frozen=True)
class _Activations:
    """A forward pre-hook that rounds what a layer is given.

    Attributes:
        precision: ``int8`` or ``int4``.
        steps: shared by all layers.
        head: whether this is the output head, which the file asks for the last place of
            a step alone.
    """

    precision: str
    steps: _Steps
    head: bool

    def __call__(self, _: Any, given: tuple[Any, ...]) -> tuple[Any, ...]:
        """``torch.nn.Module.register_forward_pre_hook``; x is ``[B, N, hidden]``."""
        import torch

        x, *rest = given
        if self.precision == "int4":
            return (blocks_to_int8(x), *rest)
        length = x.shape[1]
        together = length if self.steps.prompt_len is None else self.steps.prompt_len
        sizes = [1] * length if self.head else [together, *[1] * (length - together)]
        parts = [whole_to_uint8(part) for part in x.split(sizes, dim=1)]
        return (torch.cat(parts, dim=1), *rest)


def _blind_places_get_zeros(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    **options: Any,
) -> tuple[torch.Tensor, None]:
    """HF's ``sdpa`` attention, but for places that may attend to nothing: padding.

    ONNX Runtime's ``Attention`` gives zeros there; HF's models differ.
    """
    import torch
    from transformers.integrations.sdpa_attention import sdpa_attention_forward

    attended, _ = sdpa_attention_forward(module, query, key, value, attention_mask, **options)
    if attention_mask is not None:  # [B, 1, N, keys]; attended [B, N, H, D]
        shut = torch.finfo(torch.float32).min
        seen = attention_mask if attention_mask.dtype == torch.bool else attention_mask > shut
        attended = attended * seen.any(dim=-1).transpose(1, 2)[..., None]
    return attended, None


def whole_to_uint8(x: torch.Tensor) -> torch.Tensor:
    """``x`` as ``DynamicQuantizeLinear`` rounds it, in floats again.

    Source: ONNX operator ``DynamicQuantizeLinear``; ONNX Runtime's ``GetQuantizationParameter``.
    """
    low, high = x.min().clamp(max=0), x.max().clamp(min=0)
    scale = (high - low) / 255
    if not scale:
        return x
    zero = (-low / scale).round().clamp(0, 255)
    numbers = ((x / scale).round() + zero).clamp(0, 255)
    return (numbers - zero) * scale


def blocks_to_int8(x: torch.Tensor) -> torch.Tensor:
    """``x [..., k]`` as ``MatMulNBits`` rounds it at accuracy level 4, in floats again.

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
