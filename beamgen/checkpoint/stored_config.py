"""What a checkpoint's JSON says that no file can be made of, before transformers is imported."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath, PureWindowsPath
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
        CheckpointError: heads were taken out of it, its weights cannot be read or lie
            elsewhere, or a field is of another kind than what transformers writes.
    """
    _check_kinds(source, config)
    check_quantization(source, config, folder)
    _check_shards(source, config, folder)
    pruned = config.get("pruned_heads")
    if pruned:
        raise CheckpointError(
            f"{source} had attention heads pruned (pruned_heads in config.json names layers "
            f"{', '.join(map(str, pruned))}), so that its layers differ in shape",
            "export the checkpoint from before the pruning",
        )


def _check_shards(source: str, config: Mapping[str, Any], folder: Path) -> None:
    """Refuse files of weights that do not lie in the checkpoint's folder, or below it.

    A link may lead out of it, as those of the hub's cache do.
    """
    for where, name in _named_files(config, folder):
        kinds = (PurePosixPath(name), PureWindowsPath(name))
        if any(path.anchor or ".." in path.parts for path in kinds):
            raise CheckpointError(
                f"{where} of {source} names {name!r:.200}, which lies outside of the checkpoint",
                "put that file beside it and its name alone in there, or download the checkpoint "
                "again",
            )


def _named_files(config: Mapping[str, Any], folder: Path) -> Iterator[tuple[str, str]]:
    """What is to be read as weights, and where that is said."""
    named = config.get("transformers_weights")
    if isinstance(named, str):
        yield "config.json", named
    for path in sorted(folder.glob("*.index.json")):
        with contextlib.suppress(OSError, ValueError, RecursionError, LookupError, TypeError):
            shards = json.loads(path.read_text(encoding="utf-8"))["weight_map"]
            names = {name for name in dict(shards).values() if isinstance(name, str)}
            yield from ((path.name, name) for name in sorted(names))


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
