"""The folder of one bench: which checkpoint it is about, and the files made of it."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from beamgen.bench.floor import Reading
from beamgen.bench.workload import Task, Workload

_FILE = "bench-workspace.json"


@dataclass(frozen=True)
class Features:
    """What an encoder reads that is no text.

    Attributes:
        name: of its input, which is HF's, e.g. ``input_features``.
        shape: of one row.
        positions: that the encoder makes of it, the prompt tokens of every workload.
    """

    name: str
    shape: tuple[int, ...]
    positions: int


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
        max_positions: prompt + new tokens at most; behind an encoder new tokens and one.
        source_positions: prompt tokens at most that an encoder reads; None: any number, or
            there is no encoder.
        decoder_prompt: the tokens that a decoder behind an encoder begins with; none without one.
        features: what an encoder reads that reads no tokens, or None.
        parameters: of the model.
        reading: what of it a search reads in float32.
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
    source_positions: int | None
    decoder_prompt: tuple[int, ...]
    features: Features | None
    parameters: int
    reading: Reading

    @property
    def has_encoder(self) -> bool:
        """Whether prompts are what an encoder reads."""
        return bool(self.decoder_prompt)

    def prompt(self, task: Task, run: int) -> Any:
        """What every contestant reads in a run: ids, int64 ``[B, S]``, or float32 features."""
        if self.features is not None:
            return task.features(run, self.features.shape)
        return task.prompt(run, self.vocab_size, self.special_ids)

    def is_too_short_for(self, work: Workload) -> bool:
        """Whether the model has fewer positions than a workload takes."""
        if not self.has_encoder:
            return work.prompt_tokens + work.new_tokens > self.max_positions
        read = self.source_positions or work.prompt_tokens
        written = len(self.decoder_prompt) + work.new_tokens
        return work.prompt_tokens > read or written > self.max_positions

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
        names = ("special_ids", "ignore_unread", "decoder_prompt")
        parts: dict[str, Any] = {name: tuple(values[name]) for name in names}
        parts["reading"] = Reading(**values["reading"])
        if (heard := values["features"]) is not None:
            parts["features"] = Features(**{**heard, "shape": tuple(heard["shape"])})
        return cls(**{**values, **paths, **parts})


def size_of(path: Path) -> int:
    """Bytes of a file, or of all files in a folder."""
    if path.is_file():
        return path.stat().st_size
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
