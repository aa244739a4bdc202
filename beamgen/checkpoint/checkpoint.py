"""Opening a Hugging Face checkpoint: a local folder or a hub id."""

from __future__ import annotations

import os
import shutil
from collections.abc import Collection, Iterable
from copy import deepcopy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from beamgen.adapter import DecoderAdapter
from beamgen.checkpoint.config_keys import class_parameters
from beamgen.checkpoint.files import (
    CONFIG,
    GENERATION_CONFIG,
    CheckpointFiles,
    another_architecture,
    check_kind,
    crossing,
    find_checkpoint,
    find_demo,
    refuse_encoder,
    refuse_other_transformers,
    refuse_unnamed,
)
from beamgen.checkpoint.generation_defaults import generation_defaults
from beamgen.checkpoint.load import load_checked, without_weights
from beamgen.checkpoint.lora_source import find_peft, origin
from beamgen.checkpoint.quantization import quantization_of
from beamgen.checkpoint.read_config import check_windows, load_config, without_foreign_fields
from beamgen.checkpoint.rope import in_old_keys
from beamgen.default_adapter import DEFAULT, DefaultAdapter
from beamgen.errors import CheckpointError, MissingExtraError, one_line
from beamgen.lora.vocabulary import saved_vocabulary
from beamgen.registry import adapter_or_default, find_adapter
from beamgen.settings.rules import TESTED
from beamgen.tokenizer.files import has_tokenizer, tokenizer_files

if TYPE_CHECKING:
    from transformers import (
        GenerationConfig,
        PretrainedConfig,
        PreTrainedModel,
    )

    from beamgen.lora.align import Fused


@dataclass(frozen=True)
class Checkpoint(CheckpointFiles):
    """A checkpoint on disk whose config was read; its weights were not.

    Attributes:
        config: HF config.
        generation_config: the checkpoint's generation defaults.
        generation_fields: the fields that its ``generation_config.json``, or ``config.json``
            where it has no such file, spells out, be it with HF's own default.
        lora: path or hub id of a LoRA that its model is loaded with, or None.
        resized: V of that LoRA, where it was trained on another vocabulary than the
            checkpoint's, as after ``resize_token_embeddings``.
        ignored: names, with ``*``, of keys of its config and of stored tensors that mean
            nothing, so that transformers need not read them.
    """

    config: PretrainedConfig
    generation_config: GenerationConfig
    generation_fields: frozenset[str]
    lora: str | None = None
    resized: int | None = None
    ignored: tuple[str, ...] = ()

    def with_lora(self, source: str | os.PathLike[str] | None) -> Checkpoint:
        """The same checkpoint, whose model is loaded with a LoRA of peft's, if any.

        Raises:
            MissingExtraError: torch is not installed.
            LoraError: it cannot be found or read.
        """
        plain = replace(self, lora=None, resized=None)
        if source is None:
            return plain
        size = saved_vocabulary(find_peft(source), plain.empty_model())
        return replace(
            plain, lora=origin(source), resized=None if size == plain.vocab_size else size
        )

    @property
    def leaves_code_aside(self) -> bool:
        """Whether its own Python code may run and does not, for transformers has the class."""
        named = (self.stored(CONFIG) or {}).get("auto_map")
        taken = getattr(self.config, "auto_map", None)
        return self.trust_remote_code and bool(named) and named != taken

    @property
    def quantization(self) -> str | None:
        """How the weights were put into fewer bits, e.g. ``bitsandbytes nf4``, or None."""
        return quantization_of(self.stored(CONFIG) or {})

    @property
    def tokenizer_folder(self) -> Path:
        """Where the tokenizer is: with the LoRA, if it has one."""
        lora = None if self.lora is None else find_peft(self.lora)
        return self.folder if lora is None or not has_tokenizer(lora) else lora

    @property
    def has_tokenizer(self) -> bool:
        """Whether any tokenizer file lies beside the weights, or the LoRA's."""
        return has_tokenizer(self.tokenizer_folder)

    @property
    def dtype(self) -> str:
        """What the weights are stored in, e.g. ``bfloat16`` or ``bitsandbytes nf4``."""
        if self.quantization is not None:
            return self.quantization
        dtype = getattr(self.config, "dtype", None)
        return str(dtype).removeprefix("torch.") if dtype is not None else "float32"

    @property
    def vocab_size(self) -> int:
        """V."""
        if self.resized is not None:
            return self.resized
        size: int = self.config.get_text_config().vocab_size
        return size

    def adapter(self, asked: str | None = None) -> DecoderAdapter:
        """The adapter for this checkpoint, checked against the class asked for.

        ``default`` asks for the ``DefaultAdapter``, whatever the architecture is.

        Raises:
            AdapterError: no adapter knows the architecture.
            CheckpointError: the checkpoint is of another architecture.
        """
        model_type, encoder_decoder = self.config.model_type, self.config.is_encoder_decoder
        refuse_encoder(self, model_type)
        if asked is None:
            return find_adapter(model_type, encoder_decoder=encoder_decoder)
        adapter = DefaultAdapter(self.config) if asked == DEFAULT else find_adapter(asked)
        if adapter.model_type != model_type:
            raise another_architecture(self.source, model_type, asked, adapter)
        check_kind(self.source, model_type, adapter, encoder_decoder=encoder_decoder)
        return adapter

    @property
    def fused(self) -> Fused:
        """Layers that are several in other models, see ``DecoderAdapter.fused``."""
        kind = self.config.is_encoder_decoder
        return adapter_or_default(self.config.model_type, encoder_decoder=kind).fused

    def load_model(self) -> PreTrainedModel:
        """The model with its language-modelling head: fp32, on the CPU, in eval mode.

        A LoRA is active in it, as peft runs it.

        Raises:
            MissingExtraError: torch is not installed; or peft, for a LoRA.
            CheckpointError: weights are missing, damaged, or do not fit the config.
            LoraError: the LoRA does not fit.
        """
        from beamgen.lora.peft_model import active

        model = self._load_resized()
        if self.lora is None:
            return model
        return active(model, find_peft(self.lora), self.fused)

    def load_merged(self) -> PreTrainedModel:
        """The model of ``load_model``, with its LoRA added to the weights.

        Raises:
            MissingExtraError, CheckpointError, LoraError: see ``load_model``.
        """
        from beamgen.lora.peft_model import merged

        model = self._load_resized()
        if self.lora is None:
            return model
        return merged(model, find_peft(self.lora), self.fused)

    def empty_model(self) -> PreTrainedModel:
        """The architecture without weights, in no time and no memory.

        Raises:
            MissingExtraError: torch is not installed.
        """
        return without_weights(self, self._own_config())

    def copy_companions(self, folder: Path) -> None:
        """Write the configs and the tokenizer, all that a model needs besides its weights.

        A LoRA's own tokenizer and chat template go before the checkpoint's.
        """
        # save_pretrained would warn of generation settings, which old configs have
        self._own_config().to_json_file(folder / CONFIG)
        # save_pretrained would refuse a temperature without do_sample, which many have
        self.generation_config.to_json_file(folder / GENERATION_CONFIG)
        _copy(self.folder, _licences(self.folder), folder)
        _copy(self.tokenizer_folder, tokenizer_files(self.tokenizer_folder), folder)
        if self.lora is not None:
            _copy(lora := find_peft(self.lora), tokenizer_files(lora), folder)

    def _own_config(self) -> PretrainedConfig:
        """The config of the model with its LoRA."""
        config = deepcopy(self.config)
        config.get_text_config().vocab_size = self.vocab_size
        return config

    def _load_resized(self) -> PreTrainedModel:
        """The base model, with as many tokens as its LoRA was trained on."""
        model = load_checked(self, self.config, self.ignored)
        if self.resized is not None:  # what is new comes with the LoRA
            model.resize_token_embeddings(self.resized, mean_resizing=False)
        return model


def _copy(source: Path, names: Iterable[Path], target: Path) -> None:
    for name in names:
        (target / name).parent.mkdir(exist_ok=True)
        shutil.copyfile(source / name, target / name)


def open_checkpoint(
    source: str | os.PathLike[str],
    *,
    revision: str | None = None,
    trust_remote_code: bool = False,
    ignore_unread: Collection[str] = (),
) -> Checkpoint:
    """Find a checkpoint and read its config.

    Args:
        source: a local folder or a hub id such as ``microsoft/biogpt``.
        revision: branch, tag or commit on the hub.
        trust_remote_code: run Python code that comes with the checkpoint.
        ignore_unread: names, with ``*``, of keys of its config and of stored tensors that
            mean nothing, so that transformers need not read them.

    Raises:
        CheckpointError: missing path, hub out of reach, or no readable config.
    """
    files = find_checkpoint(source, revision=revision, trust_remote_code=trust_remote_code)
    return read_checkpoint(files, ignore_unread)


def demo_checkpoint(adapter: DecoderAdapter) -> Checkpoint:
    """The adapter's embedded demo checkpoint.

    Raises:
        CheckpointError: it has none.
    """
    return read_checkpoint(find_demo(adapter))


def read_checkpoint(files: CheckpointFiles, ignored: Collection[str] = ()) -> Checkpoint:
    """Let transformers read the config and the generation defaults.

    Args:
        files: the checkpoint's.
        ignored: see ``Checkpoint``.

    Raises:
        CheckpointError: it cannot, or no file can search with such a model.
        MissingExtraError: transformers is not installed.
    """
    try:
        import transformers
    except ImportError as error:
        raise MissingExtraError("reading a checkpoint", "export", "transformers") from error

    refuse_unnamed(files)
    refuse_other_transformers(files)
    name = files.source
    try:
        config = load_config(files)
        if not isinstance(config.get_text_config().vocab_size, int):
            raise ValueError("vocab_size is no whole number")
        config = _with_old_keys(files, config)
        check_windows(name, config)
        generation, spelled_out = generation_defaults(files, config)
    except CheckpointError:
        raise
    except Exception as error:  # json, unknown model types, remote code refused
        if _is_unknown(files):
            raise CheckpointError(
                f"transformers {transformers.__version__} knows no model_type "
                f"'{files.model_type}', which the config.json of {name} names",
                "correct model_type; a model of today may need the newest transformers of those "
                "that are tested: " + ", ".join(".".join(map(str, each)) for each in TESTED),
            ) from error
        wants_code = "trust_remote_code" in str(error)
        raise CheckpointError(
            f"cannot read the config of {name}: {one_line(error)}",
            "read its Python code, then pass --trust-remote-code"
            if wants_code
            else "is it a transformers checkpoint?",
        ) from error
    if getattr(config, "add_cross_attention", False):
        raise crossing(name)
    return Checkpoint(
        **vars(files),
        config=config,
        generation_config=generation,
        generation_fields=spelled_out,
        ignored=tuple(ignored),
    )


def _licences(folder: Path) -> list[Path]:
    """What has to go with the weights."""
    return sorted(
        Path(path.name)
        for path in folder.iterdir()
        if path.is_file() and path.name.upper().startswith(("LICEN", "NOTICE"))
    )


def _is_unknown(files: CheckpointFiles) -> bool:
    """Whether neither transformers nor the checkpoint has code for its architecture."""
    from transformers import CONFIG_MAPPING

    stored = files.stored(CONFIG) or {}
    return (
        files.model_type is not None
        and files.model_type not in CONFIG_MAPPING
        and not stored.get("auto_map")
    )


def _with_old_keys(files: CheckpointFiles, config: PretrainedConfig) -> PretrainedConfig:
    """The config of a newer transformers, where the installed one has other keys."""
    parameters, stored = class_parameters(config), files.stored(CONFIG) or {}
    if hasattr(type(config), "rope_scaling"):  # of transformers 5, which translates by itself
        return config
    translated = in_old_keys(stored, files.source, parameters)
    if translated == stored:
        return config
    return without_foreign_fields(type(config).from_dict(deepcopy(translated)))
