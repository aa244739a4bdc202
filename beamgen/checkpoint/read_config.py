"""What transformers makes of a config.json, by a class of its own wherever it has one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from beamgen.checkpoint.config_keys import class_parameters
from beamgen.checkpoint.files import CheckpointFiles
from beamgen.checkpoint.quantization import FIELD
from beamgen.errors import CheckpointError

if TYPE_CHECKING:
    from transformers import PretrainedConfig

#: Those that every CPU has. Others that a config may name are kernels for the same arithmetic.
_ATTENTIONS = (None, "eager", "sdpa")
#: How many tokens a layer attends to, under the names that classes have for it.
_WINDOWS = ("sliding_window", "attention_window", "window_size", "attention_chunk_size")
#: The one of them that may be a list, as LED's.
_OF_EACH_LAYER = "attention_window"


def load_config(files: CheckpointFiles) -> PretrainedConfig:
    """Read a config, without what says how another program was to run the model.

    Python code beside a checkpoint runs only where transformers has no class of that
    ``model_type``: code of another release fails in this one, and what an adapter knows is
    the class that transformers has. ``torchscript`` and ``return_dict`` change the outputs'
    form alone; the first also keeps HF from tying weights.

    Raises:
        Exception: of transformers' own, in many ways.

    Source: ``AutoConfig.from_pretrained``, ``PreTrainedModel._tie_or_clone_weights``.
    """
    from transformers import CONFIG_MAPPING, AutoConfig

    known = files.model_type in CONFIG_MAPPING
    found: PretrainedConfig = (
        CONFIG_MAPPING[files.model_type].from_pretrained(files.folder, local_files_only=True)
        if known and not files.names_model_type
        else AutoConfig.from_pretrained(
            files.folder,
            trust_remote_code=files.trust_remote_code and not known,
            local_files_only=True,
        )
    )
    return without_foreign_fields(found) if known else _as_float(found)


def check_windows(source: str, config: PretrainedConfig) -> None:
    """Refuse a window with which transformers computes nonsense, or fails later.

    Raises:
        CheckpointError: it is no whole number, or a token would not attend to itself.
    """
    own = config.get_text_config()
    for name in class_parameters(own).intersection(_WINDOWS):
        size = getattr(own, name, None)
        sizes = size if isinstance(size, list) and name == _OF_EACH_LAYER else [size]
        whole = all(isinstance(each, int) and not isinstance(each, bool) for each in sizes)
        if size is None or (whole and min(sizes, default=1) > 0):
            continue
        why = "a token would not even attend to itself" if whole else "it is no whole number"
        raise CheckpointError(
            f"{name} in the config.json of {source} is {size!r}: {why}",
            "write how many tokens one attends to, itself among them, or null where there is no "
            "such window",
        )


def without_foreign_fields(config: PretrainedConfig) -> PretrainedConfig:
    """The config of a class of transformers', without what another program was told by it."""
    _forget_code(config)
    return _as_float(config)


def _as_float(config: PretrainedConfig) -> PretrainedConfig:
    if hasattr(config, FIELD):
        delattr(config, FIELD)
    config.torchscript, config.return_dict = False, True
    if config._attn_implementation not in _ATTENTIONS:
        config._attn_implementation = None
    return config


def _forget_code(config: PretrainedConfig) -> None:
    """Drop the names of Python classes, but for a tokenizer's."""
    named = getattr(config, "auto_map", None) or {}
    kept = {auto: name for auto, name in named.items() if auto == "AutoTokenizer"}
    if kept:
        config.auto_map = kept
    elif hasattr(config, "auto_map"):
        del config.auto_map
