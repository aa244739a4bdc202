"""What HF's ``GenerationConfig`` says, field by field: honoured, without effect, or refused."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any

from beamgen.errors import SettingError, close_matches
from beamgen.settings.rules import Rules

if TYPE_CHECKING:
    from transformers import GenerationConfig

#: Fields that do not change which tokens come out of a search: outputs asked for,
#: caches, compilation, other models' settings.
WITHOUT_EFFECT = frozenset(
    {
        "assistant_confidence_threshold",
        "assistant_early_exit",
        "assistant_ensemble_weight",
        "assistant_lookbehind",
        "bos_token_id",
        "cache_config",
        "cache_implementation",
        "compile_config",
        "continuous_batching_config",
        "decoder_start_token_id",
        "disable_compile",
        "is_assistant",
        "max_cache_len",
        "max_matching_ngram_size",
        "num_assistant_tokens",
        "num_assistant_tokens_schedule",
        "output_attentions",
        "output_hidden_states",
        "output_logits",
        "prefill_chunk_size",
        "return_dict_in_generate",
        "return_legacy_cache",
        "speculation_type",
        "target_lookbehind",
        "transformers_version",
        "use_cache",
    }
)

_ENDS = ("eos_token_id", "pad_token_id")

_GROUPS = (
    "transformers moved group beam search out of its own code, into code on the Hub with a "
    "stopping rule of its own; do_sample with num_return_sequences gives answers that differ"
)
_CONSTRAINED = (
    "transformers moved constrained beam search out of its own code; a constraint of what may be "
    "written remains: generate --regex, --json-schema, --catalogue"
)

#: Fields that change the answer and that a file cannot honour, and why.
REFUSED = {
    "constraints": _CONSTRAINED,
    "diversity_penalty": _GROUPS,
    "dola_layers": "DoLa reads the logits of inner layers",
    "force_words_ids": _CONSTRAINED,
    "guidance_scale": "guidance runs the model a second time for each token",
    "low_memory": "transformers' own beam search refuses it",
    "max_time": "a file has no clock",
    "num_beam_groups": _GROUPS,
    "penalty_alpha": "contrastive search reads hidden states",
    "prompt_lookup_num_tokens": "assisted decoding is another algorithm",
    "top_h": "there is no such warper here yet; top_p and typical_p are",
    "token_healing": "it changes the prompt's tokens, which takes the tokenizer",
    "use_mtp": "multi-token prediction is another algorithm",
    "watermarking_config": "a watermark is keyed outside the file",
}

_FALLBACK = "searching again at other temperatures is a loop around the search"
_LONG_FORM = "audio of several windows takes a loop around the search"

#: Arguments of ``generate`` of classes that transcribe, and fields of their generation configs:
#: they are of what those do around a search.
AROUND_SEARCH = {
    "compression_ratio_threshold": _FALLBACK,
    "condition_on_prev_tokens": _LONG_FORM,
    "logprob_threshold": _FALLBACK,
    "no_speech_threshold": "silence is passed over in a loop around the search",
    "num_segment_frames": _LONG_FORM,
    "prompt_condition_type": _LONG_FORM,
    "prompt_ids": "a decoder prompt says what the decoder begins with (decoder_prompt)",
    "return_segments": "return_timestamps gives them",
    "return_token_timestamps": "times of words are read off cross-attention, which a file does not "
    "give; return_timestamps gives those of whole pieces",
}

_REASONS = {**REFUSED, **AROUND_SEARCH}

#: What null means where HF's default is a value, before transformers 5: off.
_OFF = {"top_k": 0, "top_p": 1.0, "temperature": 1.0, "typical_p": 1.0}


def null_means(rules: Rules) -> dict[str, Any]:
    """What a null in a checkpoint's file stands for, where it does not stand for the default."""
    return {} if rules.null_is_default else _OFF


def hf_defaults() -> dict[str, Any]:
    """What HF takes where nothing is said, by field; a fresh config of transformers 5 is empty.

    Source: ``GenerationMixin._prepare_generation_config``.
    """
    from transformers import GenerationConfig

    unsaid = getattr(GenerationConfig, "_get_default_generation_params", dict)
    return {**GenerationConfig().to_dict(), **unsaid()}


def chosen_settings(
    generation_config: GenerationConfig,
    overrides: Mapping[str, Any],
    spelled_out: Collection[str],
    known: Collection[str],
    rules: Rules,
    read_apart: Collection[str] = (),
) -> dict[str, Any]:
    """The settings of a checkpoint with a caller's on top.

    Those that differ from HF's defaults, and those that either of them spells out.

    Args:
        generation_config: the checkpoint's.
        overrides: the caller's; ``"default"`` stands for HF's default of a field.
        spelled_out: fields the checkpoint's file names.
        known: fields that a search honours.
        rules: of the search.
        read_apart: fields of the checkpoint's that are no settings of a search.

    Raises:
        SettingError: a field is unknown, or set and refused.

    Source: ``GenerationMixin._prepare_generated_length``, for ``max_length``.
    """
    defaults = hf_defaults()
    refuse_unknown(overrides, {*defaults, *known, *generation_config.to_dict()})
    given = {
        name: defaults.get(name) if isinstance(value, str) and value == "default" else value
        for name, value in overrides.items()
    }
    merged = {**defaults, **_said(generation_config, spelled_out, rules), **given}
    settings = {
        name: value
        for name, value in merged.items()
        if (name in known and (name in given or (name in spelled_out and value is not None)))
        or value != defaults.get(name)
    }
    looked_at = {n: v for n, v in settings.items() if n in given or n not in read_apart}
    refuse_unsupported(looked_at, known, given)
    if not rules.twenty_counts_prompt and "max_length" not in given:
        longest = settings.get("max_length")
        if longest is not None and longest == defaults.get("max_length"):
            # HF took it for its default, which counts new tokens
            del settings["max_length"]
            settings.setdefault("max_new_tokens", longest)
    return {name: value for name, value in settings.items() if name in known and value is not None}


def _said(
    generation_config: GenerationConfig, spelled_out: Collection[str], rules: Rules
) -> dict[str, Any]:
    """What a checkpoint's config says; its nulls are what they mean."""
    unset = type(generation_config)().to_dict()
    said = {}
    for name, value in without_negative_ids(generation_config.to_dict()).items():
        # a null that nobody wrote: a config of transformers 5 begins with them
        null = value is None and (name in spelled_out or unset.get(name) is not None)
        meaning = null_means(rules).get(name) if null else value
        if meaning is not None:
            said[name] = meaning
    return said


def without_negative_ids(stored: Mapping[str, Any]) -> dict[str, Any]:
    """A checkpoint's fields, where the pad or EOS id -1 is how some say that there is none.

    HF never meets such a token: no logit is its.
    """
    return {name: _counted(value) if name in _ENDS else value for name, value in stored.items()}


def _counted(ids: Any) -> Any:
    """Ids without negative ones; None where there are no others."""
    if isinstance(ids, list):
        return [token for token in ids if not _is_negative(token)] or (ids and None)
    return None if _is_negative(ids) else ids


def _is_negative(token: Any) -> bool:
    return isinstance(token, int) and token < 0


def refuse_unknown(chosen: Collection[str], known: Collection[str]) -> None:
    """Say what is wrong with a name, or what it may have meant.

    Raises:
        SettingError: a name is not known, or known and not for a file.
    """
    for name in chosen:
        reason = _REASONS.get(name)
        if name not in known and reason is not None:
            raise SettingError(f"a file cannot honour {name}: {reason}", "leave it out")
        if name not in known and name == "decoder_start_token_id":
            raise SettingError(
                "decoder_start_token_id is no setting of a search: a prompt begins with it",
                "leave it out, or pass it by itself: generate(..., decoder_start_token_id=ID), "
                "--decoder-start-token-id ID",
            )
        if name not in known and name in WITHOUT_EFFECT:
            raise SettingError(f"{name} changes nothing about a file's answer", "leave it out")
        if name not in known:
            raise SettingError(
                f"there is no generation setting called '{name}' here",
                close_matches(name, known) or f"there are {', '.join(sorted(known))}",
            )


def refuse_unsupported(
    settings: Mapping[str, Any], known: Collection[str], given: Collection[str] = ()
) -> None:
    """Never ignore a setting: name every one that cannot be honoured, and the reason.

    Args:
        settings: all that are not HF's defaults.
        known: fields that a search honours.
        given: names that the caller gave; the others stand in the checkpoint.

    Raises:
        SettingError: there is one.
    """
    refused = {
        name: value
        for name, value in settings.items()
        if name not in known and name not in WITHOUT_EFFECT and not name.startswith("_")
    }
    if refused:
        reasons = "; ".join(
            f"{name}={value!r} ({_REASONS.get(name, 'transformers does not know it')})"
            for name, value in sorted(refused.items())
        )
        if refused.keys() <= set(given):
            raise SettingError(f"a file cannot honour {reasons}", "leave that out")
        reset = " ".join(f"--set {name}=default" for name in sorted(refused))
        raise SettingError(
            f"the generation config sets what a file cannot honour: {reasons}",
            f"to export without, say so: {reset}",
        )
