"""The record of a package's precision: how its weights are stored, and what that costs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from beamgen.errors import SettingError, close_matches

#: Behind the name of a stack of matrices that has a column, not a row, for each output channel.
COLUMNS = ".T"

#: What a package may be exported in.
PRECISIONS = ("fp32", "w16", "fp16", "int8", "int4")

#: Those with products of bytes.
BYTES = ("w16", "int8", "int4")

#: How int8 weights may be stored: as the CPU wants them, signed, or around 128.
INT8_WEIGHTS = ("auto", "s8", "u8")


@dataclass(frozen=True)
class Quality:
    """What rounding costs, by teacher forcing on text.

    Attributes:
        text: where the text came from, or None: nobody gave any, nothing was measured.
        tokens: how many were predicted.
        perplexity_fp32: of HF with the checkpoint's own weights, per token.
        perplexity: of the package's decoder.
        top1_agreement: share of places, 0 to 1, where both find the same token likeliest.
    """

    text: str | None = None
    tokens: int = 0
    perplexity_fp32: float | None = None
    perplexity: float | None = None
    top1_agreement: float | None = None

    def __str__(self) -> str:
        """Tell it in one line."""
        if not self.tokens:
            return "not measured: there is no text (--quality-text FILE gives some)"
        return (
            f"perplexity {self.perplexity:.2f} (fp32 {self.perplexity_fp32:.2f}), the likeliest "
            f"token is fp32's in {100 * (self.top1_agreement or 0):.1f} % of {self.tokens} places "
            f"of {self.text}"
        )


@dataclass(frozen=True)
class Wanted:
    """A precision as a user asks for it.

    Attributes:
        name: one of ``PRECISIONS``.
        int8_weights: one of ``INT8_WEIGHTS``.
        text: a file of texts, one a line, on which the loss is measured; or None.

    Raises:
        SettingError: there is no such precision, or it has no such choice.
    """

    name: str = "fp32"
    int8_weights: str = "auto"
    text: Path | None = None

    def __post_init__(self) -> None:
        """Refuse what is no precision."""
        for what, value, known in (
            ("precision", self.name, PRECISIONS),
            ("kind of int8 weights", self.int8_weights, INT8_WEIGHTS),
        ):
            if value not in known:
                raise SettingError(
                    f"there is no {what} called '{value}'",
                    close_matches(str(value), known) or f"there are {', '.join(known)}",
                )
        if self.int8_weights != "auto" and self.name not in BYTES:
            raise SettingError(
                f"int8 weights '{self.int8_weights}' were asked for with precision {self.name}",
                "leave that out, or choose --precision int8, int4 or w16",
            )
        if self.text is not None and self.name == "fp32":
            raise SettingError(
                f"the text {self.text} measures what rounding costs, and fp32 rounds nothing",
                "leave it out, or choose --precision w16, fp16, int8 or int4",
            )


@dataclass(frozen=True)
class Precision:
    """How weights are stored and multiplied.

    Attributes:
        name: ``fp32``, ``w16``, ``fp16``, ``int8`` or ``int4``.
        weights: dtype of the products' weights and the token embedding: ``float32``,
            ``float16``, ``int8``, ``uint8`` or ``uint4``. All else is float32.
        zero_point: the stored number that means 0, or None for floats.
        block_size: weights that share a scale within an output channel, or None: all of it.
        activations: how a product's input is rounded as it runs, or None: it is not.
        accuracy_level: of ``MatMulNBits``, or None.
        saturates: whether the CPU that made the package adds pairs of u8 x s8 products in
            16 bits, which overflow; None where it does not matter. There w16 is no faster than
            fp32.
        quantized: HF's names of the parameters that were rounded, with ``COLUMNS`` behind a
            stack of matrices whose columns are the output channels.
        in_bytes: those of them that ``int4`` stores and multiplies as ``int8`` does.
        bytes_weights: dtype of these, ``int8`` or ``uint8``; None where there are none.
        noise: how far a summed log-probability was found from HF's with the same rounding,
            over the root of its tokens: see ``beamgen.parity.margins``. None where nothing
            is rounded as it runs.
        quality: against fp32; None for fp32 itself.
    """

    name: str = "fp32"
    weights: str = "float32"
    zero_point: int | None = None
    block_size: int | None = None
    activations: str | None = None
    accuracy_level: int | None = None
    saturates: bool | None = None
    quantized: tuple[str, ...] = ()
    in_bytes: tuple[str, ...] = ()
    bytes_weights: str | None = None
    noise: float | None = None
    quality: Quality | None = None

    @property
    def multiplied(self) -> str:
        """Dtype of the weights whose products are of bytes, if there are any."""
        return self.bytes_weights or self.weights

    @property
    def int8_weights(self) -> str:
        """The choice of ``INT8_WEIGHTS`` that makes the same file on any CPU."""
        return {"int8": "s8", "uint8": "u8"}.get(self.multiplied, "auto")

    def of(self, name: str) -> str:
        """The precision, of ``PRECISIONS``, that a parameter of ``quantized`` is stored in."""
        return "int8" if name in self.in_bytes else self.name

    @property
    def operators(self) -> str:
        """The operator set that the products belong to."""
        return "com.microsoft" if self.name == "int4" else "standard ONNX"

    def __str__(self) -> str:
        """Tell it in one line, without the quality."""
        if self.name == "fp32":
            return "fp32"
        parts = [f"{self.weights} weights"]
        if self.zero_point:
            parts.append(f"zero point {self.zero_point}")
        if self.block_size:
            parts.append(f"blocks of {self.block_size}")
        if self.in_bytes:
            parts.append(f"{len(self.in_bytes)} of {len(self.quantized)} in {self.bytes_weights}")
        parts.append(f"activations {self.activations}" if self.activations else "fp32 arithmetic")
        if self.name == "w16" and self.saturates:
            parts.append("made where it is no faster than fp32")
        return f"{self.name}: {', '.join(parts)}; {self.operators} operators"

    def to_json(self) -> dict[str, Any]:
        """The record as plain values."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Precision:
        """Read what ``to_json`` wrote."""
        quality = values["quality"]
        return cls(
            **{
                **values,
                "quantized": tuple(values["quantized"]),
                "in_bytes": tuple(values.get("in_bytes", ())),  # older files have none
                "quality": None if quality is None else Quality(**quality),
            }
        )
