"""optimum's ``OnnxConfig`` for the decoder contract, and the module it exports."""

from __future__ import annotations

from typing import Any

import torch
from optimum.exporters.onnx.config import TextDecoderOnnxConfig
from optimum.utils import NormalizedTextConfig
from transformers import PretrainedConfig, PreTrainedModel

from beamgen.adapter import DecoderAdapter, KVGeometry
from beamgen.decoder import contract
from beamgen.decoder.attention import StepCache, TracedAttention

KVPairs = list[tuple[torch.Tensor, torch.Tensor]]

# All different, so that no two axes are equal by chance in the trace, and more
# than one new token: BioGPT takes another path for a single one.
_BATCH, _PROMPT, _PAST, _NEW, _LAST = 2, 5, 3, 4, 2


class DecoderStep(torch.nn.Module):
    """One step of an adapter's model in the form of the decoder contract."""

    def __init__(self, adapter: DecoderAdapter, model: PreTrainedModel) -> None:
        """Prepare the model for tracing; it is changed in place."""
        super().__init__()
        adapter.prepare(model)
        self.adapter = adapter
        self.model = model
        self.attention = TracedAttention(model)

    @property
    def config(self) -> PretrainedConfig:
        """The wrapped model's; optimum reads and writes it."""
        return self.model.config

    def forward(
        self,
        input_ids: torch.Tensor,
        position_ids: torch.Tensor,
        attention_bias: torch.Tensor,
        last_n: torch.Tensor,
        prompt: KVPairs,
        past: KVPairs,
    ) -> tuple[torch.Tensor, ...]:
        """-> logits ``[B, last_n, V]`` and 2L present tensors ``[B, Hkv, R+N, D]``.

        The cache arguments are called anything but ``past_key_values``, which
        optimum would rewrite.
        """
        cache = self.attention.begin(StepCache(prompt, past))
        hidden = self.adapter.forward(self.model, input_ids, position_ids, attention_bias, cache)
        last = hidden[:, hidden.shape[1] - last_n :, :]  # [B, n, hidden]
        logits = self.adapter.logits(self.model, last)
        return (logits, *(tensor for pair in cache.present for tensor in pair))


class StepOnnxConfig(TextDecoderOnnxConfig):  # type: ignore[misc] # optimum is untyped
    """Names, dynamic axes and dummy inputs of the decoder contract."""

    NORMALIZED_CONFIG_CLASS = NormalizedTextConfig

    def __init__(self, config: PretrainedConfig, geometry: KVGeometry) -> None:
        """Geometry gives the caches their number and shape."""
        super().__init__(config, task="text-generation", use_past=True, use_past_in_inputs=True)
        self.geometry = geometry

    @property
    def inputs(self) -> dict[str, dict[int, str]]:
        """See ``beamgen.decoder.contract``."""
        return contract.input_axes(self.geometry)

    @property
    def outputs(self) -> dict[str, dict[int, str]]:
        """See ``beamgen.decoder.contract``."""
        return contract.output_axes(self.geometry)

    def ordered_inputs(self, model: torch.nn.Module) -> dict[str, dict[int, str]]:
        """Already in the order of ``DecoderStep.forward``."""
        return self.inputs

    def generate_dummy_inputs(self, framework: str = "pt", **_: Any) -> dict[str, Any]:
        """Inputs for the trace; nested pairs are flattened in order."""
        return {
            "input_ids": torch.ones(_BATCH, _NEW, dtype=torch.long),
            "position_ids": torch.arange(_NEW).expand(_BATCH, _NEW),
            "attention_bias": torch.zeros(_BATCH, 1, _NEW, _PROMPT + _PAST + _NEW),
            "last_n": torch.tensor(_LAST),
            "prompt": self._dummy_cache(_PROMPT),
            "past": self._dummy_cache(_PAST),
        }

    def _dummy_cache(self, length: int) -> KVPairs:
        shape = (_BATCH, self.geometry.num_kv_heads, length, self.geometry.head_dim)
        return [(torch.zeros(shape), torch.zeros(shape)) for _ in range(self.geometry.num_layers)]
