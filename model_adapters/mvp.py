"""MVP (Renmin University): BART trained on many tasks, with or without prompts of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from beamgen.errors import AdapterError
from beamgen.registry import register
from model_adapters._bart_seq2seq import TINY
from model_adapters._old_bart import OldBartKin

if TYPE_CHECKING:
    from transformers import PreTrainedModel


@register
class MvpAdapter(OldBartKin):
    """MVP of ``transformers``, whose layers have no prompts."""

    name = "mvp"
    model_type = "mvp"
    class_names = ("MvpForConditionalGeneration",)
    tiny_sizes = TINY
    # RUCAIBox/mvp: 12 + 12 layers of 1,024, 50,267 tokens
    full_sizes = {}

    def prepare(self, model: PreTrainedModel) -> None:
        """Nothing to swap.

        Raises:
            AdapterError: each layer attends to prompts of its own, too.
        """
        if model.config.use_prompt:
            raise AdapterError(
                "use_prompt is true: each layer attends to prompts of its own, besides what it "
                "is given",
                "export a checkpoint without them, such as RUCAIBox/mvp",
            )
