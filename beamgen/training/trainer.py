"""A LoRA is put on a base by peft, trained, and written as a PEFT folder.

Where all weights are trained there is none, and a checkpoint is written.
"""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import GenerationConfig, PreTrainedModel, set_seed

from beamgen.checkpoint.checkpoint import Checkpoint
from beamgen.errors import SettingError, one_line
from beamgen.export.prove import Progress
from beamgen.export.roundable import precision_of
from beamgen.quantization.emulate import readers
from beamgen.training.folders import last_checkpoint
from beamgen.training.hf_trainer import last_eval_loss, make_trainer
from beamgen.training.isolation import own_random_state, quiet
from beamgen.training.loftq import start_with_loftq
from beamgen.training.nf4 import load_nf4
from beamgen.training.request import FinetuneRequest
from beamgen.training.result import FinetuneResult
from beamgen.training.rounded import RoundedForward, check_trains
from beamgen.training.settings import TrainingSettings


def train(request: FinetuneRequest, work: Path, folder: Path, progress: Progress) -> FinetuneResult:
    """Train a LoRA, or all weights, and write what came of it into ``folder``.

    Args:
        request: what is trained, and how.
        work: the folder of the points to resume from.
        folder: the folder to write: a LoRA, with its base where that is a new one, or a
            checkpoint.
        progress: called with one line at a time.

    Raises:
        CheckpointError: the base's weights do not load, or are not trained through rounding.
        AdapterError: there is nothing that a file would round.
        MissingExtraError: what finds that is not installed.
        SettingError: ``target_modules`` fit no layer of it, or the training diverged.
    """
    resume_from = last_checkpoint(work) if request.resume else None
    with quiet(), own_random_state():
        progress(f"loading {request.checkpoint.source}")
        model, forward = _prepared(request, progress)
        trainer = make_trainer(request, model, forward, work, progress)
        before = trainer.evaluate()["eval_loss"] if request.eval_rows else None
        trainer.train(resume_from_checkpoint=str(resume_from) if resume_from else None)
        after = last_eval_loss(trainer) if request.eval_rows else None
        losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
        result = FinetuneResult(
            folder=folder,
            base=request.base,
            method=request.settings.method,
            precision=request.settings.precision,
            all_weights=request.settings.all_weights,
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


def _prepared(
    request: FinetuneRequest, progress: Progress
) -> tuple[PreTrainedModel | PeftModel, RoundedForward | None]:
    """What is trained, and how it computes where that is through a file's rounding."""
    checkpoint, settings = request.checkpoint, request.settings
    if settings.precision is None:
        base = load_nf4(checkpoint) if settings.method == "qlora" else checkpoint.load_model()
        return _with_lora(base, checkpoint, settings), None
    progress(f"finding what an {settings.precision} file rounds")
    asked_by = f"beamgen finetune --method {settings.method}"
    precision = precision_of(checkpoint, request.adapter, settings.precision, asked_by)
    base = checkpoint.load_model()
    rounded = readers(base, precision)
    check_trains(rounded, checkpoint.source)
    if settings.all_weights:
        base.generation_config = GenerationConfig()  # save_pretrained refuses what many have
        return base, RoundedForward(base, rounded, merged=False)
    model = _with_lora(base, checkpoint, settings)
    if settings.method == "loftq":
        progress("computing LoftQ's start")
        start_with_loftq(model, rounded)
    return model, RoundedForward(model, rounded, merged=settings.method == "qat")


def _with_lora(
    base: PreTrainedModel, checkpoint: Checkpoint, settings: TrainingSettings
) -> PeftModel:
    """The base, frozen, with a fresh LoRA on it."""
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
    targets = settings.target_modules
    return LoraConfig(
        task_type=task,
        r=settings.rank,
        lora_alpha=settings.lora_alpha,
        lora_dropout=settings.lora_dropout,
        target_modules=targets if isinstance(targets, str) else list(targets),
        use_rslora=settings.use_rslora,
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


def _check_finite(model: PreTrainedModel | PeftModel) -> None:
    """Refuse to write what no longer holds numbers."""
    trained = (parameter for parameter in model.parameters() if parameter.requires_grad)
    if not all(bool(parameter.isfinite().all()) for parameter in trained):
        raise SettingError(
            "the training diverged: what was trained holds infinities or not-a-numbers",
            "lower --learning-rate, and pass --force to begin anew",
        )


def _save(request: FinetuneRequest, model: PreTrainedModel | PeftModel, folder: Path) -> None:
    if request.settings.all_weights:
        _save_checkpoint(request.checkpoint, model, folder)
        return
    config = model.peft_config["default"]
    config.base_model_name_or_path = request.base
    config.revision = request.checkpoint.revision
    config.target_modules = sorted(config.target_modules)  # a set has no order of its own
    model.save_pretrained(str(folder), save_embedding_layers=False)
    if request.settings.method == "loftq":
        _save_checkpoint(request.checkpoint, model.unload(), folder / "base")


def _save_checkpoint(checkpoint: Checkpoint, model: PreTrainedModel, folder: Path) -> None:
    """Weights that became others, as a float32 checkpoint of their own."""
    model.generation_config = GenerationConfig()  # save_pretrained refuses what many have
    model.save_pretrained(folder)
    config = deepcopy(checkpoint.config)
    config.dtype = "float32"
    replace(checkpoint, config=config).copy_companions(folder)
