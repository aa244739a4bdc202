"""Whisper (OpenAI): speech becomes text, in its language or in English."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from beamgen.adapter import PositionLimits
from beamgen.errors import AdapterError
from beamgen.registry import register
from beamgen.seq2seq_adapter import Seq2SeqAdapter, Source, TaskTokens

if TYPE_CHECKING:
    from transformers import GenerationConfig, PretrainedConfig


@register
class WhisperAdapter(Seq2SeqAdapter):
    """Whisper of ``transformers``, whose encoder reads a spectrogram of one length."""

    name = "whisper"
    model_type = "whisper"
    class_names = ("WhisperForConditionalGeneration",)
    demo = Path(__file__).parent / "demo" / "whisper"
    prepends_start = False
    generation_fields = frozenset(
        {
            # read by task_tokens
            "forced_decoder_ids", "is_multilingual", "lang_to_id", "language", "task", "task_to_id",
            # of long form, of the fallback to other temperatures, and of the times of words
            "alignment_heads", "compression_ratio_threshold", "condition_on_prev_tokens",
            "logprob_threshold", "median_filter_width", "prev_sot_token_id",
            "prompt_condition_type",
        }
    )  # fmt: skip

    def sources(self, config: PretrainedConfig) -> tuple[Source, ...]:
        """A log-mel spectrogram, padded with silence; the first convolution halves its frames."""
        frames = 2 * config.max_source_positions
        meaning = "what the encoder reads: a log-mel spectrogram"
        return (
            Source(
                "input_features", meaning, ("batch", config.num_mel_bins, frames), integer=False
            ),
        )

    def task_tokens(
        self, generation_config: GenerationConfig, config: PretrainedConfig
    ) -> TaskTokens | None:
        """Language, task and ``<|notimestamps|>``.

        Source: ``WhisperGenerationMixin._retrieve_init_tokens``.
        """
        from transformers.models.whisper.tokenization_whisper import TO_LANGUAGE_CODE

        def said(name: str) -> Any:
            return getattr(generation_config, name, None)

        languages = {token.strip("<|>"): i for token, i in (said("lang_to_id") or {}).items()}
        names = {name: code for name, code in TO_LANGUAGE_CODE.items() if code in languages}
        forced = said("forced_decoder_ids") or getattr(config, "forced_decoder_ids", None) or []
        if [place for place, _ in forced] != list(range(1, len(forced) + 1)):
            raise AdapterError(
                f"forced_decoder_ids {forced!r:.80} are not those of places 1, 2, ...",
                "correct generation_config.json, or set forced_decoder_ids to null there",
            )
        tasks, no_timestamps = said("task_to_id") or {}, said("no_timestamps_token_id")
        if not (languages or tasks or forced) and no_timestamps is None:
            return None
        default = said("language")
        return TaskTokens(
            languages=languages,
            language_names=names,
            tasks=tasks,
            no_timestamps=no_timestamps,
            forced=tuple(token for _, token in forced),
            multilingual=said("is_multilingual") is not False,
            language=default and names.get(default.strip("<|>"), default.strip("<|>")),
            task=said("task"),
        )

    def position_limits(self, config: PretrainedConfig) -> PositionLimits:
        """Of the decoder."""
        return PositionLimits(config.max_target_positions)

    def source_positions(self, config: PretrainedConfig) -> int | None:
        """None: every source has its one length."""
        del config
        return None

    def tiny_config(self) -> PretrainedConfig:
        """A config of two layers and 96 tokens."""
        from transformers import WhisperConfig

        return WhisperConfig(
            d_model=64, encoder_layers=2, decoder_layers=2, encoder_attention_heads=4,
            decoder_attention_heads=4, encoder_ffn_dim=128, decoder_ffn_dim=128, vocab_size=96,
            num_mel_bins=8, max_source_positions=20, max_target_positions=256, bos_token_id=1,
            pad_token_id=0, eos_token_id=2, decoder_start_token_id=1, suppress_tokens=None,
            begin_suppress_tokens=None,
        )  # fmt: skip

    def full_config(self) -> PretrainedConfig:
        """``openai/whisper-small``: 12 + 12 layers of 768, 51,865 tokens, 30 seconds."""
        from transformers import WhisperConfig

        return WhisperConfig(
            d_model=768, encoder_layers=12, decoder_layers=12, encoder_attention_heads=12,
            decoder_attention_heads=12, encoder_ffn_dim=3072, decoder_ffn_dim=3072,
            bos_token_id=50257, pad_token_id=50257, eos_token_id=50257,
            decoder_start_token_id=50258, begin_suppress_tokens=[220, 50257],
        )  # fmt: skip
