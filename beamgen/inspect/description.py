"""What a description of a file says."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from beamgen.inspect.proof import Proof
from beamgen.package.json_values import without_nan


@dataclass(frozen=True)
class Port:
    """An input or output.

    Attributes:
        name: in the graph.
        dtype: e.g. ``int64``.
        shape: sizes, and names of dynamic axes; None where even the rank is unknown.
        meaning: one line, or ``""`` where the file says nothing.
        required: an input that has no default.
        default: as a nested list; a string tells the size of a large one.
    """

    name: str
    dtype: str
    shape: list[int | str | None] | None
    meaning: str
    required: bool = False
    default: Any = None


@dataclass(frozen=True)
class Function:
    """A model-local function.

    Attributes:
        name: ``domain::name``.
        nodes: in its body, subgraphs included.
        meaning: the first line of its doc string.
    """

    name: str
    nodes: int
    meaning: str


@dataclass(frozen=True)
class Provider:
    """An execution provider of the ONNX Runtime that is installed.

    Attributes:
        name: e.g. ``CPUExecutionProvider``.
        loads: whether it takes the file, with the CPU for what it leaves.
        nodes: how many nodes of the optimized graph it runs itself, by ONNX Runtime's
            account; None where the file does not load.
        all_nodes: how many there are.
        reason: why it does not load.
    """

    name: str
    loads: bool
    nodes: int | None = None
    all_nodes: int | None = None
    reason: str | None = None


@dataclass(frozen=True)
class Description:
    """Everything that is known of a file.

    Attributes:
        file: the ``.onnx`` file.
        bytes: of it and of its external data.
        external_data: names of its external data files and their bytes, None where missing.
        producer: name and version, as the file tells.
        ir_version: of ONNX.
        opsets: version by domain; ONNX's own domain is ``ai.onnx``.
        inputs: prompts and parameters; those of LoRA slots are counted only.
        lora_slots: linear layers that take a LoRA.
        outputs: in order.
        functions: the model-local ones.
        operators: nodes by domain and operator, in the graph, its subgraphs and the
            bodies of its functions.
        weights: bytes of all tensors that are stored, by dtype.
        format: for which program the graph was rewritten, or None: it is a package's own.
        provenance: fields of the manifest that the file carries, or None: not beamgen's.
        parity: the package's last verdict, or that of its export; None if there is none.
        proof: what that says of the transformers that is installed; None: not beamgen's.
        inexact: why this CPU answers otherwise than the one that proved the file; or None.
        changed: what is wrong with the package's files, against their hashes.
        loras: names of the LoRAs in the package.
        runtime: the version of ONNX Runtime that ``providers`` speaks of.
        providers: empty where they were not asked for.
    """

    file: Path
    bytes: int
    external_data: dict[str, int | None]
    producer: str
    ir_version: int
    opsets: dict[str, int]
    inputs: list[Port]
    lora_slots: int
    outputs: list[Port]
    functions: list[Function]
    operators: dict[str, dict[str, int]]
    weights: dict[str, int]
    format: str | None
    provenance: dict[str, Any] | None
    parity: dict[str, Any] | None
    proof: Proof | None
    inexact: str | None
    changed: str | None
    loras: list[str]
    runtime: str | None
    providers: list[Provider]

    def to_json(self) -> dict[str, Any]:
        """Plain values; a default that is no number is None, as JSON knows none."""
        values: dict[str, Any] = without_nan({**asdict(self), "file": str(self.file)})
        return values
