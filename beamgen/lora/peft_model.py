"""HF's model with a LoRA active in it, or merged into its weights, by peft."""

from __future__ import annotations

import contextlib
import logging
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from beamgen.errors import LoraError, MissingExtraError, one_line
from beamgen.lora.align import Fused, aligned
from beamgen.lora.peft_folder import (
    has_pefts_names,
    read_config,
    read_linear_parts,
    read_peft,
)
from beamgen.lora.targets import check_layers, linear_layers
from beamgen.lora.write_peft import write_peft

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel


def active(model: PreTrainedModel, folder: Path, fused: Fused) -> PreTrainedModel:
    """Let a model's layers add what peft's do; the model is changed in place.

    Args:
        model: the base model.
        folder: what peft's ``save_pretrained`` wrote.
        fused: layers that are several in other models, see ``DecoderAdapter.fused``.

    Raises:
        LoraError: damaged, or it does not fit the model; names the tensor.
        MissingExtraError: peft is not installed.
    """
    base: PreTrainedModel = _peft_model(model, folder, fused).get_base_model()
    return base


def merged(model: PreTrainedModel, folder: Path, fused: Fused) -> PreTrainedModel:
    """Add a LoRA to a model's weights; the model is changed in place.

    A weight that two modules share is copied first: a LoRA on the output head is not
    one on the embedding that it is tied to.

    Raises:
        LoraError, MissingExtraError: see ``active``; and what peft cannot merge.

    Source: ``peft.tuners.tuners_utils.BaseTuner.merge_and_unload``.
    """
    wrapped = _peft_model(model, folder, fused)
    if not hasattr(wrapped, "merge_and_unload"):
        kind = read_config(folder)["peft_type"]
        raise LoraError(f"{folder} holds {kind}, which cannot be merged", "merge a LoRA")
    _untie_targets(wrapped)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of tied weights, which are not tied any more
            whole: PreTrainedModel = wrapped.merge_and_unload(safe_merge=True)
    except Exception as error:  # each of peft's methods fails in its own way
        raise LoraError(
            f"peft cannot merge {folder}: {one_line(error)}", "train or convert it as plain LoRA"
        ) from error
    return whole


def check_peft_fits(model: PreTrainedModel, folder: Path, fused: Fused) -> None:
    """Name the tensor that does not fit, before peft says something longer.

    Args:
        model: the base model, with or without weights.
        folder: what peft's ``save_pretrained`` wrote.
        fused: see ``active``.

    Raises:
        LoraError: damaged, or made for other layers.
    """
    if _of_layers_alone(folder):
        parts = read_linear_parts(folder)
        check_layers(model, aligned(parts, linear_layers(model), fused))


def _of_layers_alone(folder: Path) -> bool:
    """Whether all A's and B's are of layers, none of ``target_parameters`` (experts')."""
    config = read_config(folder)
    return config["peft_type"] == "LORA" and not config.get("target_parameters")


@contextlib.contextmanager
def _under_the_models_names(model: PreTrainedModel, folder: Path, fused: Fused) -> Iterator[Path]:
    """A folder that peft reads as it is, or one that is written for this model's layers.

    Raises:
        LoraError: it is more than A and B, under other names.
    """
    if not _of_layers_alone(folder):
        yield folder
        return
    parts = read_linear_parts(folder)
    layers = linear_layers(model)
    inside = aligned(parts, layers, fused).weights.keys() == parts.weights.keys()
    if inside and has_pefts_names(folder, parts):
        yield folder
        return
    try:
        lora = aligned(read_peft(folder), layers, fused)
    except LoraError as error:
        raise LoraError(
            f"{error.cause}; and its tensors have other names than the layers of "
            f"{type(model).__name__}",
            "save it from the model that AutoModelForCausalLM loads",
        ) from error
    with tempfile.TemporaryDirectory(prefix="beamgen-lora-") as scratch:
        write_peft(lora, Path(scratch))
        yield Path(scratch)


def _import_peft() -> Any:
    """Import peft, and keep bitsandbytes from saying on some CPUs which kernel it misses."""
    logger = logging.getLogger("bitsandbytes")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        import peft
    except ImportError as error:
        raise MissingExtraError("loading a LoRA into a checkpoint", "export", "peft") from error
    finally:
        logger.setLevel(level)
    return peft


def _peft_model(model: PreTrainedModel, folder: Path, fused: Fused) -> Any:
    peft = _import_peft()
    check_peft_fits(model, folder, fused)
    try:
        with (
            _under_the_models_names(model, folder, fused) as named,
            warnings.catch_warnings(record=True) as warned,
        ):
            warnings.simplefilter("always")
            wrapped = peft.PeftModel.from_pretrained(model, str(named)).eval()
    except LoraError:
        raise
    except Exception as error:  # each mismatch fails in its own way
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        reason = " ".join(lines[:2])[:300] or type(error).__name__
        raise LoraError(
            f"peft cannot load {folder}: {reason}",
            "take the LoRA that was trained on this base model",
        ) from error
    for message in (str(warning.message) for warning in warned):
        if "missing adapter keys" in message:
            raise LoraError(
                f"{folder} lacks tensors: {message.splitlines()[0][:300]}",
                "save or download the LoRA again",
            )
    return wrapped


def _untie_targets(wrapped: Any) -> None:
    """Give layers that the LoRA changes weights of their own, where they shared them."""
    import torch
    from peft.tuners.tuners_utils import BaseTunerLayer

    users: dict[int, list[torch.nn.Module]] = {}
    for module in wrapped.modules():
        weight = module._parameters.get("weight")
        if weight is not None:
            users.setdefault(id(weight), []).append(module)
    for layer in wrapped.modules():
        if not isinstance(layer, BaseTunerLayer):
            continue
        base: Any = layer.get_base_layer()
        shared = base._parameters.get("weight")  # a tensor of experts has no such name
        if shared is not None and len(users[id(shared)]) > 1:
            own: torch.Tensor = base.weight.detach().clone()
            base.weight = torch.nn.Parameter(own, requires_grad=False)
