"""The places of a graph that take a LoRA, and what goes into them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import asdict, dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]

A, B = "lora_A.weight", "lora_B.weight"

#: Of ONNX Runtime's files of LoRA weights.
ADAPTER_SUFFIX = ".onnx_adapter"


@dataclass(frozen=True)
class Slot:
    """A linear layer to which a graph adds ``(x A) B``.

    Attributes:
        module: the layer's path in the HF model, e.g. ``transformer.h.0.attn.c_attn``.
        in_features: K of ``A [rows, K, r]``; rows is 1, or one LoRA for each row of a
            batch. r is free, and 0 by default.
        out_features: N of ``B [rows, r, N]``.
        shared: whether rows is 1 in any batch, as of an expert, which is fed the tokens of
            all rows together.
    """

    module: str
    in_features: int
    out_features: int
    shared: bool = False

    def __post_init__(self) -> None:
        """Refuse sizes that no layer can have.

        Raises:
            ValueError: a size that is no positive whole number.
        """
        for size in (self.in_features, self.out_features):
            if not isinstance(size, int) or size < 1:
                raise ValueError(f"{self.module} has a slot of size {size!r}")

    @property
    def inputs(self) -> tuple[str, str]:
        """The graph's names for A and B, which are peft's without its prefix."""
        return f"{self.module}.{A}", f"{self.module}.{B}"

    def to_json(self) -> dict[str, str | int]:
        """The fields that a manifest has; ``shared`` where it is so."""
        return {name: value for name, value in asdict(self).items() if value is not False}

    def empty(self) -> tuple[Floats, Floats]:
        """A and B of rank 0, with which the layer is the base model's."""
        shapes = (1, self.in_features, 0), (1, 0, self.out_features)
        return np.zeros(shapes[0], np.float32), np.zeros(shapes[1], np.float32)


@dataclass(frozen=True)
class Lora:
    """The weights of one LoRA, transposed and scaled as slots take them.

    Attributes:
        source: the folder or file it was read from.
        weights: by module, A ``[K, r]`` and B ``[r, N]``, into which the scaling went.
        base: the checkpoint that it says it was trained on, or None.
    """

    source: str
    weights: Mapping[str, tuple[Floats, Floats]]
    base: str | None = None

    @property
    def ranks(self) -> list[int]:
        """The ranks that occur in a LoRA, in order."""
        return sorted({a.shape[1] for a, _ in self.weights.values()})

    @property
    def targets(self) -> dict[str, int]:
        """How many layers a LoRA changes, by the last part of their names."""
        return dict(sorted(Counter(map(leaf, self.weights)).items()))

    def tensors(self) -> dict[str, Floats]:
        """The tensors by the graph's input names, ``[1, K, r]`` and ``[1, r, N]``."""
        return {
            f"{module}.{part}": np.ascontiguousarray(tensor[None], np.float32)
            for module, pair in self.weights.items()
            for part, tensor in zip((A, B), pair, strict=True)
        }


def path_ends(modules: Iterable[str], others: Collection[str]) -> list[str]:
    """The shortest ends of some layers' paths that no path of ``others`` has."""
    found = set()
    for module in modules:
        parts = module.split(".")
        ends = (".".join(parts[-count:]) for count in range(1, len(parts) + 1))
        found.add(next(e for e in ends if not any(f".{o}".endswith(f".{e}") for o in others)))
    return sorted(found)


def leaf(module: str) -> str:
    """The last part of a module's path, by which targets are named."""
    return module.rpartition(".")[2]
