"""LoRAs of a package are read, and become what its graph is fed."""

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
        """Read none yet."""
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
        choices = _choices(lora, rows)
        loras = [None if name is None else self._lora(name) for name in choices]
        if len(choices) > 1 and manifest.backend == "contrib":
            raise LoraError(
                "a contrib package takes one LoRA for all prompts of a batch",
                "generate for each LoRA in a call of its own, or export with --search loop",
            )
        feeds: dict[str, Floats] = {}
        for slot in manifest.lora_slots:
            if len(loras) > 1 and slot.shared and any(_changes(each, slot) for each in loras):
                raise LoraError(
                    f"{slot.module} takes one LoRA for all prompts of a batch, because it is fed "
                    "the tokens of all together",
                    "generate for each LoRA in a call of its own, or train without that layer",
                )
            feeds |= dict(zip(slot.inputs, slot_tensors(slot, loras), strict=True))
        return feeds

    def _lora(self, name: str) -> Lora:
        path = self._package.lora_path(name)
        written = path.stat().st_mtime_ns
        if name not in self._read or self._read[name][0] != written:
            lora = read_adapter(path)
            check_fits(lora, self._package.manifest.lora_slots)
            self._read[name] = written, lora
        return self._read[name][1]


def _changes(lora: Lora | None, slot: Slot) -> bool:
    return lora is not None and slot.module in lora.weights


def _choices(lora: LoraChoice, rows: int) -> list[str | None]:
    """The name of one LoRA for all rows, or one for each where they differ."""
    choices = [lora] if lora is None or isinstance(lora, str) else lora
    if not isinstance(choices, list | tuple | np.ndarray) or not all(
        name is None or isinstance(name, str) for name in choices
    ):
        raise LoraError(
            f"lora {lora!r} is neither a name nor a list of names", "see Generator.loras"
        )
    if choices is lora and len(choices) != rows:
        raise LoraError(f"{len(choices)} LoRAs were given for {rows} prompts", "give one for each")
    return list(choices) if len(set(choices)) > 1 else [choices[0]]


def slot_tensors(slot: Slot, loras: Sequence[Lora | None]) -> tuple[Floats, Floats]:
    """The tensors of a slot: A ``[rows, K, r]`` and B ``[rows, r, N]``, of the largest rank.

    Smaller ranks are filled up with zeros; one LoRA for all rows is not copied.
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
