"""LoRAs of a base model whose vocabulary was changed before the training."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from beamgen.errors import LoraError
from beamgen.lora.pairs import PREFIX
from beamgen.lora.peft_folder import read_tensors

if TYPE_CHECKING:
    from transformers import PreTrainedModel

#: A whole weight that peft saves beside A and B, trained or merely kept.
_WHOLE = re.compile(
    r"(.+?)(?:\.(?:modules_to_save(?:\.[^.]+)?|original_module|base_layer))?\.weight"
)


def saved_vocabulary(folder: Path, model: PreTrainedModel) -> int | None:
    """The tokens of the embedding that a LoRA brings along.

    Args:
        folder: what peft's ``save_pretrained`` wrote.
        model: the base model, with or without weights.

    Returns:
        None where it brings none, so that it is the base's.

    Raises:
        LoraError: damaged, or of another vocabulary than the base, without all that a model
            of that vocabulary needs.

    Source: ``peft.utils.save_and_load.get_peft_model_state_dict``, which saves embeddings whose
    size is not the base's.
    """
    ends = (model.get_input_embeddings(), model.get_output_embeddings())
    paths = [name for name, module in model.named_modules() if any(module is end for end in ends)]
    rows: dict[str, int] = {}
    for name, tensor in read_tensors(folder).items():
        found = _WHOLE.fullmatch(name.removeprefix(PREFIX))
        if found and found[1] in paths:
            rows[found[1]] = tensor.shape[0]
    if not rows:
        return None
    size, config = max(rows.values()), model.config.get_text_config()
    lacking = [path for path in paths if rows.get(path) != size]
    if size != config.vocab_size and lacking and not config.tie_word_embeddings:
        raise LoraError(
            f"{folder} holds {', '.join(rows)} of {size} tokens, where the base model has "
            f"{config.vocab_size}, and {', '.join(lacking)} of {size} is missing",
            "save it again with save_embedding_layers=True",
        )
    return size
