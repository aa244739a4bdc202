"""The rules by which Triton refuses a model, applied to a parsed ``config.pbtxt``.

The rules are those of triton-inference-server/core and onnxruntime_backend, r24.10 to r26.06.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from beamgen.formats.triton.config import BACKEND, TYPES, Ported
from beamgen.formats.triton.ports import Ports


def broken_rules(config: Any, folder_name: str, ports: Ports) -> list[str]:
    """The reasons for which Triton would not load a model; empty where it would.

    Args:
        config: ``inference.ModelConfig``, as Triton's own protobuf reads the file.
        folder_name: of the model.
        ports: of the ONNX file.
    """
    return [
        *_model(config, folder_name),
        *_shapes(config),
        *_batch_inputs(config),
        *_inputs(config, ports.inputs, ports.defaults),
        *_outputs(config, ports.outputs),
    ]


def _model(config: Any, folder_name: str) -> Iterator[str]:
    """Source: core ``model_config_utils.cc`` ``ValidateModelConfig``."""
    if config.name != folder_name:
        yield f"the model is called {config.name!r} in a folder {folder_name!r}"
    if config.backend != BACKEND:
        yield f"the backend is {config.backend!r}"
    if config.max_batch_size < 0:
        yield "'max_batch_size' must be non-negative"
    preferred = config.dynamic_batching.preferred_batch_size
    if any(not 0 < size <= config.max_batch_size for size in preferred):
        yield "dynamic batching preferred size must be positive, at most max batch size"


def _shapes(config: Any) -> Iterator[str]:
    """Source: core ``model_config_utils.cc`` ``ValidateIOShape``."""
    for io in (*config.input, *config.output):
        if not io.name or not io.data_type or not io.dims:
            yield f"{io.name!r} must specify 'name', 'data_type' and 'dims'"
        sizes = (*io.dims, *io.reshape.shape)
        if any(size < 1 and size != -1 for size in sizes):
            yield f"{io.name!r} dimension must be integer >= 1, or -1"
        if not io.HasField("reshape"):
            continue
        if not io.reshape.shape and config.max_batch_size == 0:
            yield f"{io.name!r} cannot have empty reshape for non-batching model"
        if _runs(io.dims) != _runs(io.reshape.shape):
            yield f"{io.name!r} has different size for dims and reshape"


def _runs(dims: Iterable[int]) -> list[int]:
    """Elements between the axes of any size."""
    runs = [1]
    for size in dims:
        if size == -1:
            runs.append(1)
        else:
            runs[-1] *= size
    return runs


def _batch_inputs(config: Any) -> Iterator[str]:
    """Source: core ``model_config_utils.cc`` ``ValidateBatchIO``."""
    names = {io.name for io in config.input}
    for batch_input in config.batch_input:
        kind = batch_input.Kind.Name(batch_input.kind)
        if len(batch_input.source_input) != 1:
            yield f"batch input kind '{kind}' expects 1 source input"
        if batch_input.data_type not in (_code(config, "TYPE_INT32"), _code(config, "TYPE_FP32")):
            yield "batch input data type must be TYPE_INT32 or TYPE_FP32"
        for name in set(batch_input.source_input) - names:
            yield f"unknown source input name '{name}'"


def _inputs(
    config: Any, inputs: Mapping[str, Ported], defaults: Mapping[str, Ported]
) -> Iterator[str]:
    """Source: onnxruntime_backend ``onnxruntime.cc`` ``ModelInstanceState::ValidateInputs``."""
    expected = sum(not io.optional for io in config.input) + len(config.batch_input)
    if expected != len(inputs):
        yield f"configuration expects {expected} inputs, model provides {len(inputs)}"
    known = {**inputs, **defaults}
    for name in (name for given in config.batch_input for name in given.target_name):
        if name not in inputs:
            yield f"unexpected inference input '{name}'"
    for io in config.input:
        if io.optional and config.max_batch_size:
            yield f"optional input '{io.name}' is not supported for models that support batching"
        if io.name not in known:
            yield f"unexpected inference input '{io.name}'"
            continue
        dtype, shape = known[io.name]
        yield from _type(config, io, dtype)
        if not io.allow_ragged_batch:
            yield from _dims(config, io, shape, exact=False)
        elif io.optional or shape != (-1,):
            yield f"ragged input '{io.name}' has to be [-1] in the model, which has {shape}"


def _outputs(config: Any, outputs: Mapping[str, Ported]) -> Iterator[str]:
    """Source: onnxruntime_backend ``onnxruntime.cc`` ``ModelInstanceState::ValidateOutputs``."""
    for io in config.output:
        if io.name not in outputs:
            yield f"unexpected inference output '{io.name}'"
            continue
        dtype, shape = outputs[io.name]
        yield from _type(config, io, dtype)
        yield from _dims(config, io, shape, exact=True)


def _type(config: Any, io: Any, dtype: str) -> Iterator[str]:
    wanted = TYPES.get(dtype, "TYPE_INVALID")
    if io.data_type != _code(config, wanted):
        yield f"'{io.name}' is {wanted} in the model"


def _dims(config: Any, io: Any, shape: Sequence[int], *, exact: bool) -> Iterator[str]:
    """Source: onnxruntime_backend ``onnxruntime_utils.cc`` ``CompareDimsSupported``."""
    dims = tuple(io.reshape.shape if io.HasField("reshape") else io.dims)
    if config.max_batch_size:
        if not shape or shape[0] != -1:
            yield f"'{io.name}': the first dimension must be -1 to support batching"
            return
        dims = (-1, *dims)
    fits = len(dims) == len(shape) and all(
        has == asked or (has == -1 and not exact) for has, asked in zip(shape, dims, strict=True)
    )
    if not fits:
        yield f"'{io.name}': the model expects {tuple(shape)}, the configuration specifies {dims}"


def _code(config: Any, name: str) -> int:
    """The number of a type in Triton's protobuf."""
    types = config.DESCRIPTOR.file.enum_types_by_name["DataType"]
    return int(types.values_by_name[name].number)
