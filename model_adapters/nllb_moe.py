"""NLLB-MoE (Meta): M2M100 with two experts a token."""

from __future__ import annotations

from types import MethodType
from typing import TYPE_CHECKING, Any

from beamgen.adapter import hands_masks_on, routed
from beamgen.errors import AdapterError
from beamgen.registry import register
from model_adapters._bart_seq2seq import TINY, look_back
from model_adapters._m2m_100 import M2M100Kin

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel


@register
class NllbMoeAdapter(M2M100Kin):
    """NLLB-MoE of ``transformers``, whose experts have room for every token.

    The class of 5.24 takes a mask of experts for their numbers: every token goes to the first two.
    """

    name = "nllb_moe"
    model_type = "nllb-moe"
    class_names = ("NllbMoeForConditionalGeneration",)
    until = "4.57"
    tiny_sizes = {**TINY, "num_experts": 4, "encoder_sparse_step": 2, "decoder_sparse_step": 2}
    # facebook/nllb-moe-54b: 24 + 24 layers of 2,048, 128 experts, 256,206 tokens
    full_sizes = {
        "d_model": 2048,
        "encoder_layers": 24,
        "decoder_layers": 24,
        "encoder_ffn_dim": 8192,
        "decoder_ffn_dim": 8192,
        "vocab_size": 256206,
    }

    def prepare(self, model: PreTrainedModel) -> None:
        """Route in a form that a trace can hold.

        Raises:
            AdapterError: which tokens an expert takes depends on others of the batch, or on dice.
        """
        config = model.config
        share, policy = config.moe_eval_capacity_token_fraction, config.second_expert_policy
        if share < 1 or policy != "all":
            raise AdapterError(
                f"moe_eval_capacity_token_fraction is {share} and second_expert_policy '{policy}': "
                "experts leave out tokens by what else is in the batch, or by chance",
                'set them to 1.0 and "all" in config.json, with which generate leaves out none',
            )
        look_back(model)
        if not hands_masks_on(decoder := model.get_decoder()):
            decoder._update_causal_mask = lambda mask, *_: mask
        for module in model.modules():
            if hasattr(module, "router"):
                module.forward = MethodType(_route, module)

    def cross_attention(self, model: PreTrainedModel) -> list[tuple[Any, Any]]:
        """The layers that make keys and values of what was encoded."""
        crossing = [layer.cross_attention for layer in model.get_decoder().layers]
        return [(each.k_proj, each.v_proj) for each in crossing]


def _route(self: Any, hidden_states: torch.Tensor, *_: Any) -> tuple[torch.Tensor, None]:
    """What the experts of a layer make of tokens ``[B, N, hidden]``; padding need not be skipped.

    Source: ``NllbMoeSparseMLP.forward``, ``NllbMoeTop2Router.route_tokens``.
    """
    import torch

    flat = hidden_states.reshape(-1, hidden_states.shape[-1])
    shares, index = torch.softmax(self.router.classifier(flat), dim=-1).topk(2, dim=-1)
    weights = shares / shares.sum(dim=-1, keepdim=True).clamp(min=torch.finfo(flat.dtype).eps)
    kept = 1 - self.moe_token_dropout  # in evaluation, too
    found = routed(flat, index, weights * kept, self.experts.values())
    return found.reshape(hidden_states.shape), None
