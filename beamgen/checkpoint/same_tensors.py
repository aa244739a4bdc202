"""A loaded model is held against its files: each of its tensors is what they store.

transformers warns of what it does not read, makes up what it does not find, and ties what a
config says is tied. A model that is compared with itself shows none of that.
"""

from __future__ import annotations

import math
import os
import re
from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from beamgen.checkpoint.places import Places
from beamgen.errors import CheckpointError

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

_SHOWN = 5
#: Elements that are compared at once, to need no second copy of a large tensor.
_AT_ONCE = 2**20


def check_tensors(
    model: PreTrainedModel,
    stored: Iterable[tuple[str, torch.Tensor]],
    source: str,
    ignored: Collection[str] = (),
) -> None:
    """Refuse a model that is not what its files store.

    Args:
        model: as it was loaded, in float32.
        stored: name and tensor, as the files have them.
        source: the checkpoint, for messages.
        ignored: patterns of stored tensors that may stay unread.

    Raises:
        CheckpointError: a tensor holds what is no finite number; or differs from the stored one;
            or one that is stored is not read; or one that the model has is not stored.
    """
    found = _compare(model, stored)
    _refuse_not_finite(found, source)
    unread = [name for name in found.unread if not _may_stay_unread(model, name, ignored)]
    differing = [name for name in found.differing if not matches(name, ignored)]
    if unread:
        raise CheckpointError(
            f"{source} stores {_listed(unread)}, which {type(model).__name__} does not read",
            "correct config.json (has it fewer layers?); or, if they mean nothing, export with "
            + " ".join(f"--ignore-unread '{pattern}'" for pattern in _patterns(unread)),
        )
    if differing:
        tied = [name for name in differing if name in found.tied]
        if tied:
            raise CheckpointError(
                f"{source} stores {_listed(tied)}, which is not the embedding that config.json "
                "ties it to",
                'put "tie_word_embeddings": false into config.json to use what is stored, or '
                f"export with --ignore-unread '{tied[0]}' to use the embedding",
            )
        raise CheckpointError(
            f"{source} was loaded with other values than it stores: {_listed(differing)}",
            "save it again with save_pretrained of the transformers that is installed",
        )
    if found.missing:
        raise CheckpointError(
            f"{source} lacks weights of {type(model).__name__}: {_listed(found.missing)}",
            "is this the checkpoint of a model with a language-modelling head?",
        )


@dataclass
class _Found:
    """Names of tensors, by what is wrong with them; those that are tied to another, besides."""

    unread: list[str] = field(default_factory=list)
    differing: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    not_finite: dict[str, int] = field(default_factory=dict)
    tied: set[str] = field(default_factory=set)


def _compare(model: PreTrainedModel, stored: Iterable[tuple[str, torch.Tensor]]) -> _Found:
    found = _Found()
    weights = {**dict(model.named_parameters(remove_duplicate=False)), **_buffers(model, True)}
    computed = _buffers(model, False)
    places, sharing = Places(model), Counter(tensor.data_ptr() for tensor in weights.values())
    read: Counter[int] = Counter()
    for name, tensor in stored:
        place = places.find(name, weights)
        if place is None:
            if not _is_computed(places, name, tensor, computed):
                found.unread.append(name)
            continue
        whole, loaded = weights[place[0]].data_ptr(), place[1]
        if loaded.is_meta:
            continue  # tied to what is missing
        read[whole] += loaded.numel()
        equal, not_finite = _same(tensor, loaded)
        if not equal:
            found.differing.append(name)
            if sharing[whole] > 1:
                found.tied.add(name)
        if not_finite:
            found.not_finite[name] = not_finite
    found.missing = [
        name
        for name, tensor in weights.items()
        if read[tensor.data_ptr()] < tensor.numel() and not _is_made(model, name)
    ]
    return found


def _is_made(model: PreTrainedModel, name: str) -> bool:
    """Whether the class makes a tensor where none is stored, and says so.

    Tables of sinusoidal positions, which it does not save, and biases that begin as zeros.
    """
    may_miss = getattr(model, "_keys_to_ignore_on_load_missing", None) or ()
    unsaved = getattr(model, "_keys_to_ignore_on_save", None) or ()
    declared = any(re.search(pattern, name) for pattern in may_miss)
    return declared and (name in unsaved or name in dict(model.named_buffers()))


def _buffers(model: PreTrainedModel, persistent: bool) -> dict[str, torch.Tensor]:
    """What a model keeps besides its parameters: stored with it, or computed from its config."""
    kept = model.state_dict().keys()
    buffers = model.named_buffers(remove_duplicate=False)
    return {name: tensor for name, tensor in buffers if (name in kept) is persistent}


def _is_computed(
    places: Places, name: str, tensor: torch.Tensor, computed: dict[str, torch.Tensor]
) -> bool:
    """Whether a tensor is one that the model computes itself, as masks and frequencies are.

    Frequencies were once stored for each layer, and are the model's now.
    """
    import torch

    if name.endswith(".masked_bias") and tensor.dim() == 0:  # what old models filled masks with
        return True
    target = next((other for other in places.names(name) if other in computed), None)
    if target is None and name.endswith("rotary_emb.inv_freq"):
        target = next((other for other in computed if other.endswith("rotary_emb.inv_freq")), None)
    if target is None:
        return False
    own = computed[target]
    if not own.is_floating_point() or own.dim() == 0:  # a causal mask, or the number it fills in
        return True
    precision = torch.finfo(tensor.dtype if tensor.is_floating_point() else own.dtype).eps
    return own.shape == tensor.shape and torch.allclose(
        own.double(), tensor.double(), rtol=8 * precision, atol=0
    )


def _same(stored: torch.Tensor, loaded: torch.Tensor) -> tuple[bool, int]:
    """Whether a tensor was loaded as it is stored, and how many of its values are not finite."""
    import torch

    if stored.shape != loaded.shape:
        return False, 0
    equal, not_finite = True, 0
    flat_stored, flat_loaded = stored.reshape(-1), loaded.detach().reshape(-1)
    for start in range(0, stored.numel(), _AT_ONCE):
        part = slice(start, start + _AT_ONCE)
        theirs, ours = flat_stored[part].to(loaded.dtype), flat_loaded[part]
        if not ours.is_floating_point() or all(math.isfinite(end) for end in ours.aminmax()):
            equal = equal and torch.equal(theirs, ours)
        else:
            finite = ours.isfinite()
            not_finite += int(ours.numel() - finite.sum())
            equal = equal and bool(((theirs == ours) | ~finite).all())
    return equal, not_finite


def _refuse_not_finite(found: _Found, source: str) -> None:
    if found.not_finite:
        name, count = next(iter(found.not_finite.items()))
        others = len(found.not_finite) - 1
        more = f", and {others} more tensors do" if others else ""
        raise CheckpointError(
            f"{source}: {name} holds {count} values that are no finite numbers{more}",
            "its training failed, or the file is damaged: use an earlier checkpoint",
        )


def _may_stay_unread(model: PreTrainedModel, name: str, ignored: Collection[str]) -> bool:
    """Whether a user says so, or transformers' own class, by regular expressions."""
    declared = getattr(model, "_keys_to_ignore_on_load_unexpected", None) or ()
    # they begin with whole words: attn.bias is a mask, and c_attn.bias a weight
    return matches(name, ignored) or any(
        re.search(rf"(?:^|\.)(?:{pattern})", name) for pattern in declared
    )


def matches(name: str, patterns: Collection[str]) -> bool:
    """Whether a name is one of those that ``*`` and ``?`` may stand in."""
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def _patterns(names: list[str]) -> list[str]:
    """What matches these names: one pattern for each module that all of it may belong to."""
    modules: dict[str, list[str]] = {}
    for name in names:
        modules.setdefault(name.split(".")[0], []).append(name)
    return [
        found[0] if len(found) == 1 else os.path.commonprefix(found) + "*"  # noqa: RUF071
        for found in modules.values()
    ]


def _listed(names: list[str]) -> str:
    more = f" ({len(names)} in all)" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more
