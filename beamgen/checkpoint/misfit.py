"""Why weights did not load, in a line that names the tensors and both their sizes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING

from beamgen.checkpoint.files import CONFIG
from beamgen.checkpoint.places import Places
from beamgen.errors import CheckpointError

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

_Shape = tuple[int, ...]

_SHOWN = 3
_AGAIN = (
    "download or save the checkpoint again; it must load with AutoModelForCausalLM.from_pretrained"
)


def load_error(
    source: str,
    tensors: Iterable[tuple[str, torch.Tensor]],
    empty: PreTrainedModel,
    reason: str,
    cure: str = _AGAIN,
) -> CheckpointError:
    """The error to raise where transformers could not load a checkpoint.

    Args:
        source: what the user named.
        tensors: name and tensor, as its files have them.
        empty: the architecture that its config describes.
        reason: what transformers says, which seldom is what is wrong.
        cure: what to do where the files do not say more than that.
    """
    try:
        stored = {name: tuple(tensor.shape) for name, tensor in tensors}
    except Exception:  # the file itself is damaged, which transformers says well
        stored = {}
    weights = empty.state_dict()
    held = list(_held(stored, weights, Places(empty)))
    prefix = f"{empty.base_model_prefix}."
    if stored and not any(each.target.startswith(prefix) for each in held):
        return CheckpointError(
            f"{source} holds no layer of {type(empty).__name__}, only "
            f"{', '.join(sorted(stored)[:_SHOWN])} ({len(stored)} in all)",
            "pass the folder with all weights, as save_pretrained writes it",
        )
    other = sorted((each for each in held if each.stored != each.wanted), key=lambda e: e.name)
    if not other:
        torn = _torn(held, weights)
        lacking = f"{source} holds a part only of {', '.join(torn[:_SHOWN])} ({len(torn)} in all)"
        return CheckpointError(lacking if torn else reason, cure)
    listed = "; ".join(
        f"{each.name} is {list(each.stored)} in the file and {list(each.wanted)} by {CONFIG}"
        for each in other[:_SHOWN]
    )
    more = f"; and {len(other) - _SHOWN} more" if len(other) > _SHOWN else ""
    return CheckpointError(f"{source}: {listed}{more}", _cure(empty, other))


@dataclass(frozen=True)
class _Held:
    """A stored tensor that the model has a place for.

    Attributes:
        name: the model's; the file's, of a part of one.
        target: the model's tensor.
        stored: its shape in the file.
        wanted: the shape that the model takes.
    """

    name: str
    target: str
    stored: _Shape
    wanted: _Shape


def _held(
    stored: dict[str, _Shape], weights: dict[str, torch.Tensor], places: Places
) -> Iterator[_Held]:
    for name, shape in stored.items():
        try:
            place = places.find(name, weights)
        except CheckpointError:  # what is told where nothing else is wrong
            continue
        if place is not None:
            target, part = place
            whole = part is weights[target]
            yield _Held(target if whole else name, target, shape, tuple(part.shape))


def _torn(held: Iterable[_Held], weights: dict[str, torch.Tensor]) -> list[str]:
    """The model's tensors of which some parts are stored, and not all."""
    found: Counter[str] = Counter()
    for each in held:
        found[each.target] += prod(each.wanted)
    return [name for name, count in found.items() if count < weights[name].numel()]


def _cure(empty: PreTrainedModel, other: list[_Held]) -> str:
    """Correct the vocabulary, if it is all that is wrong."""
    vocab_size = empty.config.get_text_config().vocab_size
    rows = {size for each in other for size in each.stored[:1] or (None,)}
    if len(rows) == 1 and all(each.wanted[:1] == (vocab_size,) for each in other):
        size = rows.pop()
        if size is not None:  # a tensor that is one number has no rows
            return f"correct vocab_size in {CONFIG} to {size}, if the weights are the right ones"
    return f"take the {CONFIG} that belongs to these weights"
