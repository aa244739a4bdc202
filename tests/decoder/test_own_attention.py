"""Models that attend by themselves get all keys from the cache, in each contract."""

from __future__ import annotations

from pathlib import Path

import pytest
from transformers import GPTJConfig

from beamgen import BeamgenError, DecoderAdapter
from beamgen.decoder.contrib_step import ContribStep
from beamgen.decoder.export import export_decoder
from beamgen.decoder.loop_step import LoopStep
from beamgen.decoder.single_step import SingleStep
from beamgen.testing import tiny_model


class GPTJ(DecoderAdapter):
    name, model_type, class_names = "gptj-alone", "gptj", ("GPTJForCausalLM",)

    def tiny_config(self):
        sizes = {"n_layer": 2, "n_embd": 64, "n_head": 4, "rotary_dim": 8, "n_positions": 64}
        return GPTJConfig(**sizes, vocab_size=96, bos_token_id=1, eos_token_id=2, pad_token_id=0)


def _export(adapter, folder: Path, make_step=LoopStep):
    return export_decoder(adapter, tiny_model(adapter.tiny_config()), folder, make_step)


@pytest.mark.transformers_4  # GPT-J attends through the interface since 5
@pytest.mark.parametrize("make_step", [LoopStep, SingleStep, ContribStep])
def test_the_models_own_arithmetic_is_traced(make_step, tmp_path: Path) -> None:
    graph = _export(GPTJ(), tmp_path, make_step).model.graph
    ours = {node.op_type for node in graph if node.domain == "beamgen"}
    assert ours == ({"ConcatenatedCache"} if make_step is ContribStep else set())
    assert sum(node.op_type == "Softmax" for node in graph) == 2


class _HalfOfIt(GPTJ):
    """An adapter whose first layer alone goes through the interface."""

    def prepare(self, model):
        def attend(layer, query, key, value, attention_mask=None, head_mask=None):
            from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

            function = ALL_ATTENTION_FUNCTIONS[layer.config._attn_implementation]
            out, _ = function(layer, query, key, value, attention_mask, scaling=1.0)
            return out.transpose(1, 2), None

        first = model.transformer.h[0].attn
        first._attn = attend.__get__(first)


@pytest.mark.transformers_4
def test_a_mixture_of_both_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BeamgenError, match="1 of 2 layers"):
        _export(_HalfOfIt(), tmp_path)
