"""A PEFT folder of a LoRA's A and B, for peft to read."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np

from beamgen.lora.pairs import PREFIX
from beamgen.lora.peft_folder import CONFIG, WEIGHTS
from beamgen.lora.slots import A, B, Lora


def write_peft(lora: Lora, folder: Path) -> None:
    """Write what peft's ``save_pretrained`` would, with the scaling in B.

    Each layer's alpha is its rank, so that peft scales by 1.
    """
    from safetensors.numpy import save_file

    ranks = {re.escape(module): a.shape[1] for module, (a, _) in lora.weights.items()}
    config = {
        "peft_type": "LORA",
        "task_type": None,  # which peft needs of models that it makes itself
        "base_model_name_or_path": lora.base,
        "inference_mode": True,
        "r": 1,
        "lora_alpha": 1,
        "rank_pattern": ranks,
        "alpha_pattern": ranks,
        "target_modules": sorted(lora.weights),
    }
    (folder / CONFIG).write_text(json.dumps(config), encoding="utf-8")
    tensors = {
        f"{PREFIX}{module}.{part}": np.ascontiguousarray(tensor.T)
        for module, pair in lora.weights.items()
        for part, tensor in zip((A, B), pair, strict=True)
    }
    save_file(tensors, folder / WEIGHTS, metadata={"format": "pt"})
