"""Where a model keeps the tensors that its files store: under other names, or within larger ones.

transformers 5 puts the experts of a layer into one tensor when it loads a checkpoint, and files
keep a tensor for each.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from beamgen.errors import CheckpointError

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

#: Names that transformers itself still reads by older ones.
_LEGACY = (("LayerNorm.gamma", "LayerNorm.weight"), ("LayerNorm.beta", "LayerNorm.bias"))
_STACKED, _JOINED = "MergeModulelist", "Concatenate"


class Places:
    """Finds, in a model's tensors, what is to hold a stored one."""

    def __init__(self, model: PreTrainedModel) -> None:
        """Ask transformers what it calls otherwise, or puts together.

        Source: ``get_model_conversion_mapping`` of transformers 5; 4.57 has a few old names.
        """
        self._model = model
        self._renamings: list[Any] = []
        self._converters: list[Any] = []
        try:
            from transformers.conversion_mapping import get_model_conversion_mapping
        except ImportError:
            return
        for transform in get_model_conversion_mapping(model):
            joins = hasattr(transform, "operations")
            (self._converters if joins else self._renamings).append(transform)

    def find(self, name: str, weights: dict[str, torch.Tensor]) -> tuple[str, torch.Tensor] | None:
        """The tensor that holds a stored one, by name, and the part that does; None: there is none.

        Args:
            name: of the stored tensor.
            weights: the model's tensors.

        Raises:
            CheckpointError: transformers makes it of what is stored, in a way unknown here.
        """
        target = next((other for other in self.names(name) if other in weights), None)
        if target is not None:
            return target, weights[target]
        renamed = self._renamed(name)
        for converter in self._converters:
            joined, pattern = converter.rename_source_key(renamed)
            if pattern is None:
                continue
            target = next((other for other in self._prefixed(joined) if other in weights), None)
            if target is None:
                return None
            part = _part(weights[target], converter, pattern, renamed)
            return None if part is None else (target, part)
        return None

    def names(self, name: str) -> Iterator[str]:
        """What a stored tensor may be called in the model, the likeliest first.

        Source: ``PreTrainedModel._get_key_renaming_mapping``: a backbone may be stored alone.
        """
        for old, new in _LEGACY:
            name = name.replace(old, new)
        for given in dict.fromkeys((self._renamed(name), name)):
            yield from self._prefixed(given)

    def _renamed(self, name: str) -> str:
        known = getattr(self._model, "_checkpoint_conversion_mapping", None) or {}
        for pattern, new in known.items():
            name = re.sub(pattern, new, name)
        for renaming in self._renamings:
            name, _ = renaming.rename_source_key(name)
        return name

    def _prefixed(self, name: str) -> tuple[str, str, str]:
        prefix = f"{self._model.base_model_prefix}."
        return name, prefix + name, name.removeprefix(prefix)


def _part(whole: torch.Tensor, converter: Any, pattern: str, name: str) -> torch.Tensor | None:
    """The part of a tensor that one stored tensor is; None where the model has too few of them.

    What transformers joins in the order of its patterns is halved again, and of what it stacks
    by the number in a name that one is taken.
    """
    kinds = [type(operation).__name__ for operation in converter.operations]
    sources: Sequence[str] = converter.source_patterns
    number = re.search(pattern.replace("*", r"(\d+)"), name)
    if not set(kinds) <= {_STACKED, _JOINED} or (_STACKED in kinds and number is None):
        raise CheckpointError(
            f"transformers makes a tensor of the stored {name} by {', '.join(kinds)}, which is not "
            "compared with what is stored",
            "load it with transformers and save it with save_original_format=False",
        )
    for operation in reversed(converter.operations):
        if type(operation).__name__ == _JOINED:
            whole = whole.chunk(len(sources), operation.dim)[sources.index(pattern)]
        else:
            assert number is not None, "that was looked at"
            if int(number[1]) >= whole.shape[operation.dim]:
                return None
            whole = whole.select(operation.dim, int(number[1]))
    return whole
