"""What a config.json says that no file can be made of, found before transformers is imported."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from beamgen.checkpoint.quantization import check_quantization
from beamgen.errors import CheckpointError


def check_stored(source: str, config: Mapping[str, Any], folder: Path) -> None:
    """Refuse a model by a field of its config.

    Args:
        source: what the user named.
        config: its ``config.json``.
        folder: where that lies.

    Raises:
        CheckpointError: heads were taken out of it, or its weights cannot be read.
    """
    check_quantization(source, config, folder)
    pruned = config.get("pruned_heads")
    if pruned:
        raise CheckpointError(
            f"{source} had attention heads pruned (pruned_heads in config.json names layers "
            f"{', '.join(map(str, pruned))}), so that its layers differ in shape",
            "export the checkpoint from before the pruning",
        )
