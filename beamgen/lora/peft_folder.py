"""Read what peft's ``save_pretrained`` wrote; needs neither peft nor torch."""

from __future__ import annotations

import json
import math
import re
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from beamgen.errors import LoraError, MissingExtraError, one_line
from beamgen.lora.fit import refusal
from beamgen.lora.pairs import PREFIX, PairedTensors, split_name
from beamgen.lora.slots import A, B, Lora

CONFIG = "adapter_config.json"
WEIGHTS = "adapter_model.safetensors"
_OLD_WEIGHTS = "adapter_model.bin"

# Fields of LoraConfig that change nothing beyond what is read here: A, B and their scaling.
_UNDERSTOOD = frozenset(
    {
        "alpha_pattern",
        "auto_mapping",
        "base_model_name_or_path",
        "eva_config",
        "exclude_modules",
        "fan_in_fan_out",
        "inference_mode",
        "init_lora_weights",
        "layers_pattern",
        "layers_to_transform",
        "loftq_config",
        "lora_alpha",
        "lora_dropout",
        "megatron_core",
        "peft_type",
        "peft_version",
        "qalora_group_size",
        "r",
        "rank_pattern",
        "revision",
        "runtime_config",
        "target_modules",
        "task_type",
        "use_rslora",
    }
)
# Initialisations that leave the base model's weights alone.
_INITS = (True, False, None, "gaussian", "eva", "orthogonal")
# Of r and lora_alpha, in peft.
_DEFAULT = 8
_NAMED = re.compile(r"\.(lora_[AB])\.[^.]+\.weight$")
_OFF: tuple[Any, ...] = (None, False, {}, [], "none")


def _merge(folder: Path) -> str:
    """The cure for a LoRA that is more than slots can take."""
    return f"merge it instead: beamgen export --lora {shlex.quote(str(folder))}"


def read_config(folder: Path) -> dict[str, Any]:
    """Read a folder's ``adapter_config.json``.

    Raises:
        LoraError: it is missing, damaged, or of something else than an adapter.
    """
    path = folder / CONFIG
    if not path.is_file():
        named = sorted(inner.parent.name for inner in folder.glob(f"*/{CONFIG}"))
        raise LoraError(
            f"{folder} holds no {CONFIG}",
            f"pass one of the LoRAs in it: {', '.join(named)}"
            if named
            else "pass the folder that peft's save_pretrained wrote",
        )
    try:
        config: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        _check_values(config)
    except (ValueError, RecursionError) as error:
        raise LoraError(
            f"{path} is damaged: {one_line(error)}", "save or download the LoRA again"
        ) from error
    return config


def _check_values(config: Any) -> None:
    """Refuse values that peft never writes.

    Raises:
        ValueError: says which.
    """
    if not isinstance(config, dict) or not isinstance(config.get("peft_type"), str):
        raise ValueError("it names no peft_type")
    if not isinstance(config.get("base_model_name_or_path"), str | None):
        raise ValueError("base_model_name_or_path is no text")
    for name, patterns in (("r", "rank_pattern"), ("lora_alpha", "alpha_pattern")):
        by_pattern = config.get(patterns) or {}
        if not isinstance(by_pattern, dict):
            raise ValueError(f"{patterns} is no table")
        for pattern in by_pattern:
            try:
                re.compile(pattern)
            except re.error as error:
                raise ValueError(f"{patterns} has no such pattern as {pattern!r}") from error
        for value in (config.get(name, _DEFAULT), *by_pattern.values()):
            number = isinstance(value, int | float) and math.isfinite(value)
            if not number or (name == "r" and not (isinstance(value, int) and value > 0)):
                raise ValueError(f"{name} is {value!r}")


def read_peft(folder: Path) -> Lora:
    """Read a LoRA's A and B, scaled.

    Scaling is ``lora_alpha / r``, or ``lora_alpha / sqrt(r)`` with ``use_rslora``, with
    ``rank_pattern`` and ``alpha_pattern`` honoured; it goes into B.

    Args:
        folder: it holds ``adapter_config.json`` and ``adapter_model.safetensors`` (or
            ``.bin``, which needs torch).

    Raises:
        LoraError: damaged, or it does more than add ``(x A) B`` to linear layers: DoRA,
            trained biases, embeddings or whole modules, initialisations that change the
            base model. Each is named.
        MissingExtraError: a ``.bin`` file without torch.

    Source: ``peft.tuners.lora`` (``LoraConfig``, ``LoraLayer.update_layer``),
    ``peft.utils.other.get_pattern_key``.
    """
    config = read_config(folder)
    _check_plain(folder, config)
    pairs, others = _paired(folder)
    pairs.problems += map(_obstacle, others)
    weights = pairs.pairs()
    for module, (a, _) in weights.items():
        rank = _patterned(config, "rank_pattern", "r", module)
        if a.shape[1] != rank:
            pairs.problems.append(f"{module}.{A} has rank {a.shape[1]}, {CONFIG} says {rank}")
    pairs.check(str(folder), _merge(folder) if others else "save or download the LoRA again")
    with np.errstate(over="ignore"):
        scaled = {m: (a, b * np.float32(_scaling(config, m))) for m, (a, b) in weights.items()}
    endless = [f"{m}.{B} is infinite when scaled" for m, (_, b) in scaled.items() if _endless(b)]
    if endless:
        raise refusal(str(folder), endless, f"correct lora_alpha in {CONFIG}")
    return Lora(str(folder), scaled, config.get("base_model_name_or_path") or None)


def _endless(tensor: npt.NDArray[np.float32]) -> bool:
    return not np.isfinite(tensor).all()


def read_linear_parts(folder: Path) -> Lora:
    """Read the A's and B's alone, unscaled, whatever else the folder holds: for their shapes.

    Raises:
        LoraError, MissingExtraError: see ``read_peft``.
    """
    pairs, others = _paired(folder)
    weights = pairs.pairs()
    if pairs.problems or not (weights or others):
        pairs.check(str(folder), "save or download the LoRA again")
    return Lora(str(folder), weights)


def has_pefts_names(folder: Path, lora: Lora) -> bool:
    """Whether peft finds the tensors of a LoRA in a folder under the names of its modules."""
    wanted = {f"{PREFIX}{module}.{part}" for module in lora.weights for part in (A, B)}
    return wanted <= read_tensors(folder).keys()


def _obstacle(name: str) -> str:
    """What keeps a tensor from being taken."""
    if ".base_layer." in name:
        return f"{name} is a weight of the base model (peft: save_embedding_layers=False)"
    return f"{name} is no A or B of a linear layer"


def _paired(folder: Path) -> tuple[PairedTensors, list[str]]:
    """A folder's A's and B's, and the names of all other tensors.

    A model's own ``state_dict`` has the LoRA's name in each: ``lora_A.default.weight``.
    """
    pairs, others = PairedTensors(), []
    for name, tensor in read_tensors(folder).items():
        module, part = split_name(_NAMED.sub(r".\1.weight", name))
        if part is None:
            others.append(name)
        else:
            pairs.add(module, part, tensor.astype(np.float32).T)
    return pairs, others


def _check_plain(folder: Path, config: Mapping[str, Any]) -> None:
    kind = config["peft_type"]
    if kind != "LORA":
        raise LoraError(f"{folder} holds {kind}, not LoRA", _merge(folder))
    others = [
        f"{name}={json.dumps(value)}"
        for name, value in sorted(config.items())
        if name not in _UNDERSTOOD and value not in _OFF
    ]
    init = config.get("init_lora_weights", True)
    if init not in _INITS:
        others.append(f"init_lora_weights={json.dumps(init)} (it changes the base model)")
    if others:
        named = "DoRA, " if config.get("use_dora") else ""
        raise LoraError(
            f"{folder} is more than A and B on linear layers: {named}{', '.join(others)}",
            _merge(folder),
        )


def read_tensors(folder: Path) -> dict[str, npt.NDArray[Any]]:
    """Everything in a PEFT folder's weights file, by name.

    Raises:
        LoraError, MissingExtraError: see ``read_peft``.
    """
    path = folder / WEIGHTS
    try:
        if path.is_file():
            import ml_dtypes  # noqa: F401 - teaches NumPy the name bfloat16
            from safetensors.numpy import load_file

            return dict(load_file(path))
        if (folder / _OLD_WEIGHTS).is_file():
            return _load_bin(folder / _OLD_WEIGHTS)
    except (MissingExtraError, OSError):
        raise
    except Exception as error:  # each way of damage shows up as another error
        raise LoraError(
            f"{folder} holds damaged weights: {one_line(error)}",
            "save or download the LoRA again",
        ) from error
    raise LoraError(
        f"{folder} holds no {WEIGHTS}", "pass the folder that peft's save_pretrained wrote"
    )


def _load_bin(path: Path) -> dict[str, npt.NDArray[Any]]:
    try:
        import torch
    except ImportError as error:
        raise MissingExtraError(f"reading {path.name}", "export", "torch") from error
    loaded = torch.load(path, map_location="cpu", weights_only=True)
    return {str(name): tensor.float().numpy() for name, tensor in loaded.items()}


def _patterned(config: Mapping[str, Any], patterns: str, otherwise: str, module: str) -> Any:
    """A module's own rank or alpha, or that of all."""
    for pattern, value in (config.get(patterns) or {}).items():
        if re.match(rf"(.*\.)?({pattern})$", module):
            return value
    return config.get(otherwise, _DEFAULT)


def _scaling(config: Mapping[str, Any], module: str) -> float:
    rank = _patterned(config, "rank_pattern", "r", module)
    alpha = _patterned(config, "alpha_pattern", "lora_alpha", module)
    return float(alpha / (math.sqrt(rank) if config.get("use_rslora") else rank))
