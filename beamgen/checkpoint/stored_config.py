"""What a config.json says that no file can be made of, found before transformers is imported."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from beamgen.checkpoint.quantization import check_quantization
from beamgen.errors import CheckpointError

#: More than any model has; transformers makes something for each before anybody can ask.
_MOST = {
    "num_labels": 1_000_000,
    "num_hidden_layers": 10_000,
    "num_layers": 10_000,
    "n_layer": 10_000,
}


def check_stored(source: str, config: Mapping[str, Any], folder: Path) -> None:
    """Refuse a model by a field of its config.

    Args:
        source: what the user named.
        config: its ``config.json``.
        folder: where that lies.

    Raises:
        CheckpointError: heads were taken out of it, its weights cannot be read, or a field is
            of another kind than what transformers writes.
    """
    _check_kinds(source, config)
    check_quantization(source, config, folder)
    pruned = config.get("pruned_heads")
    if pruned:
        raise CheckpointError(
            f"{source} had attention heads pruned (pruned_heads in config.json names layers "
            f"{', '.join(map(str, pruned))}), so that its layers differ in shape",
            "export the checkpoint from before the pruning",
        )


def _check_kinds(source: str, config: Mapping[str, Any]) -> None:
    kinds = {"architectures": list, "pruned_heads": dict | list}
    wrong = [name for name, kind in kinds.items() if not isinstance(config.get(name) or [], kind)]
    counts = {name: config.get(name) for name in _MOST}
    wrong += [name for name, n in counts.items() if isinstance(n, int) and n > _MOST[name]]
    if wrong:
        name = wrong[0]
        raise CheckpointError(
            f"{name} in the config.json of {source} is {config[name]!r:.60}",
            "correct it, or download the checkpoint again",
        )
