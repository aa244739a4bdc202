"""Switch Transformers (Google): T5 with one expert a token."""

from __future__ import annotations

from functools import partial
from types import MethodType
from typing import TYPE_CHECKING, Any

from beamgen.adapter import routed
from beamgen.registry import register
from model_adapters._t5 import T5Kin

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel


@register
class SwitchTransformersAdapter(T5Kin):
    """Switch Transformers of ``transformers``, whose experts leave out what is too much for them.

    They do so within a source and within a decoder's prompt, where HF counts them.
    """

    name = "switch_transformers"
    model_type = "switch_transformers"
    class_names = ("SwitchTransformersForConditionalGeneration",)
    tiny_sizes = {
        **T5Kin.tiny_sizes,
        "num_experts": 4,
        "num_sparse_encoder_layers": 1,
        "num_sparse_decoder_layers": 1,
    }
    # google/switch-base-8: 12 + 12 layers of 768, 8 experts, 32,128 tokens
    full_sizes = {
        "d_ff": 3072,
        "num_sparse_encoder_layers": 6,
        "num_sparse_decoder_layers": 6,
        "decoder_start_token_id": 0,
    }

    def prepare(self, model: PreTrainedModel) -> None:
        """Route in a form that a trace can hold."""
        super().prepare(model)
        model.forward = partial(model.forward, output_router_logits=False)
        for module in model.modules():
            if hasattr(module, "router"):
                module.behind = None
                module.forward = MethodType(_route, module)

    def place(self, decoder: Any, input_ids: torch.Tensor, position_ids: torch.Tensor) -> None:
        """Tell the experts which tokens are behind which: of two beams neither is."""
        behind = position_ids[:, None, :] < position_ids[:, :, None]
        for module in decoder.modules():
            if hasattr(module, "router"):
                module.behind = behind


def _route(self: Any, hidden_states: torch.Tensor) -> torch.Tensor:
    """What the experts of a layer make of tokens ``[B, N, hidden]``.

    Source: ``SwitchTransformersSparseMLP.forward``, ``SwitchTransformersTop1Router.forward``.
    """
    import torch

    router = self.router
    shares = torch.softmax(router.classifier(hidden_states), dim=-1)
    share, expert = shares.max(dim=-1)  # [B, N]
    behind = self.behind
    if behind is None:  # an encoder's tokens stand in a row
        places = torch.arange(expert.shape[1])
        behind = places[None, :] < places[:, None]
    before = (behind & (expert[:, :, None] == expert[:, None, :])).sum(dim=-1)
    weights = share * (before < router.expert_capacity)
    flat = hidden_states.reshape(-1, hidden_states.shape[-1])
    index = expert.reshape(-1, 1)
    found = routed(flat, index, weights.reshape(-1, 1), self.experts.values())
    return found.reshape(hidden_states.shape)
