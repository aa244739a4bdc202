"""A LoRA under the names of a model's layers, where it was trained under others.

On a model without its head every name lacks the backbone's; and on a model whose
projections are layers of their own, several of them are one layer here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from beamgen.lora.slots import Floats, Lora, Slot, leaf

#: By the name of a layer, those whose outputs it gives one after the other, see
#: ``DecoderAdapter.fused``.
Fused = Mapping[str, Sequence[str]]

Pair = tuple[Floats, Floats]


def aligned(lora: Lora, layers: Sequence[Slot], fused: Fused) -> Lora:
    """The same change of the same outputs, on the layers that there are.

    Args:
        lora: with names of any model's layers.
        layers: those that may be changed.
        fused: which of them are several in other models.

    Returns:
        What belongs to no layer keeps its name, for ``misfits`` to tell.
    """
    by_name = {layer.module: layer for layer in layers}
    prefix = _prefix(lora, by_name, fused)
    kept: dict[str, Pair] = {}
    parts: dict[str, dict[str, Pair]] = {}
    for module, pair in lora.weights.items():
        layer = _layer_of(prefix + module, by_name, fused)
        if layer is None or layer == prefix + module:
            kept[layer or module] = pair
        else:
            parts.setdefault(layer, {})[module] = pair
    for layer, pairs in parts.items():
        sizes = _sizes(by_name[layer], {leaf(m): b for m, (_, b) in pairs.items()}, fused)
        kept |= pairs if sizes is None or layer in kept else {layer: _joined(pairs, sizes)}
    return replace(lora, weights=kept)


def _prefix(lora: Lora, layers: Mapping[str, Slot], fused: Fused) -> str:
    """What a LoRA's names lack of those of the most layers; nothing where that is as good."""
    backbones = sorted({f"{name.partition('.')[0]}." for name in layers if "." in name})
    return max(
        ["", *backbones],
        key=lambda prefix: sum(
            _layer_of(prefix + module, layers, fused) is not None for module in lora.weights
        ),
    )


def _layer_of(module: str, layers: Mapping[str, Slot], fused: Fused) -> str | None:
    """The layer of that name, or the one that holds it as a part."""
    if module in layers:
        return module
    parent = module.removesuffix(leaf(module))
    holders = (parent + whole for whole, parts in fused.items() if leaf(module) in parts)
    return next((holder for holder in holders if holder in layers), None)


def _sizes(whole: Slot, outputs: Mapping[str, Floats], fused: Fused) -> dict[str, int] | None:
    """How many outputs each part of a layer has, in order: all but the first have as many.

    Args:
        whole: the layer.
        outputs: B ``[r, N]`` of the parts that a LoRA changes.
        fused: see ``Fused``.

    Returns:
        None where that contradicts the sizes there are.
    """
    first, *others = fused[leaf(whole.module)]
    known = {part: b.shape[1] for part, b in outputs.items()}
    size = next((known[part] for part in others if part in known), None)
    if size is None:
        size = (whole.out_features - known[first]) // len(others)
    sizes = {first: whole.out_features - size * len(others), **dict.fromkeys(others, size)}
    fits = min(sizes.values()) > 0 and all(sizes[part] == n for part, n in known.items())
    return sizes if fits and sum(sizes.values()) == whole.out_features else None


def _joined(pairs: Mapping[str, Pair], sizes: Mapping[str, int]) -> Pair:
    """A's side by side ``[K, ranks]``, B's each in its own rows and columns ``[ranks, N]``."""
    by_part = {leaf(module): pair for module, pair in pairs.items()}
    ordered = [part for part in sizes if part in by_part]
    a = np.concatenate([by_part[part][0] for part in ordered], axis=1)
    b = np.zeros((a.shape[1], sum(sizes.values())), np.float32)
    starts = dict(zip(sizes, np.cumsum([0, *sizes.values()]), strict=False))
    rank = 0
    for part in ordered:
        own = by_part[part][1]
        b[rank : rank + len(own), starts[part] : starts[part] + sizes[part]] = own
        rank += len(own)
    return a, b
