"""A LoRA is put on a base by peft, trained, and written as a PEFT folder."""

from __future__ import annotations

from pathlib import Path

import torch
from peft import LoftQConfig, LoraConfig, PeftModel, get_peft_model
from transformers import GenerationConfig, PreTrainedModel, set_seed
from transformers.pytorch_utils import Conv1D

from beamgen.checkpoint.checkpoint import Checkpoint
from beamgen.errors import SettingError, one_line
from beamgen.export.prove import Progress
from beamgen.training.folders import last_checkpoint
from beamgen.training.hf_trainer import last_eval_loss, make_trainer
from beamgen.training.isolation import own_random_state, quiet
from beamgen.training.nf4 import load_nf4
from beamgen.training.request import FinetuneRequest
from beamgen.training.result import FinetuneResult
from beamgen.training.settings import TrainingSettings

_LOFTQ_BITS = 4


def train(request: FinetuneRequest, work: Path, folder: Path, progress: Progress) -> FinetuneResult:
    """Train a LoRA and write it, with its base where that is a new one, into ``folder``.

    Args:
        request: what is trained, and how.
        work: the folder of the points to resume from.
        folder: the PEFT folder to write.
        progress: called with one line at a time.

    Raises:
        CheckpointError: the base's weights do not load.
        SettingError: ``target_modules`` fit no layer of it, or the training diverged.
    """
    resume_from = last_checkpoint(work) if request.resume else None
    with quiet(), own_random_state():
        progress(f"loading {request.checkpoint.source}")
        model = _with_lora(request.checkpoint, request.settings)
        trainer = make_trainer(request, model, work, progress)
        before = trainer.evaluate()["eval_loss"] if request.eval_rows else None
        trainer.train(resume_from_checkpoint=str(resume_from) if resume_from else None)
        after = last_eval_loss(trainer) if request.eval_rows else None
        losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
        result = FinetuneResult(
            folder=folder,
            base=request.base,
            method=request.settings.method,
            steps=trainer.state.global_step,
            train_loss=sum(losses) / len(losses),
            eval_loss_before=before,
            eval_loss=after,
            trainable_parameters=model.num_parameters(only_trainable=True),
        )
        _check_finite(model)
        progress(f"writing {request.target}")
        _save(request, model.cpu(), folder)
    return result


def _with_lora(checkpoint: Checkpoint, settings: TrainingSettings) -> PeftModel:
    """The base, frozen, with a fresh LoRA on it."""
    base = load_nf4(checkpoint) if settings.method == "qlora" else checkpoint.load_model()
    if settings.method == "loftq" and any(isinstance(m, Conv1D) for m in base.modules()):
        raise SettingError(  # Source: peft 0.21, lora/layer.py, loftq_init: no transposition
            f"peft has no LoftQ for the Conv1D layers of {checkpoint.source}",
            "train with --method lora or qlora",
        )
    set_seed(settings.seed)
    try:
        return get_peft_model(base, _lora_config(settings, _task(checkpoint)))
    except ValueError as error:  # no layer is called so, or it is of a kind without LoRA
        raise SettingError(
            f"no LoRA can be put on {checkpoint.source}: {one_line(error, 160)}",
            f"set target_modules to some of {', '.join(_layer_names(base))}",
        ) from error


def _task(checkpoint: Checkpoint) -> str:
    """Peft's word for what is trained."""
    return "SEQ_2_SEQ_LM" if checkpoint.config.is_encoder_decoder else "CAUSAL_LM"


def _lora_config(settings: TrainingSettings, task: str) -> LoraConfig:
    targets, loftq = settings.target_modules, settings.method == "loftq"
    return LoraConfig(
        task_type=task,
        r=settings.rank,
        lora_alpha=settings.lora_alpha,
        lora_dropout=settings.lora_dropout,
        target_modules=targets if isinstance(targets, str) else list(targets),
        use_rslora=settings.use_rslora,
        init_lora_weights="loftq" if loftq else True,
        loftq_config=LoftQConfig(loftq_bits=_LOFTQ_BITS) if loftq else {},
    )


def _layer_names(model: PreTrainedModel) -> list[str]:
    """Endings of the names of the layers with a matrix, e.g. ``q_proj``."""
    endings = {
        name.rpartition(".")[2]: None
        for name, module in model.named_modules()
        if getattr(getattr(module, "weight", None), "ndim", 0) == 2
        and not isinstance(module, torch.nn.Embedding)
    }
    return list(endings)


def _check_finite(model: PeftModel) -> None:
    """Refuse to write what no longer holds numbers."""
    trained = (parameter for parameter in model.parameters() if parameter.requires_grad)
    if not all(bool(parameter.isfinite().all()) for parameter in trained):
        raise SettingError(
            "the training diverged: the LoRA holds infinities or not-a-numbers",
            "lower --learning-rate, and pass --force to begin anew",
        )


def _save(request: FinetuneRequest, model: PeftModel, folder: Path) -> None:
    config = model.peft_config["default"]
    config.base_model_name_or_path = request.base
    config.revision = request.checkpoint.revision
    config.target_modules = sorted(config.target_modules)  # a set has no order of its own
    config.init_lora_weights = True  # peft would compute LoftQ's start again on loading
    config.loftq_config = {}
    model.save_pretrained(str(folder), save_embedding_layers=False)
    if request.settings.method == "loftq":
        _save_base(request.checkpoint, model.unload(), folder / "base")


def _save_base(checkpoint: Checkpoint, model: PreTrainedModel, folder: Path) -> None:
    """The weights LoftQ left, as a checkpoint of their own."""
    model.generation_config = GenerationConfig()  # save_pretrained refuses what many have
    model.save_pretrained(folder)
    checkpoint.copy_companions(folder)
