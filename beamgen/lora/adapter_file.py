"""``.onnx_adapter`` files: ONNX Runtime's format for tensors that are fed by name.

Source: ``onnxruntime.AdapterFormat``, ``LoraAdapter`` (``onnxruntime/lora``). Files of
``olive convert-adapters`` are read too, whose tensors have two axes and may carry
peft's prefix.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from beamgen.errors import LoraError
from beamgen.lora.pairs import PairedTensors, split_name
from beamgen.lora.slots import ADAPTER_SUFFIX, A, B, Lora

_VERSION = 1
_CONVERT = "beamgen lora convert PEFT_DIR -m PACKAGE --force"


def write_adapter(lora: Lora, path: Path) -> None:
    """Write a LoRA under the names that a graph with slots takes."""
    from onnxruntime import AdapterFormat, OrtValue

    values = {name: OrtValue.ortvalue_from_numpy(tensor) for name, tensor in lora.tensors().items()}
    file = AdapterFormat()
    file.set_adapter_version(_VERSION)
    file.set_model_version(_VERSION)
    file.set_parameters(values)
    path.touch()  # an error of the system, where ONNX Runtime's would say little
    file.export_adapter(str(path))


def read_adapter(path: Path) -> Lora:
    """Read a file that ``write_adapter`` or Olive wrote.

    Raises:
        LoraError: missing, damaged, or not the A's and B's of a LoRA.
    """
    from onnxruntime import AdapterFormat

    if not path.is_file():
        raise LoraError(f"there is no file {path}", "check the path")
    try:
        file = AdapterFormat.read_adapter(str(path))
        # the values are views of the file's memory
        tensors = {name: np.array(v.numpy()) for name, v in file.get_parameters().items()}
    except Exception as error:  # ONNX Runtime raises types of its own
        raise LoraError(
            f"{path} is no {ADAPTER_SUFFIX} file, or damaged",
            f"write it again: {_CONVERT}",
        ) from error
    pairs = PairedTensors()
    for name, tensor in sorted(tensors.items()):
        module, part = split_name(name)
        if part is None:
            pairs.problems.append(_unknown(name))
            continue
        one = tensor[0] if tensor.ndim == 3 and len(tensor) == 1 else tensor
        pairs.add(module, part, one.astype(np.float32))
    weights = pairs.pairs()
    pairs.check(str(path), f"convert the LoRA anew: {_CONVERT}")
    return Lora(str(path), weights)


def _unknown(name: str) -> str:
    """What keeps a tensor from being taken."""
    if ".quant." in name:
        return f"{name} is quantized (olive --quantize_int4), slots take float32"
    if ".MatMul." in name or ".attn." in name:
        return f"{name} is named for onnxruntime-genai's model builder, not for peft's layers"
    return f"{name} is no {A} or {B}"
