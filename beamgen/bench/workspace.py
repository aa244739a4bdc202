"""The folder of one bench: which checkpoint it is about, and the files made of it."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

_FILE = "bench-workspace.json"


@dataclass(frozen=True)
class Workspace:
    """What the processes of a bench have to know of its model.

    Attributes:
        folder: holds one folder for each preparation.
        checkpoint: folder of the checkpoint.
        model: what the user called it.
        trust_remote_code: run Python code that comes with the checkpoint.
        ignore_unread: names of what of the checkpoint may stay unread.
        num_beams: K, which ONNX Runtime's operators have to know early.
        vocab_size: V.
        special_ids: what no prompt holds.
        max_positions: prompt + new tokens at most.
        parameters: of the model.
        weight_bytes: read in each step in float32 (``floor.bytes_per_step``).
        cache_bytes: of keys and values for one token in float32.
    """

    folder: Path
    checkpoint: Path
    model: str
    trust_remote_code: bool
    ignore_unread: tuple[str, ...]
    num_beams: int
    vocab_size: int
    special_ids: tuple[int, ...]
    max_positions: int
    parameters: int
    weight_bytes: int
    cache_bytes: int

    def files(self, preparation: str) -> Path:
        """Where a preparation's files are."""
        return self.folder / preparation

    def save(self) -> None:
        """Write it down for the processes, and for a bench to come."""
        values = {**asdict(self), "folder": ".", "checkpoint": str(self.checkpoint)}
        (self.folder / _FILE).write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> Workspace:
        """Read what ``save`` wrote.

        Raises:
            OSError, ValueError, TypeError: there is none that this version reads.
        """
        values: dict[str, Any] = json.loads((folder / _FILE).read_text(encoding="utf-8"))
        if set(values) != {field.name for field in fields(cls)}:
            raise ValueError(f"{folder / _FILE} is of another version")
        paths = {"folder": folder, "checkpoint": Path(values["checkpoint"])}
        lists = {name: tuple(values[name]) for name in ("special_ids", "ignore_unread")}
        return cls(**{**values, **paths, **lists})


def size_of(path: Path) -> int:
    """Bytes of a file, or of all files in a folder."""
    if path.is_file():
        return path.stat().st_size
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
