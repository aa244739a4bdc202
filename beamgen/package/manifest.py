"""The schema of ``beamgen.json``, and how it is written and read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from beamgen.adapter import KVGeometry, PositionLimits
from beamgen.lora.slots import Slot
from beamgen.package.manifest_fields import check_fields
from beamgen.quantization.record import Precision
from beamgen.seq2seq_adapter import TaskTokens
from beamgen.settings.config import SearchConfig
from beamgen.settings.contrib import operator_of
from beamgen.settings.rules import UNSAID, Rules, rules_named

SCHEMA_VERSION = 1

#: Ways to search: HF's own, or ONNX Runtime's operators.
BACKENDS = ("loop", "contrib")


@dataclass(frozen=True)
class Encoder:
    """What comes before the decoder of an encoder-decoder.

    Attributes:
        decoder_start_token_id: with which the decoder begins.
        max_positions: tokens of the longest source; None where any will do.
        prepends_start: whether the start token goes before decoder prompts that lack it.
        tasks: tokens of the decoder's prompt that ask for a language or a task, or None.
    """

    decoder_start_token_id: int
    max_positions: int | None = None
    prepends_start: bool = True
    tasks: TaskTokens | None = None

    def to_json(self) -> dict[str, Any]:
        """Plain values; what most have not is left out."""
        values = asdict(self)
        if self.prepends_start:
            del values["prepends_start"]
        if self.tasks is None:
            del values["tasks"]
        return values

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Encoder:
        """Read what ``to_json`` wrote."""
        tasks = values.get("tasks")
        if tasks is None:
            return cls(**values)
        forced = tuple(tasks["forced"])
        return cls(**{**values, "tasks": TaskTokens(**{**tasks, "forced": forced})})


@dataclass(frozen=True)
class Manifest:
    """``beamgen.json``: what is in the package and where it came from.

    Attributes:
        schema_version: of this file; a reader refuses every other.
        adapter: name of the architecture's adapter.
        backend: ``loop`` or ``contrib``.
        source: the checkpoint: ``kind``, ``model``, ``revision`` and stored ``dtype``.
        dtype: of the arithmetic outside of products, and of the cache.
        precision: how the weights are stored and multiplied, and what that costs.
        vocab_size: V.
        limits: how long a sequence may be.
        cache: shape of the cache of keys and values; None in a file that does not tell.
        encoder: what reads a source, in a package of an encoder-decoder; None in others.
        counts_padding: whether the positions of a prompt count the padding before it, so that a
            batch changes its answer, as in HF; None in a file that does not tell.
        search: the defaults of the search parameters.
        rules: of ``generate``, which the search follows; a release of transformers in the
            file, 4.57 in one that says none.
        inputs: one row per graph input, but for the slots': name, dtype, shape, default,
            meaning.
        outputs: one row per graph output: name, dtype, shape, meaning.
        versions: of the packages that took part in the export.
        lora_slots: the linear layers that take a LoRA; each has two inputs.
        loras: where each LoRA of ``adapters/`` was converted from, and its ``parity``.
        parity: the verdict of the last parity check, or None.
        files: SHA-256 and size in bytes of every other file of the package.
    """

    adapter: str
    backend: str
    source: dict[str, Any]
    dtype: str
    vocab_size: int
    limits: PositionLimits
    search: SearchConfig
    inputs: list[dict[str, Any]]
    outputs: list[dict[str, Any]]
    versions: dict[str, str]
    rules: Rules = UNSAID
    cache: KVGeometry | None = None
    encoder: Encoder | None = None
    counts_padding: bool | None = None
    precision: Precision = field(default_factory=Precision)
    lora_slots: tuple[Slot, ...] = ()
    loras: dict[str, dict[str, Any]] = field(default_factory=dict)
    parity: dict[str, Any] | None = None
    files: dict[str, dict[str, Any]] = field(default_factory=dict)
    schema_version: int = SCHEMA_VERSION

    @property
    def features(self) -> tuple[str, tuple[int, ...]] | None:
        """What the encoder reads, where that is no text: the input's name, and a row's sizes."""
        first = self.inputs[0] if self.encoder is not None else None
        if first is None or first["dtype"] != "float":
            return None
        return first["name"], tuple(first["shape"][1:])

    @property
    def operator(self) -> str | None:
        """Which of ONNX Runtime's operators a contrib package holds."""
        return operator_of(self.search) if self.backend == "contrib" else None

    def to_json(self) -> dict[str, Any]:
        """The JSON that is written to disk."""
        values = {
            **asdict(self),
            "search": self.search.to_json(),
            "rules": self.rules.release,
            "lora_slots": [slot.to_json() for slot in self.lora_slots],
        }
        if self.encoder is None:
            del values["encoder"]
        else:
            values["encoder"] = self.encoder.to_json()
        return {"schema_version": values.pop("schema_version"), **values}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Manifest:
        """Read what ``to_json`` wrote.

        Raises:
            RulesError: this beamgen does not know its rules.
            BeamgenError, TypeError, ValueError: a field is not what it has to be.
        """
        check_fields(values)
        if values["backend"] not in BACKENDS:
            raise ValueError(f"no backend is called {values['backend']!r}")
        return cls(
            **{
                **values,
                "limits": PositionLimits(**values["limits"]),
                "cache": _geometry(values["cache"]) if values.get("cache") else None,
                "encoder": Encoder.from_json(values["encoder"]) if values.get("encoder") else None,
                "search": SearchConfig.from_json(values["search"]),
                "rules": rules_named(values["rules"]) if "rules" in values else UNSAID,
                "precision": Precision.from_json(values["precision"]),
                "lora_slots": tuple(Slot(**slot) for slot in values["lora_slots"]),
            }
        )


def _geometry(values: Mapping[str, Any]) -> KVGeometry:
    return KVGeometry(**{**values, "states": tuple(map(tuple, values.get("states", ())))})
