"""BigBird-Pegasus (Google): summaries of long texts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from beamgen.registry import register
from beamgen.seq2seq_adapter import Seq2SeqAdapter
from model_adapters._bart_seq2seq import TINY, look_back

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel


@register
class BigBirdPegasusAdapter(Seq2SeqAdapter):
    """BigBird-Pegasus of ``transformers``, whose encoder attends to every token.

    That is what it does itself with the sources that its sparse blocks are too large for, and
    with ``attention_type`` ``original_full``.
    """

    name = "bigbird_pegasus"
    model_type = "bigbird_pegasus"
    class_names = ("BigBirdPegasusForConditionalGeneration",)
    tiny_sizes = TINY
    # google/bigbird-pegasus-large-arxiv: 16 + 16 layers of 1,024, 96,103 tokens
    full_sizes = {}

    def source_positions(self, config: PretrainedConfig) -> int:
        """The longest source whose every token is attended to.

        Source: ``BigBirdPegasusEncoder.forward``.
        """
        positions: int = config.max_position_embeddings
        attended: int = (5 + 2 * config.num_random_blocks) * config.block_size
        return positions if config.attention_type == "original_full" else min(positions, attended)

    def prepare(self, model: PreTrainedModel) -> None:
        """Let the encoder attend to every token."""
        look_back(model)
        model.get_encoder().set_attention_type("original_full")
