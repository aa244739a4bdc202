"""The manifest, ``beamgen.json``: what is in a package and where it came from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib import metadata
from typing import TYPE_CHECKING, Any

from beamgen.adapter import DecoderAdapter, PositionLimits
from beamgen.contrib_op import op_type
from beamgen.lora.slots import Slot
from beamgen.parameters import Parameter
from beamgen.quantization.precision import Precision
from beamgen.search_config import SearchConfig

if TYPE_CHECKING:
    import onnx_ir as ir

    from beamgen.checkpoint import Checkpoint

SCHEMA_VERSION = 1

#: Ways to search: HF's own, or ONNX Runtime's operators.
BACKENDS = ("loop", "contrib")

_VERSIONED = ("beamgen", "torch", "transformers", "optimum", "optimum-onnx", "onnx", "onnx-ir",
              "onnxscript", "onnxruntime")  # fmt: skip


@dataclass(frozen=True)
class Manifest:
    """``beamgen.json``: what is in the package and where it came from.

    Attributes:
        schema_version: of this file; a reader refuses every other.
        adapter: name of the architecture's adapter.
        backend: ``loop`` or ``contrib``.
        source: the checkpoint: ``kind``, ``model``, ``revision`` and stored ``dtype``.
        dtype: of the arithmetic outside of products, and of the cache.
        precision: how the weights are stored and multiplied, and what that costs.
        vocab_size: V.
        limits: how long a sequence may be.
        search: the defaults of the search parameters.
        inputs: one row per graph input, but for the slots': name, dtype, shape, default,
            meaning.
        outputs: one row per graph output: name, dtype, shape, meaning.
        versions: of the packages that took part in the export.
        lora_slots: the linear layers that take a LoRA; each has two inputs.
        loras: where each LoRA of ``adapters/`` was converted from, and its ``parity``.
        parity: the verdict of the last parity check, or None.
        files: SHA-256 and size in bytes of every other file of the package.
    """

    adapter: str
    backend: str
    source: dict[str, Any]
    dtype: str
    vocab_size: int
    limits: PositionLimits
    search: SearchConfig
    inputs: list[dict[str, Any]]
    outputs: list[dict[str, Any]]
    versions: dict[str, str]
    precision: Precision = field(default_factory=Precision)
    lora_slots: tuple[Slot, ...] = ()
    loras: dict[str, dict[str, Any]] = field(default_factory=dict)
    parity: dict[str, Any] | None = None
    files: dict[str, dict[str, Any]] = field(default_factory=dict)
    schema_version: int = SCHEMA_VERSION

    @property
    def operator(self) -> str | None:
        """Which of ONNX Runtime's operators a contrib package holds."""
        return op_type(self.search) if self.backend == "contrib" else None

    def to_json(self) -> dict[str, Any]:
        """As written to disk."""
        values = {**asdict(self), "search": self.search.to_json()}
        return {"schema_version": values.pop("schema_version"), **values}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Manifest:
        """Read what ``to_json`` wrote.

        Raises:
            ValueError: it names no backend, or its LoRAs and slots are no such things.
        """
        if values["backend"] not in BACKENDS:
            raise ValueError(f"no backend is called {values['backend']!r}")
        loras = values["loras"]
        if not isinstance(loras, dict) or not all(isinstance(a, dict) for a in loras.values()):
            raise ValueError("loras are no table by name")
        return cls(
            **{
                **values,
                "limits": PositionLimits(**values["limits"]),
                "search": SearchConfig.from_json(values["search"]),
                "precision": Precision.from_json(values["precision"]),
                "lora_slots": tuple(Slot(**slot) for slot in values["lora_slots"]),
            }
        )


def manifest_of(
    checkpoint: Checkpoint,
    adapter: DecoderAdapter,
    search: SearchConfig,
    backend: str,
    parameters: Sequence[Parameter],
    graph: ir.Model,
    slots: Sequence[Slot],
    precision: Precision,
) -> Manifest:
    """What ``beamgen.json`` says of a graph, before any parity check."""
    of_slots = {name for slot in slots for name in slot.inputs}
    meanings = {parameter.name: parameter.meaning for parameter in parameters}
    return Manifest(
        adapter=adapter.name,
        backend=backend,
        source={
            **checkpoint.origin,
            "revision": checkpoint.revision,
            "dtype": checkpoint.dtype,
            "lora": checkpoint.lora,
        },
        dtype="float32",
        vocab_size=checkpoint.vocab_size,
        limits=adapter.position_limits(checkpoint.config),
        search=search,
        inputs=[
            {
                **_row(value),
                "meaning": meanings.get(value.name or "", value.doc_string),
                "default": _default(value),
            }
            for value in graph.graph.inputs
            if value.name not in of_slots
        ],
        outputs=[{**_row(value), "meaning": value.doc_string} for value in graph.graph.outputs],
        versions={name: metadata.version(name) for name in _VERSIONED},
        precision=precision,
        lora_slots=tuple(slots),
    )


def _default(value: ir.Value) -> list[Any] | str | None:
    """None where there is no default; a mask over the vocabulary in words."""
    tensor = value.const_value
    if tensor is None:
        return None
    listed: list[Any] = tensor.numpy().tolist()
    return "1, and 0 at banned ids" if (value.name or "").endswith("vocab_mask") else listed


def _row(value: ir.Value) -> dict[str, Any]:
    return {
        "name": value.name,
        "dtype": str(value.dtype).lower(),
        "shape": [dim if isinstance(dim, int) else dim.value for dim in (value.shape or ())],
    }
