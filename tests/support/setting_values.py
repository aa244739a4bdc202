"""A value of each setting other than its default."""

from __future__ import annotations

from beamgen.settings.rules import installed_rules

#: Fields that some releases of transformers do not have.
_SINCE_5 = {
    "assistant_ensemble_weight": 0.5,
    "continuous_batching_config": {},
    "max_cache_len": 8,
    "speculation_type": "x",
    "top_h": 0.5,
    "use_mtp": True,
}
_UNTIL_5 = {"return_legacy_cache": True}

#: Names in tables of beamgen's that the installed transformers does not have.
OF_OTHER_RELEASES = frozenset(_SINCE_5 if installed_rules().release == "4.57" else _UNTIL_5)

#: The same of ids and places of tokens of times, which GenerationConfig does not declare.
OF_SPEECH = {"no_timestamps_token_id": 7, "max_initial_timestamp_index": 3}

#: A value other than the default for every field of GenerationConfig.
OTHER = {
    "max_length": 99,
    "max_new_tokens": 9,
    "min_length": 3,
    "min_new_tokens": 2,
    "early_stopping": True,
    "max_time": 1.0,
    "stop_strings": ["x"],
    "do_sample": True,
    "num_beams": 3,
    "use_cache": False,
    "cache_implementation": "static",
    "cache_config": {},
    "prefill_chunk_size": 8,
    "temperature": 0.5,
    "top_k": 5,
    "top_p": 0.5,
    "min_p": 0.1,
    "typical_p": 0.5,
    "epsilon_cutoff": 0.1,
    "eta_cutoff": 0.1,
    "repetition_penalty": 1.5,
    "encoder_repetition_penalty": 1.5,
    "length_penalty": 2.0,
    "no_repeat_ngram_size": 2,
    "bad_words_ids": [[5]],
    "renormalize_logits": True,
    "forced_bos_token_id": 5,
    "forced_eos_token_id": 5,
    "remove_invalid_values": True,
    "exponential_decay_length_penalty": (1, 1.1),
    "suppress_tokens": [5],
    "begin_suppress_tokens": [5],
    "sequence_bias": {(5,): 1.0},
    "token_healing": True,
    "guidance_scale": 2.0,
    "watermarking_config": {"bias": 1.0},
    "num_return_sequences": 2,
    "output_attentions": True,
    "output_hidden_states": True,
    "output_scores": True,
    "output_logits": True,
    "return_dict_in_generate": True,
    "pad_token_id": 5,
    "bos_token_id": 5,
    "eos_token_id": 5,
    "encoder_no_repeat_ngram_size": 2,
    "decoder_start_token_id": 5,
    "is_assistant": True,
    "num_assistant_tokens": 5,
    "num_assistant_tokens_schedule": "heuristic",
    "assistant_confidence_threshold": 0.1,
    "prompt_lookup_num_tokens": 5,
    "max_matching_ngram_size": 2,
    "assistant_early_exit": 2,
    "assistant_lookbehind": 2,
    "target_lookbehind": 2,
    "compile_config": {},
    "disable_compile": True,
    "low_memory": True,
    "penalty_alpha": 0.5,
    "dola_layers": "low",
    "diversity_penalty": 0.5,
    "num_beam_groups": 2,
    "constraints": ["x"],
    "force_words_ids": [[5]],
    "transformers_version": "1.0",
    **{n: v for n, v in {**_SINCE_5, **_UNTIL_5}.items() if n not in OF_OTHER_RELEASES},
}
