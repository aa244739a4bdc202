"""The LoRAs of a package, as its graph is fed them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from beamgen.errors import LoraError
from beamgen.lora.adapter_file import read_adapter
from beamgen.lora.fit import check_fits
from beamgen.lora.slots import Floats, Lora, Slot
from beamgen.package.folder import Package

#: A LoRA's name for all prompts, or one for each; None is the base model.
LoraChoice = str | Sequence[str | None] | None


class LoadedLoras:
    """Reads a LoRA when it is first asked for, and again when its file has changed."""

    def __init__(self, package: Package) -> None:
        """None is read yet."""
        self._package = package
        self._read: dict[str, tuple[int, Lora]] = {}  # with the time it was written, in ns

    def feeds(self, lora: LoraChoice, rows: int) -> dict[str, Floats]:
        """What the graph's slots are fed, by input name; rank 0 where nothing changes.

        Args:
            lora: the name of one for all rows, or a list of one for each.
            rows: B.

        Raises:
            LoraError: there is no such LoRA, its file is damaged or does not fit, or
                the package takes one for all rows.
        """
        manifest = self._package.manifest
        names = _names(lora, rows)
        loras = [None if name is None else self._lora(name) for name in names]
        if len(names) > 1 and manifest.backend == "contrib":
            raise LoraError(
                "a contrib package takes one LoRA for all prompts of a batch",
                "generate for each LoRA in a call of its own, or export with --search loop",
            )
        feeds: dict[str, Floats] = {}
        for slot in manifest.lora_slots:
            feeds |= dict(zip(slot.inputs, fill(slot, loras), strict=True))
        return feeds

    def _lora(self, name: str) -> Lora:
        path = self._package.lora_path(name)
        written = path.stat().st_mtime_ns
        if name not in self._read or self._read[name][0] != written:
            lora = read_adapter(path)
            check_fits(lora, self._package.manifest.lora_slots)
            self._read[name] = written, lora
        return self._read[name][1]


def _names(lora: LoraChoice, rows: int) -> list[str | None]:
    """One name for all rows, or one for each where they differ."""
    names = [lora] if lora is None or isinstance(lora, str) else lora
    if not isinstance(names, list | tuple | np.ndarray) or not all(
        name is None or isinstance(name, str) for name in names
    ):
        raise LoraError(
            f"lora {lora!r} is neither a name nor a list of names", "see Generator.loras"
        )
    if names is lora and len(names) != rows:
        raise LoraError(f"{len(names)} LoRAs were given for {rows} prompts", "give one for each")
    return list(names) if len(set(names)) > 1 else [names[0]]


def fill(slot: Slot, loras: Sequence[Lora | None]) -> tuple[Floats, Floats]:
    """A ``[rows, K, r]`` and B ``[rows, r, N]``, ranks filled up with zeros to the largest.

    One LoRA for all rows is not copied.
    """
    pairs = [None if lora is None else lora.weights.get(slot.module) for lora in loras]
    rank = max((pair[0].shape[1] for pair in pairs if pair is not None), default=0)
    if not rank:
        return slot.empty()
    if len(pairs) == 1 and pairs[0] is not None:
        return pairs[0][0][None], pairs[0][1][None]
    a = np.zeros((len(pairs), slot.in_features, rank), np.float32)
    b = np.zeros((len(pairs), rank, slot.out_features), np.float32)
    for row, pair in enumerate(pairs):
        if pair is not None:
            own = pair[0].shape[1]
            a[row, :, :own], b[row, :own] = pair
    return a, b
