"""Which linear layers of a model get a slot."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from beamgen.errors import LoraError, close_matches
from beamgen.lora.fit import misfits, refusal
from beamgen.lora.slots import Lora, Slot, leaf

if TYPE_CHECKING:
    from transformers import PreTrainedModel

#: peft's word for every linear layer but the output head.
ALL_LINEAR = "all-linear"


def find_slots(model: PreTrainedModel, targets: Sequence[str]) -> tuple[Slot, ...]:
    """The linear layers that ``targets`` name.

    Args:
        model: HF model, before an adapter prepares it.
        targets: ``all-linear``, and names as peft's ``target_modules`` has them: a
            layer's whole path, or the end of it (``c_attn``, ``self_attn.q_proj``).

    Raises:
        LoraError: a target is no linear layer of the model, or there are no targets.

    Source: ``peft.tuners.tuners_utils.check_target_module_exists`` and
    ``_maybe_include_all_linear_layers``.
    """
    linear = {slot.module: slot for slot in linear_layers(model)}
    head = model.get_output_embeddings()
    names = {name for name, module in model.named_modules() if module is not head}
    chosen: set[str] = set()
    for target in targets:
        if target == ALL_LINEAR:
            chosen |= linear.keys() & names
            continue
        found = {module for module in linear if module == target or module.endswith(f".{target}")}
        if not found:
            leaves = sorted(set(map(leaf, linear)))
            raise LoraError(
                f"'{target}' is no linear layer of {type(model).__name__}",
                close_matches(target, leaves) or f"there are {', '.join(leaves)}",
            )
        chosen |= found
    if not chosen:
        raise LoraError("no slots were named", f"name layers, or {ALL_LINEAR}")
    return tuple(slot for module, slot in linear.items() if module in chosen)


def check_layers(model: PreTrainedModel, lora: Lora) -> None:
    """Hold a LoRA against a model's linear layers.

    Raises:
        LoraError: names the first tensors that do not fit.
    """
    problems = misfits(lora, linear_layers(model), "has no linear layer in the model")
    if problems:
        raise refusal(
            f"{lora.source} does not fit {type(model).__name__}",
            problems,
            "take the LoRA that was trained on this base model",
        )


def linear_layers(model: PreTrainedModel) -> list[Slot]:
    """Every linear layer of a model, the output head included."""
    import torch
    from transformers.pytorch_utils import Conv1D

    slots = []
    for name, module in model.named_modules():
        if isinstance(module, torch.nn.Linear):
            slots.append(Slot(name, module.in_features, module.out_features))
        elif isinstance(module, Conv1D):
            slots.append(Slot(name, *module.weight.shape))
    return slots
