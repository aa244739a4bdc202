"""Configs that differ from a tiny one in a field that Hugging Face honours."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from beamgen.checkpoint.auto_model import auto_model
from beamgen.registry import adapter_or_default
from beamgen.testing.loop_decoder import Floats, hf_logits
from beamgen.testing.models import tiny_model

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel

# Longer than every window and boundary that a variant has; a short one is before them.
LONG, SHORT = 40, 6
_BITES = 5
_BOUNDARY = 8
_BOUNDARY_FIELD = "original_max_position_embeddings"
_LIVE = 2e-2
_ROUNDING = 1e-4
_SLIDING, _FULL = "sliding_attention", "full_attention"
_ROPE = ("rope_scaling", "rope_parameters")
_ACTIVATIONS = ("relu", "gelu", "silu")


@dataclass(frozen=True)
class Variant:
    """A model with the tiny one's weights, whose config says something else.

    Attributes:
        name: the field, and the kind where there are several.
        config: with the change.
        attention: the attention of transformers that computes what is meant, where its
            default and ``eager`` differ, else None.
        weights: of the tiny model.
    """

    name: str
    config: PretrainedConfig
    attention: str | None
    weights: Mapping[str, Any]

    def model(self) -> PreTrainedModel:
        """A fresh model."""
        return _model(self.config, self.weights, self.attention)


def prompt_ids(config: PretrainedConfig) -> list[int]:
    """``LONG + 1`` tokens of the vocabulary, none of them padding or a special one of the low ids.

    Of padding within a text HF's own logits depend on what its cache holds (M2M100).
    """
    size = config.get_text_config().vocab_size
    ids: list[int] = np.random.default_rng(0).integers(3, size, LONG + 1).tolist()
    return [size - 1 if token == config.get_text_config().pad_token_id else token for token in ids]


def variants(base: PretrainedConfig) -> Iterator[Variant]:
    """The tiny config itself, and each change of it that HF's logits tell.

    Fields change one at a time, and windows and kinds of rotary positions as checkpoints
    combine them. A change counts if the weights keep their shapes and the logits after
    ``LONG`` tokens differ, with HF's default attention or with ``eager``.
    """
    plain = tiny_model(base)
    weights = _with_biases(plain.state_dict())
    before = _both_logits(base, weights)
    assert before is not None, "the tiny config was used to make the weights"
    yield Variant("tiny_config", base, _meant(base, before), weights)
    seen = {"tiny_config"}
    for name, changes in _changes(base, plain):
        if name in seen:
            continue
        for config in _changed(base, changes):
            after = _both_logits(config, weights)
            if after is not None and _differ(before, after):
                seen.add(name)
                yield Variant(name, config, _meant(config, after), weights)
                break


def _with_biases(weights: dict[str, Any]) -> dict[str, Any]:
    """Weights whose biases, which HF begins at 0, and norms, at 1, are anything, too."""
    import torch

    dice = torch.Generator().manual_seed(0)
    for name, tensor in weights.items():
        if (tensor.dim() == 1 or name.endswith("bias")) and tensor.is_floating_point():
            tensor.add_(0.1 * torch.randn(tensor.shape, generator=dice))
    return weights


def _changes(
    base: PretrainedConfig, model: PreTrainedModel
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Names, and fields with other values; a name comes again where a first may not show."""
    fields = _fields(base)
    for name, value in fields.items():
        if name in _ROPE:
            kinds = _rope_kinds(model, value)
            for kind, scaling in kinds.items():
                yield f"{name}: {kind}", {name: scaling}
            if "longrope" in kinds and _BOUNDARY_FIELD in fields:  # Phi-3 has it beside them
                factors = {key: kinds["longrope"][key] for key in ("short_factor", "long_factor")}
                scaling = {"type": "longrope", **factors}
                yield f"{name}: longrope", {name: scaling, _BOUNDARY_FIELD: _BOUNDARY}
        else:
            for inner, other in _others(getattr(base, name, None), name, value):
                yield inner, {name: other}
    if "sliding_window" in fields:
        layers = base.num_hidden_layers
        yield "windows: all layers", _windows(fields, [_SLIDING] * layers, 0)
        yield "windows: some layers", _windows(fields, [_SLIDING, _FULL] * layers, 1)


def _windows(fields: Mapping[str, Any], kinds: list[str], first: int) -> dict[str, Any]:
    layers = len(fields["layer_types"]) if fields.get("layer_types") else len(kinds) // 2
    wanted = {
        "sliding_window": _BITES,
        "use_sliding_window": True,
        "max_window_layers": first,
        "layer_types": kinds[:layers],
    }
    return {name: value for name, value in wanted.items() if name in fields}


def _fields(config: PretrainedConfig) -> dict[str, Any]:
    """What the config's class takes, as it is set here."""
    stored = config.to_dict()
    taken = inspect.signature(type(config).__init__).parameters
    return {name: deepcopy(stored[name]) for name in taken if name in stored}


def _changed(base: PretrainedConfig, changes: dict[str, Any]) -> Iterator[PretrainedConfig]:
    """The config with changes, and again with what it derives from them derived anew."""
    given = base.to_dict()
    for derived in ((), ("layer_types",)):
        if all(name in given and name not in changes for name in derived):
            kept = {name: value for name, value in given.items() if name not in derived}
            try:
                config = type(base).from_dict(deepcopy({**kept, **changes}))
            except Exception:  # the class refuses the combination, so no checkpoint has it
                continue
            for name in _ROPE:
                if _BOUNDARY_FIELD in (changes.get(name) or {}):
                    # where some models look for it
                    setattr(config, _BOUNDARY_FIELD, _BOUNDARY)
            yield config


def _others(own: Any, name: str, value: Any) -> Iterator[tuple[str, Any]]:
    """Names of what changes in a field, and its values; of a config within a config each field."""
    from transformers import PretrainedConfig

    if not isinstance(own, PretrainedConfig):
        for other in _other_values(name, value):
            yield name, other
        return
    inner = _fields(own)
    for field, kept in inner.items():
        for changed, other in _others(getattr(own, field, None), field, kept):
            yield f"{name}.{changed}", {**inner, field: other}


def _other_values(name: str, value: Any) -> tuple[Any, ...]:
    if isinstance(value, bool):
        return (not value,)
    if isinstance(value, int):
        return (_BITES, max(1, value // 2), value * 2)
    if isinstance(value, float):
        return (value * 0.5, value * 4, 0.5) if value < 10 else (2.0, value * 0.1, 0.5)
    if isinstance(value, str) and ("act" in name or "func" in name):
        return tuple(other for other in _ACTIVATIONS if other != value)
    if isinstance(value, list) and value and all(flag in (0, 1) for flag in value):
        return ([1 - int(flag) for flag in value], [1, 0] * (len(value) // 2))
    return (_BITES, 2.0, True) if value is None else ()


def _rope_kinds(model: PreTrainedModel, value: Any) -> dict[str, dict[str, Any]]:
    """Scalings of rotary positions, by kind, for a model's own widths."""
    bands = [len(module.inv_freq) for module in model.modules() if hasattr(module, "inv_freq")]
    if not bands:  # PhiMoE's makes them anew each time
        bands = [model.config.hidden_size // model.config.num_attention_heads // 2]
    kept = {name: value[name] for name in ("rope_theta",) if name in (value or {})}
    boundary = {_BOUNDARY_FIELD: _BOUNDARY}
    llama3 = {"factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, **boundary}
    factors = {
        "short_factor": [1.0 + 0.1 * band for band in range(bands[0])],
        "long_factor": [2.0 + 0.5 * band for band in range(bands[0])],
    }
    kinds: dict[str, dict[str, Any]] = {
        "linear": {"factor": 2.0},
        "yarn": {"factor": 4.0, **boundary},
        "llama3": llama3,
        # with the scales of PhiMoE, which others do not read
        "longrope": {"factor": 4.0, **boundary, **factors, "short_mscale": 1.1, "long_mscale": 1.3},
    }
    return {kind: {"rope_type": kind, **kept, **more} for kind, more in kinds.items()}


def _both_logits(
    config: PretrainedConfig, weights: Mapping[str, Any]
) -> tuple[Floats, Floats] | None:
    """Logits ``[V]`` with HF's default attention and with ``eager``; None if it is no variant."""
    ids = prompt_ids(config)[:LONG]
    try:
        logits = [hf_logits(_model(config, weights, kind), ids) for kind in (None, "eager")]
    except Exception:  # whatever HF says of a config that makes no sense, or other shapes
        return None
    return (logits[0], logits[1]) if all(np.isfinite(x).all() for x in logits) else None


def _model(
    config: PretrainedConfig, weights: Mapping[str, Any], attention: str | None
) -> PreTrainedModel:
    chosen = {} if attention is None else {"attn_implementation": attention}
    model: PreTrainedModel = auto_model(config).from_config(deepcopy(config), **chosen)
    model.load_state_dict(weights)
    return model.eval()


def _meant(config: PretrainedConfig, both: tuple[Floats, Floats]) -> str | None:
    default, eager = both
    meant = adapter_or_default(config.model_type).attention
    return meant if _distance(default, eager) > _ROUNDING else None


def _differ(before: tuple[Floats, Floats], after: tuple[Floats, Floats]) -> bool:
    return any(_distance(a, b) > _LIVE for a, b in zip(before, after, strict=True))


def _distance(a: Floats, b: Floats) -> float:
    """The largest difference of logits, of how far they lie apart."""
    return float(np.abs(a - b).max() / max(1e-6, float(np.abs(b - b.mean()).max())))
