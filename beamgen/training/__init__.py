"""LoRA fine-tuning with transformers' Trainer and peft: a JSONL file becomes a PEFT folder."""

from beamgen.training.job import FinetuneResult
from beamgen.training.recipe import finetune

__all__ = ["FinetuneResult", "finetune"]
