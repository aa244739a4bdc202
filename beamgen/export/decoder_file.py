"""What ``--decoder FILE.onnx`` asks for: a decoder that somebody else exported."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from beamgen.adapter import DecoderAdapter, KVGeometry
from beamgen.checkpoint.checkpoint import Checkpoint
from beamgen.default_adapter import DEFAULT
from beamgen.errors import (
    DecoderFileError,
    LoraError,
    MissingExtraError,
    SettingError,
)
from beamgen.package.verify import fingerprint

if TYPE_CHECKING:
    from beamgen.decoder.file.read import FileDecoder
    from beamgen.decoder.graph import DecoderGraph


@dataclass(frozen=True)
class GivenDecoder:
    """A decoder file that was read and holds the contract.

    Attributes:
        file: what was read.
        record: what a manifest says of it: path, SHA-256, producer, external data.
    """

    file: FileDecoder
    record: Mapping[str, Any]

    @property
    def geometry(self) -> KVGeometry:
        """The shape of its cache."""
        return self.file.geometry

    def graph(self, checkpoint: Checkpoint, adapter: DecoderAdapter) -> DecoderGraph:
        """The decoder as a search takes it."""
        from beamgen.decoder.file.loop_graph import loop_graph

        limits = adapter.position_limits(checkpoint.config)
        return loop_graph(
            self.file,
            checkpoint.vocab_size,
            attention_window=limits.attention_window,
            counts_padding=adapter.counts_padding,
        )


def check_with_decoder(options: Mapping[str, Any]) -> None:
    """Refuse what a decoder file cannot be combined with.

    Raises:
        SettingError, LoraError: for each of them, with what to leave out.
    """
    if options.get("decoder") is None:
        return
    if options.get("backend", "loop") != "loop":
        raise SettingError(
            "--decoder was given with --search contrib, whose operators have a cache of their own",
            "leave out --search contrib",
        )
    precision = options.get("precision", "fp32")
    if precision != "fp32":
        raise SettingError(
            f"--decoder was given with --precision {precision}, and its weights stay as they are",
            "leave out --precision, or --decoder",
        )
    if options.get("lora_slots") is not None or options.get("lora"):
        refuse_lora()


def refuse_lora() -> NoReturn:
    """Say that a decoder file takes no LoRA.

    Raises:
        LoraError: always.
    """
    raise LoraError(
        "--decoder was given with a LoRA, and a decoder file takes none",
        "leave out --decoder, or merge the LoRA into the checkpoint before exporting the file",
    )


def given_decoder(path: Path, checkpoint: Checkpoint, adapter: DecoderAdapter) -> GivenDecoder:
    """Read a decoder file and hold it against the contract, with the checkpoint's sizes.

    Raises:
        DecoderFileError: it breaks the contract.
        MissingExtraError: what exports is not installed.
    """
    try:
        from beamgen.decoder.file.read import read_decoder
    except ImportError as error:
        raise MissingExtraError("reading a decoder", "export", error.name or "torch") from error
    known = None if adapter.name == DEFAULT else adapter.kv_geometry(checkpoint.config)
    file = read_decoder(path, known, checkpoint.vocab_size)
    beside = {
        name: fingerprint(path.parent / name)["sha256"] for name in sorted(file.external_data)
    }
    return GivenDecoder(
        file,
        {
            "file": str(path.resolve()),
            "sha256": fingerprint(path)["sha256"],
            "producer": file.producer,
            "external_data": beside,
        },
    )


def refuse_own_decoder(source: Mapping[str, Any], what: str, cure: str) -> None:
    """Refuse to trace a package's checkpoint where its decoder came from a file.

    Raises:
        DecoderFileError: it did.
    """
    decoder = source.get("decoder")
    if decoder is not None:
        raise DecoderFileError(
            f"the package's decoder came from {decoder['file']}, and {what} traces the checkpoint",
            cure,
        )
