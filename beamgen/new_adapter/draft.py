"""What an adapter has to say of a class of transformers, found out by running a tiny one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from beamgen.adapter import TINY_SIZES, TINY_TOKENS, DecoderAdapter, KVGeometry, cache_keyword
from beamgen.default_adapter import DefaultAdapter, tiny_sizes
from beamgen.errors import AdapterError, MissingExtraError, close_matches, one_line

if TYPE_CHECKING:
    from transformers import PretrainedConfig

# Those of a decoder before those that may be an encoder's.
_LAYERS = ("decoder_layers", "num_decoder_layers", "num_hidden_layers", "n_layers", "n_layer",
           "num_layers")  # fmt: skip
_HEADS = ("decoder_attention_heads", "num_decoder_attention_heads", "num_key_value_heads",
          "num_kv_heads", "num_attention_heads", "n_heads", "n_head")  # fmt: skip
_WIDTHS = ("head_dim", "v_head_dim", "qk_head_dim", "kv_channels", "d_kv")
#: What ``DecoderAdapter.tiny_config`` knows.
_SHARED = {**TINY_SIZES, **TINY_TOKENS}
#: By which a config says that its model is to decode by itself.
_AS_DECODER = {"is_decoder": True, "is_encoder_decoder": False}
_POSITIONS = ("n_positions", "max_seq_len", "max_seq_length", "seq_length", "n_ctx")


@dataclass(frozen=True)
class Draft:
    """What goes into the file.

    Attributes:
        model_type: of the architecture.
        config_class: the class's name in transformers, as the two below.
        model_class: with the language-modelling head.
        backbone_class: without it.
        sizes: of the tiny config, besides those that every adapter's has.
        geometry: ``kv_geometry``'s expressions by field, where its default does not hold.
        positions: the expression of ``max_positions``, likewise; else None.
    """

    model_type: str
    config_class: str
    model_class: str
    backbone_class: str
    sizes: dict[str, Any]
    geometry: dict[str, str]
    positions: str | None


def draft(model_type: str) -> Draft:
    """Look at a tiny random model of a ``model_type``.

    Raises:
        AdapterError: transformers has no such decoder, or it keeps no keys and values.
        MissingExtraError: transformers or torch is not installed.
    """
    config_class, model_class = _classes(model_type)
    sizes = tiny_sizes(config_class)
    try:
        config = config_class(**sizes)
        found = None if getattr(config, "is_encoder_decoder", False) else _run(config)
        if found is None and not getattr(config, "is_decoder", False):
            sizes |= _AS_DECODER  # of an encoder, or of one half of a pair
            config = config_class(**sizes)
            found = _run(config)
    except Exception as error:  # whatever sizes that do not fit make a model's code raise
        raise AdapterError(
            f"no tiny {model_class} could be made or run of {sizes}: {one_line(error)}",
            "write the file by hand: docs/adding-an-architecture.md",
        ) from error
    if found is None:
        raise AdapterError(
            f"{model_class} keeps something else than keys and values for each layer",
            "write the file by hand, with its states: docs/adding-an-architecture.md",
        )
    backbone, geometry = found
    return Draft(
        model_type,
        config_class.__name__,
        model_class,
        backbone,
        {name: size for name, size in sizes.items() if _SHARED.get(name) != size},
        _geometry(config, geometry),
        _positions(config),
    )


def _classes(model_type: str) -> tuple[type[PretrainedConfig], str]:
    """The config's class, and the name of the class with the head."""
    try:
        from transformers import CONFIG_MAPPING, __version__
        from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES
    except ImportError as error:
        raise MissingExtraError("drafting an adapter", "export", error.name or "torch") from error
    known = {name for name in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES if name in CONFIG_MAPPING}
    if model_type not in known:
        raise AdapterError(
            f"transformers {__version__} has no decoder of model_type '{model_type}'",
            close_matches(model_type, known)
            or "take the model_type of a checkpoint's config.json, or install a newer transformers",
        )
    return CONFIG_MAPPING[model_type], MODEL_FOR_CAUSAL_LM_MAPPING_NAMES[model_type]


def _run(config: PretrainedConfig) -> tuple[str, KVGeometry] | None:
    """The backbone's class, if it is public, and the shape of the cache that it leaves.

    None if it leaves none.
    """
    import torch
    import transformers

    model = transformers.AutoModelForCausalLM.from_config(config).eval()
    backbone = model.base_model if model.base_model is not model else model.get_decoder()
    with torch.no_grad():
        output = model(input_ids=torch.ones(1, 3, dtype=torch.long), use_cache=True)
    cache = getattr(output, cache_keyword(model), None)
    cache = getattr(cache, "self_attention_cache", cache)
    layers = list(getattr(cache, "layers", None) or [])
    while layers and getattr(layers[-1], "keys", None) is None:
        layers.pop()  # HF counts an encoder's
    if not layers or any(getattr(layer, "keys", None) is None for layer in layers):
        return None
    _, heads, _, width = layers[0].keys.shape
    value_dim = layers[0].values.shape[-1]
    kept = None if value_dim == width else value_dim
    name = type(backbone).__name__
    public = name if hasattr(transformers, name) else type(model).__name__
    return public, KVGeometry(len(layers), heads, width, kept)


def _geometry(config: PretrainedConfig, found: KVGeometry) -> dict[str, str]:
    """Expressions for the fields of the cache's shape, if the default's are others."""
    try:
        if DefaultAdapter(config).kv_geometry(config) == found:
            return {}
    except AdapterError:
        pass
    named = {
        "num_layers": _named(config, _LAYERS, found.num_layers),
        "num_kv_heads": _named(config, _HEADS, found.num_kv_heads),
    }
    divided = f"config.hidden_size // {named['num_kv_heads']}"
    divides = getattr(config, "hidden_size", 0) == found.num_kv_heads * found.head_dim
    named["head_dim"] = divided if divides else _named(config, _WIDTHS, found.head_dim)
    if found.value_dim is not None:
        named["value_dim"] = _named(config, _WIDTHS, found.value_dim)
    return named


def _positions(config: PretrainedConfig) -> str | None:
    try:
        DecoderAdapter.position_limits(DefaultAdapter(config), config)
    except AttributeError:
        names = [name for name in _POSITIONS if isinstance(getattr(config, name, None), int)]
        return f"config.{names[0]}" if names else "2048"  # HF sets no limit
    return None


def _named(config: PretrainedConfig, names: tuple[str, ...], size: int) -> str:
    """The field of the config that holds a size, the likely names first; else the number."""
    for name in (*names, *vars(config)):
        value = getattr(config, name, None)
        if value == size and not isinstance(value, bool) and isinstance(value, int):
            return f"config.{name}"
    return str(size)
