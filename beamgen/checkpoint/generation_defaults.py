"""The generation settings that ``from_pretrained(folder).generate(...)`` would follow.

They may stand in ``generation_config.json``, or, as before that file was, in ``config.json``.
``task_specific_params`` are for pipelines: ``generate`` reads none of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from beamgen.checkpoint.files import CONFIG, GENERATION_CONFIG, CheckpointFiles

if TYPE_CHECKING:
    from transformers import GenerationConfig, PretrainedConfig


def generation_defaults(
    files: CheckpointFiles, config: PretrainedConfig
) -> tuple[GenerationConfig, frozenset[str]]:
    """HF's generation config of a checkpoint, and the fields that its file spells out.

    Source: ``PreTrainedModel.from_pretrained``, ``GenerationMixin._prepare_generation_config``.
    """
    from transformers import GenerationConfig

    of_model = GenerationConfig.from_model_config(config)
    _add_unset(of_model, files.stored(CONFIG) or {})
    fields = set(vars(GenerationConfig()))
    in_config = frozenset(fields.intersection(files.stored(CONFIG) or ()))
    if not (files.folder / GENERATION_CONFIG).is_file():
        return of_model, in_config
    generation = GenerationConfig.from_pretrained(files.folder, local_files_only=True)
    # written of a config.json, which then goes first where it says anything
    stands_for_it = getattr(generation, "_from_model_config", False) and _set_in(config)
    if stands_for_it and of_model != generation:
        return of_model, in_config
    return generation, frozenset(files.stored(GENERATION_CONFIG) or ())


def _add_unset(generation: GenerationConfig, stored: Mapping[str, Any]) -> None:
    """Set what old checkpoints say in ``config.json``; a config of transformers 5 drops that."""
    for name, value in stored.items():
        if value is not None and getattr(generation, name, value) is None:
            setattr(generation, name, value)


def _set_in(config: PretrainedConfig) -> bool:
    """Whether a config sets what generation reads; transformers 5 keeps no such fields in it."""
    found: Any = getattr(config, "_get_non_default_generation_parameters", dict)()
    return bool(found)
