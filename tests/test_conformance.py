"""The conformance suite catches what an adapter or the engine might drop."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from beamgen import DecoderAdapter, find_adapter
from beamgen.decoder import expert_loops, head, rotary, seq2seq_step, step_cache, traced_step
from beamgen.errors import one_line
from beamgen.seq2seq_adapter import Seq2SeqAdapter
from beamgen.testing.field_check import compare
from beamgen.testing.fields import Variant, variants
from beamgen.testing.loop_decoder import LoopDecoder

MODEL = {
    "window": ("qwen2", "windows: some layers"),
    "cap": ("gemma2", "attn_logit_softcapping"),
    "final cap": ("gemma3", "final_logit_softcapping"),
    "scale": ("granite", "logits_scaling"),
    "attention scale": ("granite", "attention_multiplier"),
    "rope kind": ("llama", "rope_scaling: longrope"),
    "bias": ("phi", "tiny_config"),
    "sinks": ("gpt_oss", "tiny_config"),
    "experts": ("gpt_oss", "tiny_config"),
    "looped experts": ("mixtral", "tiny_config"),
    "config within a config": ("mpt", "attn_config.softmax_scale"),
    "mask of the source": ("bart_seq2seq", "tiny_config"),
    "scale of cross-attention": ("bart_seq2seq", "tiny_config"),
    "offset of positions": ("bart_seq2seq", "tiny_config"),
    "bias of the logits": ("bart_seq2seq", "tiny_config"),
    "keys of another layer": ("bart_seq2seq", "tiny_config"),
    "values for keys": ("t5", "tiny_config"),
    "distances": ("t5", "tiny_config"),
    "positions of padding": ("m2m_100", "tiny_config"),
}


def _variant(adapter: DecoderAdapter, name: str, monkeypatch: pytest.MonkeyPatch) -> Variant:
    """One of an adapter's variants, without the time that the others take."""
    from beamgen.testing import fields

    every = fields._changes
    monkeypatch.setattr(
        fields, "_changes", lambda *given: (c for c in every(*given) if c[0] == name)
    )
    return next(variant for variant in variants(adapter.tiny_config()) if variant.name == name)


def _compared(kind: str, folder: Path, monkeypatch: pytest.MonkeyPatch, mutate) -> str | None:
    name, field = MODEL[kind]
    adapter = find_adapter(name)
    variant = _variant(adapter, field, monkeypatch)
    model = variant.model()
    with monkeypatch.context() as mutated:
        mutate(mutated, model)
        decoder = LoopDecoder(adapter, model, folder)
    try:
        return compare(decoder, variant)
    except Exception as error:  # ONNX Runtime's, of sizes that the trace has frozen
        return one_line(error)


def _no_mutation(monkeypatch, model) -> None:
    """The engine as it is."""


def _no_window(monkeypatch, model) -> None:
    monkeypatch.setattr(step_cache.StepCache, "within", lambda cache, window, bias: bias)


def _no_cap(monkeypatch, model) -> None:
    def plain(query, keys, values, bias, scale, softcap=None, sinks=None):
        return own(query, keys, values, bias, scale, None, sinks)

    own = traced_step.plain_attention
    monkeypatch.setattr(traced_step, "plain_attention", plain)
    monkeypatch.setattr(traced_step, "own_scale", lambda m, heads, scaling, *_: scaling)


def _no_sinks(monkeypatch, model) -> None:
    def plain(query, keys, values, bias, scale, softcap=None, sinks=None):
        return own(query, keys, values, bias, scale, softcap)

    own = traced_step.plain_attention
    monkeypatch.setattr(traced_step, "plain_attention", plain)
    monkeypatch.setattr(traced_step, "own_scale", lambda m, heads, scaling, *_: scaling)


def _product_alone(monkeypatch, model) -> None:
    monkeypatch.setattr(
        head, "logits", lambda model, hidden, _: model.get_output_embeddings()(hidden)
    )


def _no_attention_scale(monkeypatch, model) -> None:
    monkeypatch.setattr(traced_step, "own_scale", lambda m, heads, *_: heads[2] ** -0.5)


def _no_choice_of_factors(monkeypatch, model) -> None:
    monkeypatch.setattr(traced_step, "traceable_rotary", lambda model: [])


def _no_bias(monkeypatch, model) -> None:
    weight = model.lm_head.weight
    monkeypatch.setattr(head, "logits", lambda model, hidden, _: hidden @ weight.T)


def _experts_of_the_dummy(monkeypatch, model) -> None:
    from contextlib import nullcontext

    monkeypatch.setattr(traced_step, "traceable", nullcontext)


def _unweighted_experts(monkeypatch, model) -> None:
    loop = expert_loops.routed_experts
    monkeypatch.setattr(
        expert_loops,
        "routed_experts",
        lambda hidden, index, weights, *both: loop(hidden, index, weights * 0 + 1, *both),
    )


def _default_scale(monkeypatch, model) -> None:
    for block in model.base_model.blocks:
        monkeypatch.setattr(block.attn, "softmax_scale", block.attn.head_dim**-0.5)


def _no_mask_of_the_source(monkeypatch, model) -> None:
    own = seq2seq_step.Seq2SeqStep._encoded

    def encoded(step, sources):
        found = own(step, sources)
        return replace(found, bias=found.bias * 0)

    monkeypatch.setattr(seq2seq_step.Seq2SeqStep, "_encoded", encoded)


def _no_scale_of_cross_attention(monkeypatch, model) -> None:
    own = seq2seq_step.asked_by
    monkeypatch.setattr(
        seq2seq_step, "asked_by", lambda *given, **named: replace(own(*given, **named), scale=1.0)
    )


def _no_offset_of_positions(monkeypatch, model) -> None:
    def place(adapter, decoder, input_ids, position_ids) -> None:
        decoder.embed_positions.forward = lambda *_, **__: decoder.embed_positions.weight[
            position_ids
        ]

    monkeypatch.setattr(Seq2SeqAdapter, "place", place)


def _no_bias_of_the_logits(monkeypatch, model) -> None:
    assert float(model.final_logits_bias.abs().max()) > 0
    model.final_logits_bias.zero_()


def _keys_of_another_layer(monkeypatch, model) -> None:
    own = Seq2SeqAdapter.cross_attention
    monkeypatch.setattr(
        Seq2SeqAdapter, "cross_attention", lambda adapter, model: own(adapter, model)[::-1]
    )


def _values_for_keys(monkeypatch, model) -> None:
    kin = type(find_adapter("t5"))
    own = kin.cross_attention
    monkeypatch.setattr(
        kin, "cross_attention", lambda adapter, model: [(v, v) for _, v in own(adapter, model)]
    )


def _no_distances(monkeypatch, model) -> None:
    own = step_cache.StepCache.distances.fget
    monkeypatch.setattr(step_cache.StepCache, "distances", property(lambda cache: own(cache) * 0))


def _positions_of_padding(monkeypatch, model) -> None:
    """The row of the table that is all zeros is padding's, and a token's where it is moved."""
    model.get_decoder().embed_positions.padding_idx += 1


MUTATIONS = {
    "window": _no_window,
    "cap": _no_cap,
    "final cap": _product_alone,
    "scale": _product_alone,
    "attention scale": _no_attention_scale,
    "rope kind": _no_choice_of_factors,
    "bias": _no_bias,
    "sinks": _no_sinks,
    "experts": _experts_of_the_dummy,
    "looped experts": _unweighted_experts,
    "config within a config": _default_scale,
    "mask of the source": _no_mask_of_the_source,
    "scale of cross-attention": _no_scale_of_cross_attention,
    "offset of positions": _no_offset_of_positions,
    "bias of the logits": _no_bias_of_the_logits,
    "keys of another layer": _keys_of_another_layer,
    "values for keys": _values_for_keys,
    "distances": _no_distances,
    "positions of padding": _positions_of_padding,
}


@pytest.mark.parametrize("kind", MUTATIONS)
def test_what_is_dropped_is_caught(kind: str, tmp_path: Path, monkeypatch) -> None:
    assert _compared(kind, tmp_path, monkeypatch, MUTATIONS[kind]) is not None


@pytest.mark.parametrize("kind", ["window", "cap", "rope kind", "mask of the source", "distances"])
def test_the_engine_as_it_is_holds(kind: str, tmp_path: Path, monkeypatch) -> None:
    assert _compared(kind, tmp_path, monkeypatch, _no_mutation) is None


def test_every_tensor_of_the_rotary_embedding_is_the_models() -> None:
    """``traceable_rotary`` leaves models alone that choose nothing."""
    model = find_adapter("llama").tiny_config()
    from beamgen.testing import tiny_model

    assert rotary.traceable_rotary(tiny_model(model)) == []
