"""Jamba (AI21): Mamba layers, some attention, some experts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from beamgen.adapter import DecoderAdapter, KVGeometry, cache_keyword
from beamgen.registry import register
from model_adapters._experts import callable_experts

if TYPE_CHECKING:
    import torch
    from transformers import PretrainedConfig, PreTrainedModel


@register
class JambaAdapter(DecoderAdapter):
    """Jamba of ``transformers``: each beam carries the states of the Mamba layers."""

    name = "jamba"
    model_type = "jamba"
    class_names = ("JambaForCausalLM", "JambaModel")
    tiny_sizes = {
        "num_hidden_layers": 4,
        "attn_layer_period": 2,
        "attn_layer_offset": 1,
        "expert_layer_period": 3,
        "num_experts": 4,
        "intermediate_size": 64,
        "mamba_d_state": 8,
        "use_mamba_kernels": False,
    }

    def kv_geometry(self, config: PretrainedConfig) -> KVGeometry:
        """The layers that attend, and two states of each other: convolution's and recurrence's."""
        kinds, heads = config.layers_block_type, config.num_attention_heads
        inner = config.mamba_expand * config.hidden_size
        states = (inner, config.mamba_d_conv - 1), (inner, config.mamba_d_state)
        return KVGeometry(
            num_layers=kinds.count("attention"),
            num_kv_heads=config.num_key_value_heads,
            head_dim=config.hidden_size // heads,
            states=states * kinds.count("mamba"),
        )

    def prepare(self, model: PreTrainedModel) -> None:
        """Call all experts at once, and number the layers that attend."""
        import torch

        attending = 0
        for layer in model.base_model.layers:
            if hasattr(layer, "self_attn"):
                layer.self_attn.layer_idx = attending
                attending += 1
            if isinstance(getattr(layer.feed_forward, "experts", None), torch.nn.ModuleList):
                block = layer.feed_forward
                block.experts = callable_experts(block.experts)
                block.forward = _route.__get__(block)

    def forward(
        self,
        model: PreTrainedModel,
        input_ids: torch.Tensor,
        position_ids: torch.Tensor,
        attention_bias: torch.Tensor,
        cache: Any,
    ) -> torch.Tensor:
        """The hidden states: HF's own layers, and its Mamba for many runs at once.

        Source: ``JambaModel.forward``.
        """
        backbone = model.base_model
        hidden: torch.Tensor = backbone.embed_tokens(input_ids)
        states = 0
        for layer in backbone.layers:
            normed = layer.input_layernorm(hidden)
            if hasattr(layer, "self_attn"):
                attend, kept = layer.self_attn, {cache_keyword(layer.self_attn): cache}
                mixed = attend(normed, attention_mask=attention_bias, **kept)[0]
            else:
                mixed = _mamba(layer.mamba, normed, cache, states)
                states += 2
            hidden = hidden + mixed
            fed = layer.feed_forward(layer.pre_ff_layernorm(hidden))
            hidden = hidden + (fed[0] if isinstance(fed, tuple) else fed)
        found: torch.Tensor = backbone.final_layernorm(hidden)
        return found


def _mamba(mixer: Any, hidden: torch.Tensor, cache: Any, index: int) -> torch.Tensor:
    """What a Mamba layer makes of ``[B, N, hidden]``; its states are ``index`` and the next.

    Padding adds nothing to a state.

    Source: ``JambaMambaMixer.slow_forward``.
    """
    import torch

    is_text = cache.token_mask[..., None].to(hidden.dtype)
    x, gate = mixer.in_proj(hidden).chunk(2, dim=-1)
    before, state = (kept.flatten(0, 1) for kept in cache.states[index : index + 2])
    row = torch.cat([before, cache.as_runs(x * is_text).transpose(1, 2)], dim=2)
    kernel = mixer.conv1d
    x = torch.nn.functional.conv1d(row, kernel.weight, kernel.bias, groups=kernel.groups)
    x = cache.as_tokens(mixer.act(x).transpose(1, 2)) * is_text
    size = mixer.ssm_state_size
    step, b, c = mixer.x_proj(x).split([mixer.time_step_rank, size, size], dim=-1)
    step = torch.nn.functional.softplus(mixer.dt_proj(mixer.dt_layernorm(step)))[..., None]
    decay = torch.exp(-torch.exp(mixer.A_log) * step)  # [B, N, inner, size]
    added = step * mixer.b_layernorm(b)[:, :, None] * x[..., None]
    held = cache.recurrence(cache.as_runs(decay), cache.as_runs(added), state)
    read = cache.as_tokens(held) @ mixer.c_layernorm(c)[..., None]
    shape = (*cache.states[index].shape[:2], -1)
    cache.states[index] = row[..., -before.shape[2] :].reshape(*shape, before.shape[2])
    cache.states[index + 1] = held[:, -1].reshape(*shape, size)
    mixed: torch.Tensor = mixer.out_proj((read[..., 0] + x * mixer.D) * mixer.act(gate))
    return mixed


def _route(block: Any, hidden: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """A mixture of transformers 4.57, which leaves out experts that the dummy does not meet."""
    import torch

    flat = hidden.reshape(-1, hidden.shape[-1])
    router = block.router(flat)
    weights, index = torch.softmax(router, dim=-1).topk(block.top_k, dim=-1)
    return block.experts(flat, index, weights).reshape(hidden.shape), router
