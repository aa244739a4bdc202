"""``genai_config.json``: the model's layout, and the package's search as far as genai has one."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from beamgen.adapter import DecoderAdapter
from beamgen.checkpoint.checkpoint import Checkpoint
from beamgen.errors import AdapterError, SettingError
from beamgen.package.folder import MODEL
from beamgen.package.manifest import Manifest
from beamgen.settings.config import SearchConfig
from beamgen.settings.table import SETTINGS

if TYPE_CHECKING:
    from transformers import PretrainedConfig

CONFIG = "genai_config.json"

#: What genai takes at most. Source: ``Generator::Generator``.
_MAX_BEAMS = 32
_MAX_SEED = 2**31 - 1

#: genai's beam search sets aside ``max_length * (max_length + 1) / 2`` ids of 4 bytes for
#: each beam (``BeamSearchScorer``), which a long context would turn into many gigabytes.
#: The default of ``max_length`` keeps one prompt within this.
_BEAM_BYTES = 2**28

#: Settings that genai has, or of which ``not_carried`` speaks in words of its own.
_HONOURED = frozenset(
    {
        "max_new_tokens",
        "max_length",
        "min_length",
        "num_beams",
        "num_return_sequences",
        "length_penalty",
        "early_stopping",
        "eos_token_id",
        "pad_token_id",
        "do_sample",
        "seed",
        "repetition_penalty",
        "no_repeat_ngram_size",
        "temperature",
        "top_k",
        "top_p",
    }
)


def genai_config(
    adapter: DecoderAdapter, checkpoint: Checkpoint, manifest: Manifest
) -> dict[str, Any]:
    """The content of ``genai_config.json``.

    Args:
        adapter: the architecture's.
        checkpoint: what the decoder was exported from.
        manifest: of the package, for its search.

    Raises:
        SettingError: genai would fail on the package's search.

    Source: ``src/config.h`` of onnxruntime-genai; left out is what has a good default.
    """
    check_runs(manifest.search)
    geometry = adapter.kv_geometry(checkpoint.config)
    context = context_length(manifest)
    search = manifest.search
    model: dict[str, Any] = {
        "type": adapter.genai_type,
        "vocab_size": manifest.vocab_size,
        "context_length": context,
        "eos_token_id": list(search.eos_token_id),
        "pad_token_id": search.pad_token_id,
        "decoder": {
            "filename": MODEL,
            "session_options": {"log_id": "onnxruntime-genai", "provider_options": []},
            "num_hidden_layers": geometry.num_layers,
            "num_key_value_heads": geometry.num_kv_heads,
            "head_size": geometry.head_dim,
            "inputs": {
                "input_ids": "input_ids",
                "attention_mask": "attention_mask",
                "position_ids": "position_ids",
                "past_key_names": "past_key_values.%d.key",
                "past_value_names": "past_key_values.%d.value",
            },
            "outputs": {
                "logits": "logits",
                "present_key_names": "present.%d.key",
                "present_value_names": "present.%d.value",
            },
        },
    }
    bos = checkpoint.generation_config.bos_token_id
    if bos is not None:
        model["bos_token_id"] = bos
    for name in ("hidden_size", "num_attention_heads"):  # which genai does not use yet
        size = getattr(checkpoint.config, name, None)
        if size is not None:
            model["decoder"][name] = size
    return {"model": model, "search": _search(search, context, manifest.vocab_size)}


def context_length(manifest: Manifest) -> int:
    """Tokens that a sequence may have.

    Up to a recompute boundary only: genai would carry a cache across it that HF throws
    away there.
    """
    limits = manifest.limits
    return limits.recompute_boundary or limits.max_positions


def check_runs(search: SearchConfig) -> None:
    """Refuse what makes genai fail when a generator is created.

    Raises:
        SettingError: naming each such setting.
    """
    problems = []
    if search.num_beams > _MAX_BEAMS:
        problems.append(f"searches with {_MAX_BEAMS} beams at most, not {search.num_beams}")
    if search.do_sample and search.num_beams > 1:
        problems.append(f"does not sample with beams, of which there are {search.num_beams}")
    if search.num_return_sequences > search.num_beams:
        problems.append(
            f"returns as many sequences as there are beams at most, {search.num_beams}, "
            f"not {search.num_return_sequences}"
        )
    if problems:
        raise SettingError(
            "the package's search is nothing for onnxruntime-genai, which "
            + "; and which ".join(problems),
            "export a package with other defaults: --num-beams, --do-sample, "
            "--num-return-sequences",
        )


def check_widths(adapter: DecoderAdapter, config: PretrainedConfig) -> None:
    """Refuse a model whose values are not as wide as its keys.

    Raises:
        AdapterError: they are not; genai makes both caches of ``head_size``.
    """
    keys, values = adapter.kv_geometry(config).widths
    if keys != values:
        raise AdapterError(
            f"'{adapter.name}' keeps keys of {keys} and values of {values} for each head, and "
            "onnxruntime-genai has one head_size for both",
            "use the package itself, or another format: triton, web, text",
        )


def beams(search: SearchConfig) -> int:
    """One beam where there are several EOS ids, with which genai's beam search goes wrong.

    It looks at ``2 * num_beams`` candidates; where fewer than ``num_beams`` of them go on,
    a beam gets the token that stood in its memory before. HF looks at more.

    Source: ``BeamSearchScorer::Process``; ``GenerationMixin._beam_search`` (beams_to_keep).
    """
    return search.num_beams if len(search.eos_token_id) < 2 else 1


def _search(search: SearchConfig, context: int, vocab_size: int) -> dict[str, Any]:
    """The ``search`` part, under HF's names; also what has no effect there either."""
    return {
        "do_sample": search.do_sample,
        "num_beams": beams(search),
        "num_return_sequences": min(search.num_return_sequences, beams(search)),
        "max_length": max_length(search, context),
        "min_length": min(search.min_length, context),
        "length_penalty": search.length_penalty,
        "early_stopping": search.early_stopping is True,
        "repetition_penalty": search.repetition_penalty,
        "no_repeat_ngram_size": search.no_repeat_ngram_size,
        "temperature": search.temperature,
        "top_k": min(search.top_k, vocab_size),
        "top_p": search.top_p,
        "random_seed": -1 if search.seed is None or search.seed > _MAX_SEED else search.seed,
        "past_present_share_buffer": False,
    }


def max_length(search: SearchConfig, context: int) -> int:
    """Prompt + generated tokens at most, unless a caller says otherwise."""
    longest = context
    if beams(search) > 1:
        longest = min(context, math.isqrt(_BEAM_BYTES // 2 // beams(search)))
    if search.max_new_tokens is None and search.max_length is not None:
        longest = min(longest, search.max_length)
    return longest


def not_carried(manifest: Manifest) -> list[str]:
    """A line for each part of a package's search that the file cannot say, where genai differs."""
    search, context = manifest.search, context_length(manifest)
    lines = []
    if search.max_new_tokens is not None:
        lines.append(
            f"max_new_tokens {search.max_new_tokens}: genai counts the prompt, so a caller sets "
            f"max_length to prompt + {search.max_new_tokens}; it is {max_length(search, context)}"
        )
    values = vars(search)
    set_ = [
        f"{setting.name} {values[setting.name]!r:.60}"
        for setting in SETTINGS
        if setting.name not in _HONOURED
        and setting.is_heeded(values)
        and not setting.is_off(values[setting.name])
    ]
    if set_:
        lines.append(f"{', '.join(set_)}: genai has no such setting")
    if search.early_stopping == "never":
        lines.append("early_stopping 'never': genai has True and False; it is False")
    if not search.eos_token_id:
        lines.append("no EOS: genai ends a sequence at pad_token_id where there is none")
    if search.do_sample:
        lines.append("do_sample: genai draws with random numbers of its own, another for each row")
    if beams(search) < search.num_beams:
        lines.append(
            f"{search.num_beams} beams: it is 1, because genai's beam search goes wrong with "
            f"several EOS ids, {list(search.eos_token_id)}"
        )
    elif search.num_beams > 1:
        lines.append(
            f"{search.num_beams} beams: genai searches by a rule of its own, which counts the "
            "prompt in length_penalty; see docs/genai.md for where it gives HF's answer"
        )
    limits = manifest.limits
    if context < limits.max_positions:
        lines.append(
            f"context_length is {context} of {limits.max_positions}: beyond it HF computes every "
            "position anew (LongRoPE), which genai would not"
        )
    return lines
