"""What the models from before GPT-2 share."""

from __future__ import annotations

from beamgen.adapter import DecoderAdapter


class OldDecoder(DecoderAdapter):
    """A model that transformers 4 gives no ``position_ids``, though it would take them."""

    @property
    def counts_padding(self) -> bool:  # type: ignore[override] # of a class, as a rule
        """Whether ``generate`` leaves the positions to the model, as it did before 5."""
        from transformers import GenerationMixin

        return not hasattr(GenerationMixin, "_prepare_position_ids_for_generation")
