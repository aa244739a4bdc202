"""Why weights did not load, in a line that names the tensors and both their sizes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from beamgen.checkpoint.files import CONFIG
from beamgen.errors import CheckpointError

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

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
    wanted = {name: tuple(tensor.shape) for name, tensor in empty.state_dict().items()}
    prefix = f"{empty.base_model_prefix}."
    found = {_inside(name, prefix, wanted): shape for name, shape in stored.items()}
    if stored and not any(name.startswith(prefix) for name in found.keys() & wanted.keys()):
        return CheckpointError(
            f"{source} holds no layer of {type(empty).__name__}, only "
            f"{', '.join(sorted(stored)[:_SHOWN])} ({len(stored)} in all)",
            "pass the folder with all weights, as save_pretrained writes it",
        )
    other = {n: s for n, s in found.items() if n in wanted and s != wanted[n]}
    if not other:
        return CheckpointError(reason, cure)
    listed = "; ".join(
        f"{name} is {list(shape)} in the file and {list(wanted[name])} by {CONFIG}"
        for name, shape in sorted(other.items())[:_SHOWN]
    )
    more = f"; and {len(other) - _SHOWN} more" if len(other) > _SHOWN else ""
    return CheckpointError(f"{source}: {listed}{more}", _cure(empty, other))


def _cure(empty: PreTrainedModel, other: dict[str, tuple[int, ...]]) -> str:
    """Correct the vocabulary, if it is all that is wrong."""
    vocab_size = empty.config.get_text_config().vocab_size
    wanted = empty.state_dict()
    rows = {shape[0] for shape in other.values()}
    if len(rows) == 1 and all(wanted[name].shape[0] == vocab_size for name in other):
        return f"correct vocab_size in {CONFIG} to {rows.pop()}, if the weights are the right ones"
    return f"take the {CONFIG} that belongs to these weights"


def _inside(name: str, prefix: str, wanted: dict[str, tuple[int, ...]]) -> str:
    """A tensor's name in the model; files of a model without its head leave the prefix out."""
    return prefix + name if name not in wanted and prefix + name in wanted else name
