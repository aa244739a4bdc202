"""Weights become a model, and the model is held against the files that it was read from.

What is compared with afterwards is only as true as this: export and parity load alike.
"""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterator
from copy import deepcopy
from functools import partial
from typing import TYPE_CHECKING, Any

from beamgen.checkpoint.attention import check_decodes, follow_meant
from beamgen.checkpoint.auto_model import auto_model
from beamgen.checkpoint.config_keys import class_parameters, unread_keys
from beamgen.checkpoint.dequantize import dequantized
from beamgen.checkpoint.files import CONFIG, CheckpointFiles
from beamgen.checkpoint.misfit import load_error
from beamgen.checkpoint.quantization import FIELD as QUANTIZATION
from beamgen.checkpoint.quantization import quantization_of
from beamgen.checkpoint.rope import ROPE_PARAMETERS, check_null, in_old_keys
from beamgen.checkpoint.same_tensors import check_tensors, matches
from beamgen.checkpoint.weight_files import has_weights, stored_tensors
from beamgen.errors import CheckpointError, MissingExtraError, one_line
from beamgen.registry import adapter_or_default
from beamgen.settings.rules import RULES, installed_rules

if TYPE_CHECKING:
    import torch
    from transformers import PretrainedConfig, PreTrainedModel


def load_checked(
    files: CheckpointFiles, config: PretrainedConfig, ignored: Collection[str]
) -> PreTrainedModel:
    """The model of a checkpoint: fp32, on the CPU, in eval mode, and what its files say.

    Args:
        files: the checkpoint's.
        config: what transformers made of its config.
        ignored: see ``Checkpoint``.

    Raises:
        MissingExtraError: torch is not installed.
        CheckpointError: the config says what transformers does not read; weights are missing,
            damaged, do not fit the config, or are not what the files store; or what they
            make is no decoder.
    """
    torch, loads = _torch_and_auto_model(config)
    _check_config(files, config, ignored)
    if not has_weights(files.folder, getattr(config, "transformers_weights", None)):
        raise CheckpointError(
            f"{files.source} holds no weights: there is neither model.safetensors nor "
            "pytorch_model.bin, nor an index of shards",
            "download or save the checkpoint again, with its weights",
        )
    quantized = quantization_of(files.stored(CONFIG) or {}) is not None
    loader = type(without_weights(files, config)) if quantized else loads
    try:
        with _no_progress_bar():
            model, report = loader.from_pretrained(
                None if quantized else files.folder,  # transformers takes a file, or tensors
                state_dict=dict(weights_of(files, config)) if quantized else None,
                config=deepcopy(config),
                dtype=torch.float32,
                trust_remote_code=files.trust_remote_code,
                output_loading_info=True,
                local_files_only=True,
            )
    except CheckpointError:
        raise
    except Exception as error:  # each weight format fails in its own way
        empty = without_weights(files, config)
        reason = f"cannot load the weights of {files.source}: {one_line(error)}"
        raise load_error(files.source, weights_of(files, config), empty, reason) from error
    missing = sorted(report["missing_keys"])
    mismatched = sorted(str(key[0]) for key in report["mismatched_keys"])
    if missing or mismatched:
        listed = ", ".join([*missing, *mismatched][:5])
        raise load_error(
            files.source,
            weights_of(files, config),
            without_weights(files, config),
            f"{files.source} lacks weights of {type(model).__name__} or has them in "
            f"another shape: {listed} ({len(missing) + len(mismatched)} in all)",
            _cure_of_missing(files),
        )
    left = {name: p.dtype for name, p in model.named_parameters() if p.dtype != torch.float32}
    if left:
        name, dtype = next(iter(left.items()))
        raise CheckpointError(
            f"{files.source} stores {name} ({len(left)} in all) as {dtype}, which transformers "
            "leaves as it is",
            "save the checkpoint in float32, float16 or bfloat16",
        )
    check_tensors(model, weights_of(files, config), files.source, ignored)
    loaded: PreTrainedModel = model.eval()
    try:
        logits = follow_meant(loaded)
    except Exception as error:  # whatever a config can make a model's code raise
        raise CheckpointError(
            f"{files.source} loads, but does not run: {one_line(error)}",
            f"correct {CONFIG}: a value in it may be of the wrong kind",
        ) from error
    check_decodes(logits, files.source)
    return loaded


def weights_of(
    files: CheckpointFiles, config: PretrainedConfig
) -> Iterator[tuple[str, torch.Tensor]]:
    """Name and tensor of all that the files store, which are read one at a time.

    Quantized ones are float32, as the model that is exported and compared has them.

    Raises:
        CheckpointError: they are not quantized as the config says.
    """
    stored = stored_tensors(files.folder, getattr(config, "transformers_weights", None))
    values = files.stored(CONFIG) or {}
    quantization = quantization_of(values)
    if quantization is None:
        return stored
    block = (values.get(QUANTIZATION) or {}).get("weight_block_size") or (0, 0)
    return dequantized(stored, quantization, without_weights(files, config), block)


def without_weights(files: CheckpointFiles, config: PretrainedConfig) -> PreTrainedModel:
    """The model of a config without weights, in no time and no memory.

    Raises:
        MissingExtraError: torch is not installed.
        CheckpointError: transformers makes no model of it.
    """
    torch, makes = _torch_and_auto_model(config)
    try:
        with torch.device("meta"):
            model: PreTrainedModel = makes.from_config(
                config, trust_remote_code=files.trust_remote_code
            )
    except Exception as error:  # whatever a config can make a model's code raise
        raise CheckpointError(
            f"transformers makes no model of the {CONFIG} of {files.source}: {one_line(error)}",
            f"correct {CONFIG}: a value in it may be of the wrong kind",
        ) from error
    return model


def _check_config(
    files: CheckpointFiles, config: PretrainedConfig, ignored: Collection[str]
) -> None:
    """Refuse a config that says more than the model is built by."""
    stored, parameters = files.stored(CONFIG) or {}, class_parameters(config)
    if ROPE_PARAMETERS not in parameters:
        stored = in_old_keys(stored, files.source, parameters)
    check_null(stored, getattr(config, ROPE_PARAMETERS, None), files.source)
    implied = adapter_or_default(
        config.model_type, encoder_decoder=config.is_encoder_decoder
    ).implied
    stored = {name: value for name, value in stored.items() if implied.get(name) != value}
    unread = unread_keys(stored, config, partial(without_weights, files))
    unread = [key for key in unread if not matches(key, ignored)]
    if unread:
        import transformers

        raise CheckpointError(
            f"{files.source}: transformers {transformers.__version__} does not read "
            f"{', '.join(unread)} of {CONFIG} ({type(config).__name__})",
            "correct or delete the keys; or, if they change nothing in the model, export with "
            + " ".join(f"--ignore-unread {key}" for key in unread),
        )


def _cure_of_missing(files: CheckpointFiles) -> str:
    saved = (files.stored(CONFIG) or {}).get("transformers_version")
    if str(saved).startswith("5.") and installed_rules() == RULES["4.57"]:
        return (
            f"transformers {saved} saved it: export where 5.24 is installed "
            "(docs/transformers.md), or save it there again with save_original_format=True"
        )
    return "is this the checkpoint of a model with a language-modelling head?"


def _torch_and_auto_model(config: PretrainedConfig) -> tuple[Any, Any]:
    try:
        import torch

        found = auto_model(config)
    except ImportError as error:
        raise MissingExtraError("loading a checkpoint's weights", "export", "torch") from error
    installed_rules()  # or one that nobody has tried
    return torch, found


@contextlib.contextmanager
def _no_progress_bar() -> Iterator[None]:
    """Keep the bar of transformers 5, which it shows for any model, from standard error."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()
