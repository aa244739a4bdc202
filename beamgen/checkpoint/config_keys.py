"""Keys of a ``config.json`` that the model is not built by.

transformers keeps what it does not know as attributes that nobody reads: a setting of a newer
release, or of another class, is lost without a word. What is known to be bookkeeping may be lost.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from copy import deepcopy
from dataclasses import dataclass
from fnmatch import fnmatchcase
from inspect import signature
from typing import TYPE_CHECKING, Any

from beamgen.checkpoint.rope import ROPE_PARAMETERS

if TYPE_CHECKING:
    from transformers import PretrainedConfig

#: Names, with ``*``, of what changes no logits of a decoder: where a model came from, how it
#: was and is to be trained and stored, special tokens, other tasks' heads, lengths, caches and
#: kernels that give the same numbers.
BOOKKEEPING = (
    # where it came from
    "_*", "architectures", "model_type", "auto_map", "transformers_weights", "*version*",
    "*author*", "licen?e*", "*language*", "*description*", "*_date", "date", "name", "*_name",
    "name_or_path", "*_path", "*_url", "tags", "slug", "base_model*", "unsloth*", "finetun*",
    "dataset*", "custom_pipelines", "framework", "library*", "adapter*",
    # training
    "*dropout*", "*_pdrop", "*_drop", "layerdrop", "initializer*", "init_*", "*_init", "*_std",
    "*loss*", "*checkpointing*", "neftune*", "*learning_rate*", "lr", "*warmup*", "*batch_size*",
    "*seed*", "*_steps", "*epoch*", "*optim*", "*weight_decay*", "*aux_coef*",
    # storage
    "*dtype*", "fp16", "bf16", "fp32", "use_bfloat16", "quantization*", "*tensor_parallel*",
    "*_parallel_size", "pretraining_tp", "*divisible_by", "*multiple_of", "*device*",
    # text and special tokens
    "*_token", "*_token_id", "*_token_ids", "*_token_index", "tokenizer*", "*prefix", "*special*",
    "prompt*", "force_bos_token_to_be_generated", "chat*", "*_template", "orig_vocab_size",
    "*padded_vocab_size*",
    # other tasks
    "task*", "*labels", "id2label", "label2id", "problem_type", "classifier*", "summary_*",
    "pooler*", "is_decoder", "is_encoder_decoder", "tie_encoder_decoder", "*_head_type",
    # lengths
    "n_ctx", "n_positions", "*seq_len*", "*sequence_length*", "*context_length*",
    "*context_len*", "max_seq*", "model_max_length",
    # caches, kernels, outputs
    "use_cache*", "cache_*", "output_*", "return_*", "torchscript", "*flash*", "*attn_impl*",
    "*sdpa*", "*xformers*", "*fused*", "use_kernels", "tf_legacy_loss", "num_logits_to_keep",
)  # fmt: skip

#: Of transformers 4, of which 5 makes ``rope_parameters``.
_OLD_ROPE = ("rope_theta", "rope_scaling", "partial_rotary_factor")
#: Names of one thing, of which releases save more than one and read another.
_SAID_TWICE = (
    frozenset(("num_experts", "num_local_experts", "n_routed_experts")),
    frozenset(("num_experts_per_tok", "experts_per_token")),
)


def class_parameters(config: PretrainedConfig) -> set[str]:
    """What a config's classes take by name, under all names that they know."""
    names = {*config.attribute_map, *config.attribute_map.values()}
    for kind in type(config).__mro__:
        if "__init__" in vars(kind) and kind is not object:
            names.update(signature(kind).parameters)
    return names


def unread_keys(
    stored: Mapping[str, Any],
    config: PretrainedConfig,
    build: Callable[[PretrainedConfig], object],
) -> list[str]:
    """Keys that may change a model's arithmetic and do not, sorted.

    A key counts as read where a class of the config takes it by name, or the model asks for it
    while it is built. A key within ``rope_scaling``, or within ``rope_parameters``, reads
    ``rope_scaling.KEY``, one of a config within the config ``text_config.KEY``; a config that
    the model asks nothing of, as one for images, may say what it likes. A value that switches
    nothing on (null, false, 0, 1, empty) is never unread.

    Args:
        stored: ``config.json``, with the keys of the installed transformers.
        config: what transformers made of it.
        build: builds the model of a config, without weights.
    """
    parts = list(_parts(stored, config))
    doubtful = [_doubtful(each) for each in parts]
    scaling = [_doubtful_scaling(each.config) for each in parts]
    if not any(doubtful) and not any(scaling):
        return []
    watched = deepcopy(config)
    copies = [each.config for each in _parts(stored, watched)]
    asked = [_watch_scaling(each) for each in copies]
    with _attributes_of({type(each) for each in copies}) as read:
        _make_angles(build(watched))
    unread: list[str] = []
    for i, part in enumerate(parts):
        known = read[type(part.config)]
        if part.place and not known & _own_parameters(part.config):
            continue
        unread += [part.place + key for key in doubtful[i] if key not in known]
        rope = _rope_key(part.config)
        if rope in known:
            unread += [f"{part.place}{rope}.{key}" for key in scaling[i] if key not in asked[i]]
    return sorted(unread)


@dataclass(frozen=True)
class _Part:
    """A config, or one within it.

    Attributes:
        place: what to write before its keys: nothing, or ``text_config.``.
        stored: its part of ``config.json``.
        config: what transformers made of that.
    """

    place: str
    stored: Mapping[str, Any]
    config: PretrainedConfig


def _parts(stored: Mapping[str, Any], config: PretrainedConfig, place: str = "") -> Iterator[_Part]:
    """A config and all within it, of those that the file says something of."""
    from transformers import PretrainedConfig

    yield _Part(place, stored, config)
    for name, value in stored.items():
        inner = vars(config).get(name)
        if isinstance(value, dict) and isinstance(inner, PretrainedConfig):
            yield from _parts(value, inner, f"{place}{name}.")


def _doubtful(part: _Part) -> list[str]:
    """Keys that no class takes by name, and that say something."""
    from transformers import GenerationConfig

    stored, config = part.stored, part.config
    known = class_parameters(config) | set(vars(GenerationConfig())) | set(type(config).sub_configs)
    if ROPE_PARAMETERS in known:
        known.update(_OLD_ROPE)
    found = [
        key
        for key, value in stored.items()
        if key not in known and not _switches_nothing(value) and not _is_bookkeeping(key)
    ]
    return [
        key
        for key in found
        if not _sees_all(key, stored)
        and not _is_said_by(key, stored, known)
        and not _is_derived(key, stored, config)
        and not _is_converted(key, stored, config)
    ]


def _doubtful_scaling(config: PretrainedConfig) -> list[str]:
    """Keys within ``rope_scaling`` that say something."""
    scaling = getattr(config, _rope_key(config), None)
    return [] if not isinstance(scaling, dict) else [
        key for key, value in scaling.items()
        if key not in ("type", "rope_type") and not _switches_nothing(value)
    ]  # fmt: skip


def _own_parameters(config: PretrainedConfig) -> set[str]:
    """What a config's class takes besides what every config does."""
    from transformers import PretrainedConfig

    return class_parameters(config) - class_parameters(PretrainedConfig())


def _rope_key(config: PretrainedConfig) -> str:
    """Where the installed transformers keeps what rotary positions need besides their theta."""
    return ROPE_PARAMETERS if hasattr(type(config), "rope_scaling") else "rope_scaling"


def _switches_nothing(value: Any) -> bool:
    """Whether a value is what a model has that does not know the key."""
    if isinstance(value, bool) or value is None:
        return not value
    return value in (0, 1) if isinstance(value, int | float) else len(value) == 0


def _sees_all(key: str, stored: Mapping[str, Any]) -> bool:
    """Whether a key says that no layer has a window, where nothing else says that one has."""
    value = stored[key]
    windows = stored.get("sliding_window") and stored.get("use_sliding_window") is not False
    kinds = value if key == "layer_types" and isinstance(value, list) else [None]
    return not windows and all(kind == "full_attention" for kind in kinds)


def _is_said_by(key: str, stored: Mapping[str, Any], known: Collection[str]) -> bool:
    """Whether a key that the class takes says the same by another name."""
    others = {name for names in _SAID_TWICE if key in names for name in names & set(known)}
    return any(stored.get(other) == stored[key] for other in others)


def _is_derived(key: str, stored: Mapping[str, Any], config: PretrainedConfig) -> bool:
    """Whether the class computes the value from other keys, and saves it with them."""
    others = {name: value for name, value in stored.items() if name != key}
    derived = type(config).from_dict(deepcopy(others)).to_dict()
    return key in derived and bool(derived[key] == stored[key])


def _is_converted(key: str, stored: Mapping[str, Any], config: PretrainedConfig) -> bool:
    """Whether the class makes something else of a number, as of a key's older name."""
    value = stored[key]
    if not isinstance(value, int | float):
        return False
    try:
        found, changed = (
            type(config).from_dict(deepcopy({**stored, key: other})).to_dict()
            for other in (value, value * 2)
        )
    except Exception:  # whatever the class says of a number that makes no sense
        return False
    return any(changed.get(name) != found[name] for name in found if name != key)


def _is_bookkeeping(key: str) -> bool:
    return any(fnmatchcase(key, pattern) for pattern in BOOKKEEPING)


class _Watched(dict[str, Any]):
    """A dict that knows which of its keys were asked for, of its copies, too."""

    def __init__(self, values: Mapping[str, Any], asked: set[str]) -> None:
        super().__init__(values)
        self.asked = asked

    def __deepcopy__(self, memo: dict[int, Any]) -> _Watched:
        return _Watched(deepcopy(dict(self), memo), self.asked)

    def __getitem__(self, key: str) -> Any:
        self.asked.add(key)
        return super().__getitem__(key)

    def get(self, key: str, default: Any = None) -> Any:
        self.asked.add(key)
        return super().get(key, default)


def _watch_scaling(config: PretrainedConfig) -> set[str]:
    """The keys of a config's ``rope_scaling`` that will have been asked for."""
    rope, asked = _rope_key(config), set[str]()
    scaling = getattr(config, rope, None)
    if isinstance(scaling, dict):
        setattr(config, rope, _Watched(scaling, asked))
    return asked


def _make_angles(model: Any) -> None:
    """Call the rotary embeddings of a model that read their scaling for each length anew."""
    import torch

    for module in model.modules():
        if hasattr(module, "rope_init_fn") and "seq_len" in signature(module.forward).parameters:
            with suppress(Exception):  # a bad config, which no run of the model survives
                module(torch.zeros(1), seq_len=1)


@contextmanager
def _attributes_of(kinds: set[Any]) -> Iterator[dict[Any, set[str]]]:
    """Which attributes of each class's objects are asked for."""
    read: dict[Any, set[str]] = {kind: set() for kind in kinds}
    own = {kind: vars(kind).get("__getattribute__") for kind in kinds}
    inherited = {kind: kind.__getattribute__ for kind in kinds}

    def watching(kind: Any) -> Callable[[object, str], Any]:
        def get(self: object, name: str) -> Any:
            read[kind].add(name)
            return inherited[kind](self, name)

        return get

    for kind in kinds:
        kind.__getattribute__ = watching(kind)
    try:
        yield read
    finally:
        for kind, found in own.items():
            if found is None:
                del kind.__getattribute__
            else:
                kind.__getattribute__ = found
