"""What a processor's instructions mean for float32 and int8 products."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from beamgen.doctor.diagnosis import Finding, Level
from beamgen.quantization.record import Precision
from beamgen.quantization.saturation import inexact, saturates


def instruction_findings(
    flags: Mapping[str, bool | None], precision: Precision | None
) -> Iterator[Finding]:
    """What instruction sets mean here.

    Args:
        flags: which there are, of ``avx2``, ``avx512``, ``vnni``, ``bf16``; None where the
            system does not tell.
        precision: of a package that is to run here, or None.
    """
    wrong = None if precision is None else inexact(precision.multiplied)
    if wrong is not None:
        yield Finding(Level.PROBLEM, wrong, "export with --int8-weights u8")
    if flags.get("avx2") is None:
        yield Finding(Level.NOTE, "this system does not tell which instructions there are")
    else:
        yield _float32(flags)
    yield _int8(flags)
    if flags.get("bf16"):
        yield Finding(
            Level.NOTE,
            "bf16: this processor multiplies bfloat16, and ONNX Runtime's CPU provider does not: "
            "--precision fp16 halves the file and gains no speed here; w16 does with VNNI",
        )


def _float32(flags: Mapping[str, bool | None]) -> Finding:
    if flags.get("avx512"):
        return Finding(Level.GOOD, "fp32: AVX-512, 16 numbers at a time")
    if flags.get("avx2"):
        return Finding(Level.GOOD, "fp32: AVX2, 8 numbers at a time")
    return Finding(
        Level.NOTE, "fp32: neither AVX2 nor AVX-512, so that products are several times slower"
    )


def _int8(flags: Mapping[str, bool | None]) -> Finding:
    if saturates():
        return Finding(
            Level.NOTE,
            "int8: no VNNI, so signed weights (s8) overflow here; unsigned ones (u8) are exact, "
            "which export --precision int8 chooses by itself on this machine; w16 gains no speed",
        )
    if flags.get("vnni"):
        return Finding(
            Level.GOOD, "int8: VNNI, signed and unsigned weights are exact, and at their fastest"
        )
    return Finding(Level.GOOD, "int8: signed and unsigned weights are exact here")
