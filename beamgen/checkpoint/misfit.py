"""Why weights did not load, in a line that names the tensors and both their sizes."""

from __future__ import annotations

from collections.abc import Iterable
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
    found = _fits(stored, weights, Places(empty))
    prefix = f"{empty.base_model_prefix}."
    if stored and not any(name.startswith(prefix) for name in found):
        return CheckpointError(
            f"{source} holds no layer of {type(empty).__name__}, only "
            f"{', '.join(sorted(stored)[:_SHOWN])} ({len(stored)} in all)",
            "pass the folder with all weights, as save_pretrained writes it",
        )
    other = {name: shapes for name, shapes in found.items() if shapes[0] != shapes[1]}
    if not other:
        return CheckpointError(reason, cure)
    listed = "; ".join(
        f"{name} is {list(shape)} in the file and {list(wanted)} by {CONFIG}"
        for name, (shape, wanted) in sorted(other.items())[:_SHOWN]
    )
    more = f"; and {len(other) - _SHOWN} more" if len(other) > _SHOWN else ""
    return CheckpointError(f"{source}: {listed}{more}", _cure(empty, other))


def _fits(
    stored: dict[str, _Shape], weights: dict[str, torch.Tensor], places: Places
) -> dict[str, tuple[_Shape, _Shape]]:
    """By the model's name of each tensor that it has: the stored shape, and the one it takes.

    A part of one is called as the file calls it.
    """
    found = {}
    for name, shape in stored.items():
        try:
            place = places.find(name, weights)
        except CheckpointError:  # what is told where nothing else is wrong
            continue
        if place is not None:
            target, part = place
            whole = part is weights[target]
            found[target if whole else name] = (shape, tuple(part.shape))
    return found


def _cure(empty: PreTrainedModel, other: dict[str, tuple[_Shape, _Shape]]) -> str:
    """Correct the vocabulary, if it is all that is wrong."""
    vocab_size = empty.config.get_text_config().vocab_size
    rows = {size for shape, _ in other.values() for size in shape[:1] or (None,)}
    if len(rows) == 1 and all(wanted[:1] == (vocab_size,) for _, wanted in other.values()):
        size = rows.pop()
        if size is not None:  # a tensor that is one number has no rows
            return f"correct vocab_size in {CONFIG} to {size}, if the weights are the right ones"
    return f"take the {CONFIG} that belongs to these weights"
