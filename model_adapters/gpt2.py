"""GPT-2 and its many fine-tunes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from beamgen.adapter import DecoderAdapter
from beamgen.registry import register

if TYPE_CHECKING:
    from transformers import PreTrainedModel


@register
class GPT2Adapter(DecoderAdapter):
    """GPT-2 of ``transformers``: learned positions, fused QKV, tied head."""

    name = "gpt2"
    model_type = "gpt2"
    class_names = ("GPT2LMHeadModel", "GPT2Model")
    demo = Path(__file__).parent / "demo" / "gpt2"
    held_out = Path(__file__).parent / "demo" / "held-out-gpt2.txt"
    tiny_sizes = {"n_layer": 2, "n_embd": 64, "n_head": 4, "n_positions": 256}
    # GPT-2 small: 12 layers of 768, 50,257 tokens
    full_sizes = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}

    def prepare(self, model: PreTrainedModel) -> None:
        """Replace ``Conv1D`` (addmm on flattened rows) by one MatMul and Add.

        Source: ``transformers.pytorch_utils.Conv1D``, whose weight is already
        ``[in, out]``, the layout ONNX Runtime prepacks.
        """
        import torch
        from transformers.pytorch_utils import Conv1D

        class MatMulAdd(torch.nn.Module):
            def __init__(self, conv: Conv1D) -> None:
                super().__init__()
                self.weight, self.bias = conv.weight, conv.bias

            def forward(self, x: torch.Tensor) -> torch.Tensor:
                product: torch.Tensor = torch.matmul(x, self.weight) + self.bias
                return product

        for parent in list(model.modules()):
            for name, child in list(parent.named_children()):
                if isinstance(child, Conv1D):
                    setattr(parent, name, MatMulAdd(child))
