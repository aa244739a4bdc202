"""PEFT folders as peft itself writes them, with weights that change what is generated."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model

from beamgen import open_checkpoint


def save_lora(base: Path, folder: Path, seed: int = 0, std: float = 0.3, **config: Any) -> Path:
    """A random LoRA on all linear layers of a checkpoint, rank 4 unless said."""
    torch.manual_seed(seed)
    settings = {"r": 4, "lora_alpha": 8, "target_modules": "all-linear", **config}
    whole = open_checkpoint(base).load_model()
    task = "SEQ_2_SEQ_LM" if whole.config.is_encoder_decoder else "CAUSAL_LM"
    model = get_peft_model(whole, LoraConfig(task_type=task, **settings))
    for name, parameter in model.named_parameters():
        if "lora_" in name:
            torch.nn.init.normal_(parameter, std=std)
    # a LoRA on the head would bring the embedding along
    model.save_pretrained(str(folder), save_embedding_layers=False)
    return folder
