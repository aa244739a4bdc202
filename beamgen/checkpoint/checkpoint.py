"""Opening a Hugging Face checkpoint: a local folder or a hub id."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from beamgen.adapter import DecoderAdapter
from beamgen.checkpoint.dequantize import dequantized
from beamgen.checkpoint.files import (
    CONFIG,
    GENERATION_CONFIG,
    CheckpointFiles,
    another_architecture,
    find_checkpoint,
    find_demo,
    refuse_encoder,
    refuse_unnamed,
)
from beamgen.checkpoint.lora_source import find_peft, origin
from beamgen.checkpoint.misfit import load_error
from beamgen.checkpoint.quantization import FIELD as QUANTIZATION
from beamgen.checkpoint.quantization import quantization_of
from beamgen.checkpoint.read_config import load_config
from beamgen.checkpoint.weight_files import stored_tensors
from beamgen.errors import CheckpointError, MissingExtraError, one_line
from beamgen.registry import find_adapter
from beamgen.tokenizer.files import tokenizer_files

if TYPE_CHECKING:
    import torch
    from transformers import (
        GenerationConfig,
        PretrainedConfig,
        PreTrainedModel,
    )


@dataclass(frozen=True)
class Checkpoint(CheckpointFiles):
    """A checkpoint on disk whose config was read; its weights were not.

    Attributes:
        config: HF config.
        generation_config: the checkpoint's generation defaults.
        generation_fields: the fields its ``generation_config.json`` spells out,
            be it with HF's own default.
        lora: path or hub id of a LoRA that its model is loaded with, or None.
    """

    config: PretrainedConfig
    generation_config: GenerationConfig
    generation_fields: frozenset[str]
    lora: str | None = None

    def with_lora(self, source: str | os.PathLike[str] | None) -> Checkpoint:
        """The same checkpoint, whose model is loaded with a LoRA of peft's, if any."""
        return replace(self, lora=None if source is None else origin(source))

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
    def dtype(self) -> str:
        """What the weights are stored in, e.g. ``bfloat16`` or ``bitsandbytes nf4``."""
        if self.quantization is not None:
            return self.quantization
        dtype = getattr(self.config, "dtype", None)
        return str(dtype).removeprefix("torch.") if dtype is not None else "float32"

    @property
    def vocab_size(self) -> int:
        """V."""
        size: int = self.config.get_text_config().vocab_size
        return size

    def adapter(self, asked: str | None = None) -> DecoderAdapter:
        """The adapter for this checkpoint, checked against the class asked for.

        Raises:
            AdapterError: no adapter knows the architecture.
            CheckpointError: the checkpoint is of another architecture.
        """
        if asked is None:
            return find_adapter(self.config.model_type)
        adapter = find_adapter(asked)
        if adapter.model_type != self.config.model_type:
            raise another_architecture(self.source, self.config.model_type, asked, adapter)
        return adapter

    def load_model(self) -> PreTrainedModel:
        """The model with its language-modelling head: fp32, on the CPU, in eval mode.

        A LoRA is active in it, as peft runs it.

        Raises:
            MissingExtraError: torch is not installed; or peft, for a LoRA.
            CheckpointError: weights are missing, damaged, or do not fit the config.
            LoraError: the LoRA does not fit.
        """
        from beamgen.lora.peft_model import active

        model = self._load_base()
        return model if self.lora is None else active(model, find_peft(self.lora))

    def load_merged(self) -> PreTrainedModel:
        """The model of ``load_model``, with its LoRA added to the weights.

        Raises:
            MissingExtraError, CheckpointError, LoraError: see ``load_model``.
        """
        from beamgen.lora.peft_model import merged

        model = self._load_base()
        return model if self.lora is None else merged(model, find_peft(self.lora))

    def empty_model(self) -> PreTrainedModel:
        """The architecture without weights, in no time and no memory.

        Raises:
            MissingExtraError: torch is not installed.
        """
        torch, auto_model = _torch_and_auto_model()
        with torch.device("meta"):
            model: PreTrainedModel = auto_model.from_config(
                self.config, trust_remote_code=self.trust_remote_code
            )
        return model

    def copy_companions(self, folder: Path) -> None:
        """Write the configs and the tokenizer, all that a model needs besides its weights."""
        self.config.save_pretrained(folder)
        # save_pretrained would refuse a temperature without do_sample, which many have
        self.generation_config.to_json_file(folder / GENERATION_CONFIG)
        for path in [*_licences(self.folder), *tokenizer_files(self.folder)]:
            (folder / path).parent.mkdir(exist_ok=True)
            shutil.copyfile(self.folder / path, folder / path)

    def stored_tensors(self) -> Iterator[tuple[str, torch.Tensor]]:
        """Name and tensor of all that the files store, which are read one at a time.

        Quantized ones are float32, as the model that is exported and compared has them.

        Raises:
            CheckpointError: there are none, or they are not quantized as the config says.
        """
        stored = stored_tensors(self.folder)
        if self.quantization is None:
            return stored
        values = (self.stored(CONFIG) or {}).get(QUANTIZATION) or {}
        block = values.get("weight_block_size") or (0, 0)
        return dequantized(stored, self.quantization, self.empty_model(), block)

    def _load_base(self) -> PreTrainedModel:
        torch, auto_model = _torch_and_auto_model()
        quantized = self.quantization is not None
        loader = type(self.empty_model()) if quantized else auto_model
        try:
            model, report = loader.from_pretrained(
                None if quantized else self.folder,  # transformers takes a file, or tensors
                state_dict=dict(self.stored_tensors()) if quantized else None,
                config=self.config,
                dtype=torch.float32,
                trust_remote_code=self.trust_remote_code,
                output_loading_info=True,
                local_files_only=True,
            )
        except CheckpointError:
            raise
        except Exception as error:  # each weight format fails in its own way
            raise load_error(
                self.source, self.stored_tensors(), self.empty_model(), error
            ) from error
        missing = sorted(report["missing_keys"])
        mismatched = sorted(str(key[0]) for key in report["mismatched_keys"])
        if missing or mismatched:
            listed = ", ".join([*missing, *mismatched][:5])
            raise CheckpointError(
                f"{self.source} lacks weights of {type(model).__name__} or has them in "
                f"another shape: {listed} ({len(missing) + len(mismatched)} in all)",
                "is this the checkpoint of a model with a language-modelling head?",
            )
        eval_model: PreTrainedModel = model.eval()
        return eval_model


def open_checkpoint(
    source: str | os.PathLike[str],
    *,
    revision: str | None = None,
    trust_remote_code: bool = False,
) -> Checkpoint:
    """Find a checkpoint and read its config.

    Args:
        source: a local folder or a hub id such as ``microsoft/biogpt``.
        revision: branch, tag or commit on the hub.
        trust_remote_code: run Python code that comes with the checkpoint.

    Raises:
        CheckpointError: missing path, hub out of reach, or no readable config.
    """
    return read_checkpoint(
        find_checkpoint(source, revision=revision, trust_remote_code=trust_remote_code)
    )


def demo_checkpoint(adapter: DecoderAdapter) -> Checkpoint:
    """The adapter's embedded demo checkpoint.

    Raises:
        CheckpointError: it has none.
    """
    return read_checkpoint(find_demo(adapter))


def read_checkpoint(files: CheckpointFiles) -> Checkpoint:
    """Let transformers read the config and the generation defaults.

    Raises:
        CheckpointError: it cannot, or no file can search with such a model.
        MissingExtraError: transformers is not installed.
    """
    try:
        from transformers import GenerationConfig
    except ImportError as error:
        raise MissingExtraError("reading a checkpoint", "export", "transformers") from error

    refuse_unnamed(files)
    name, folder = files.source, files.folder
    try:
        config = load_config(files)
        spelled_out = frozenset[str]()
        if (folder / GENERATION_CONFIG).is_file():
            generation = GenerationConfig.from_pretrained(folder, local_files_only=True)
            spelled_out = frozenset(files.stored(GENERATION_CONFIG) or ())
        else:
            generation = GenerationConfig.from_model_config(config)
    except Exception as error:  # json, unknown model types, remote code refused
        wants_code = "trust_remote_code" in str(error)
        raise CheckpointError(
            f"cannot read the config of {name}: {one_line(error)}",
            "read its Python code, then pass --trust-remote-code"
            if wants_code
            else "is it a transformers checkpoint?",
        ) from error
    refuse_encoder(
        name,
        config.model_type,
        cross_attention=getattr(config, "add_cross_attention", False),
        encoder_decoder=config.is_encoder_decoder,
    )
    return Checkpoint(
        **vars(files), config=config, generation_config=generation, generation_fields=spelled_out
    )


def _licences(folder: Path) -> list[Path]:
    """What has to go with the weights."""
    return sorted(
        Path(path.name)
        for path in folder.iterdir()
        if path.is_file() and path.name.upper().startswith(("LICEN", "NOTICE"))
    )


def _torch_and_auto_model() -> tuple[Any, Any]:
    try:
        import torch
        from transformers import AutoModelForCausalLM
    except ImportError as error:
        raise MissingExtraError("loading a checkpoint's weights", "export", "torch") from error
    return torch, AutoModelForCausalLM
