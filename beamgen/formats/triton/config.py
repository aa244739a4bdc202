"""``config.pbtxt``, by which Triton knows a model: as values, and as text.

Source: ``ModelConfig`` in triton-inference-server/common, ``protobuf/model_config.proto``.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

#: Triton's names of the types that a file has, by ONNX's.
TYPES = {"int64": "TYPE_INT64", "int32": "TYPE_INT32", "float": "TYPE_FP32"}

#: Of an input or output of a file: ONNX's type and shape, in which -1 is any size.
Ported = tuple[str, tuple[int, ...]]

#: The backend, which ``config.pbtxt`` names.
BACKEND = "onnxruntime"


@dataclass(frozen=True)
class Tensor:
    """An input or output of a model, as a request has it.

    Attributes:
        name: of the file's input or output.
        data_type: Triton's.
        dims: without the batch axis where Triton makes batches; -1 is any size.
        scalar: a request gives ``[batch, 1]`` of what the file takes as ``[batch]``.
        optional: a request may leave it out.
        ragged: requests of one batch may differ in it.
        about: one line.
    """

    name: str
    data_type: str
    dims: tuple[int, ...]
    scalar: bool = False
    optional: bool = False
    ragged: bool = False
    about: str = ""


@dataclass(frozen=True)
class ModelConfig:
    """All that is written into ``config.pbtxt``.

    Attributes:
        name: of the model, which is its folder's.
        about: what the model is, a comment.
        max_batch_size: rows of one run at most; 0: requests are never joined.
        inputs: what a request gives.
        outputs: what it gets.
        lengths: the file's input that gets the size of the ragged one, or None.
    """

    name: str
    about: str
    max_batch_size: int
    inputs: Sequence[Tensor]
    outputs: Sequence[Tensor]
    lengths: str | None = None


def tensor(
    name: str, ported: Ported, *, batched: bool, optional: bool = False, about: str = ""
) -> Tensor:
    """A tensor of a file, as a request has it.

    Args:
        name: the file's.
        ported: the file's type and shape.
        batched: whether Triton makes batches, and leaves the first axis out.
        optional: it has a default.
        about: one line.
    """
    dtype, shape = ported
    dims = shape[1:] if batched else shape
    return Tensor(name, TYPES[dtype], dims or (1,), not dims, optional, about=about)


def to_text(config: ModelConfig) -> str:
    """The file, with comments for whoever edits it."""
    ragged = [value.name for value in config.inputs if value.ragged]
    return "\n".join(
        [
            *(f"# {line}" for line in config.about.splitlines()),
            f"name: {json.dumps(config.name)}",
            f'backend: "{BACKEND}"',
            *_batching(config.max_batch_size),
            *_tensors("input", config.inputs),
            *(_lengths(config.lengths, ragged[0]) if config.lengths else ()),
            *_tensors("output", config.outputs),
            *_RUNNING,
            "",
        ]
    )


def _batching(max_batch_size: int) -> list[str]:
    if not max_batch_size:
        return ["# A request is one run, whatever its batch: optional inputs need that.",
                "max_batch_size: 0"]  # fmt: skip
    return [
        "# Rows of one run at most; those of requests that wait are joined.",
        f"max_batch_size: {max_batch_size}",
        "dynamic_batching {",
        "  # A run takes long beside this; requests that come meanwhile wait for the next.",
        "  max_queue_delay_microseconds: 0",
        "}",
    ]


def _tensors(kind: str, tensors: Iterable[Tensor]) -> list[str]:
    lines = []
    for value in tensors:
        lines += [
            f"{kind} {{",
            *([f"  # {value.about}"] if value.about else []),
            f'  name: "{value.name}"',
            f"  data_type: {value.data_type}",
            f"  dims: [ {', '.join(map(str, value.dims))} ]",
            *(["  reshape { shape: [ ] }"] if value.scalar else []),
            *(["  optional: true"] if value.optional else []),
            *(["  allow_ragged_batch: true"] if value.ragged else []),
            "}",
        ]
    return lines


def _lengths(name: str, source: str) -> list[str]:
    return [
        "# Triton fills it in: how long each row of the ragged input is.",
        "batch_input {",
        "  kind: BATCH_ITEM_SHAPE",
        f'  target_name: "{name}"',
        "  data_type: TYPE_INT32",
        f'  source_input: "{source}"',
        "}",
    ]


_RUNNING = (
    "# Each instance loads the weights once more.",
    "instance_group { count: 1 kind: KIND_CPU }",
    "version_policy { latest { num_versions: 1 } }",
    "# Threads of one operator; 0: one per core.",
    'parameters { key: "intra_op_thread_count" value { string_value: "0" } }',
)
