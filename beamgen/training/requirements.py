"""What a method of training needs: packages, and a machine that can quantize."""

from __future__ import annotations

import importlib.util

from beamgen.errors import BeamgenError, MissingExtraError, one_line

_ALWAYS = ("torch", "accelerate", "peft")
_BESIDES = {"qlora": ("bitsandbytes",)}


def is_installed(package: str) -> bool:
    """Whether a package could be imported, without importing it."""
    return importlib.util.find_spec(package) is not None


def check_installed(method: str) -> None:
    """Refuse a method whose packages are not there, importing none of them.

    Raises:
        MissingExtraError: a package is not installed.
    """
    for name in (*_ALWAYS, *_BESIDES.get(method, ())):
        if not is_installed(name):
            raise MissingExtraError(f"beamgen finetune --method {method}", "finetune", name)


def check_machine(method: str) -> None:
    """Refuse a method that this machine cannot run, before a checkpoint is read.

    Raises:
        BeamgenError: bitsandbytes does not run.
    """
    if method in _BESIDES:
        _check_quantizes(method)


def _check_quantizes(method: str) -> None:
    """Quantize a few numbers to nf4 and back."""
    import torch

    from beamgen.training.isolation import quiet

    try:
        with quiet():
            from bitsandbytes.functional import dequantize_4bit, quantize_4bit

            numbers = torch.ones(64, device="cuda" if torch.cuda.is_available() else "cpu")
            dequantize_4bit(*quantize_4bit(numbers, quant_type="nf4"))
    except Exception as error:  # a library that does not load fails in its own way
        reason = f"bitsandbytes cannot quantize here: {one_line(error, 120)}"
        raise _cannot_run(method, reason) from error


def _cannot_run(method: str, reason: str) -> BeamgenError:
    return BeamgenError(
        f"--method {method} cannot run on this machine: {reason}",
        "train with --method lora, or on a machine with a GPU",
    )
