"""Keys of a ``config.json`` that the model is not built by.

transformers keeps what it does not know as attributes that nobody reads: a setting of a newer
release, or of another class, is lost without a word. What is known to be bookkeeping may be lost.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from fnmatch import fnmatchcase
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


def class_parameters(config: PretrainedConfig) -> set[str]:
    """What a config's classes take by name, under all names that they know."""
    names = {*config.attribute_map, *config.attribute_map.values()}
    for kind in type(config).__mro__:
        if "__init__" in vars(kind) and kind is not object:
            names.update(inspect.signature(kind).parameters)
    return names


def unread_keys(
    stored: Mapping[str, Any],
    config: PretrainedConfig,
    build: Callable[[PretrainedConfig], object],
) -> list[str]:
    """Keys that may change a model's arithmetic and do not, sorted.

    A key counts as read where a class of the config takes it by name, or the model asks for it
    while it is built. A key within ``rope_scaling``, or within ``rope_parameters``, reads
    ``rope_scaling.KEY``. A value that switches nothing on (null, false, 0, 1, empty) is never
    unread.

    Args:
        stored: ``config.json``, with the keys of the installed transformers.
        config: what transformers made of it.
        build: builds the model of a config, without weights.
    """
    from transformers import GenerationConfig

    known = class_parameters(config) | set(vars(GenerationConfig())) | set(type(config).sub_configs)
    if ROPE_PARAMETERS in known:
        known.update(_OLD_ROPE)
    doubtful = [
        key
        for key, value in stored.items()
        if key not in known and not _switches_nothing(value) and not _is_bookkeeping(key)
    ]
    rope = _rope_key(config)
    scaling = getattr(config, rope, None)
    within = [] if not isinstance(scaling, dict) else [
        key for key, value in scaling.items()
        if key not in ("type", "rope_type") and not _switches_nothing(value)
    ]  # fmt: skip
    doubtful = [key for key in doubtful if not _is_derived(key, stored, config)]
    if not doubtful and not within:
        return []
    read, read_within = _read_by(config, build)
    unread = [key for key in doubtful if key not in read]
    if isinstance(scaling, dict) and rope in read:
        unread += [f"{rope}.{key}" for key in within if key not in read_within]
    return sorted(unread)


def _rope_key(config: PretrainedConfig) -> str:
    """Where the installed transformers keeps what rotary positions need besides their theta."""
    return ROPE_PARAMETERS if hasattr(type(config), "rope_scaling") else "rope_scaling"


def _switches_nothing(value: Any) -> bool:
    """Whether a value is what a model has that does not know the key."""
    if isinstance(value, bool) or value is None:
        return not value
    return value in (0, 1) if isinstance(value, int | float) else len(value) == 0


def _is_derived(key: str, stored: Mapping[str, Any], config: PretrainedConfig) -> bool:
    """Whether the class computes the value from other keys, and saves it with them."""
    others = {name: value for name, value in stored.items() if name != key}
    derived = type(config).from_dict(deepcopy(others)).to_dict()
    return key in derived and bool(derived[key] == stored[key])


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


def _read_by(
    config: PretrainedConfig, build: Callable[[PretrainedConfig], object]
) -> tuple[set[str], set[str]]:
    """Attributes, and keys of ``rope_scaling``, that are asked for while a model is built."""
    watched, rope = deepcopy(config), _rope_key(config)
    scaling, asked = getattr(watched, rope, None), set[str]()
    if isinstance(scaling, dict):
        setattr(watched, rope, _Watched(scaling, asked))
    with _attributes_of(type(config)) as read:
        build(watched)
    return read, asked


@contextmanager
def _attributes_of(kind: Any) -> Iterator[set[str]]:
    """Which attributes of a class's objects are asked for."""
    read: set[str] = set()
    inherited = kind.__getattribute__

    def watching(self: object, name: str) -> Any:
        read.add(name)
        return inherited(self, name)

    own = vars(kind).get("__getattribute__")
    kind.__getattribute__ = watching
    try:
        yield read
    finally:
        if own is None:
            del kind.__getattribute__
        else:
            kind.__getattribute__ = own
