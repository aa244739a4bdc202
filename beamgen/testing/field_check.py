"""Whether an exported step follows every field of a config that Hugging Face follows."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from beamgen.adapter import DecoderAdapter
from beamgen.errors import AdapterError, one_line
from beamgen.testing.fields import LONG, SHORT, Variant, prompt_ids, variants
from beamgen.testing.loop_decoder import Floats, LoopDecoder, hf_logits

#: Of how far logits lie apart: a tenth of what a field has to change to be looked at.
TOLERANCE = 2e-3
_OTHER_TOKEN = 7


@dataclass(frozen=True)
class FieldOutcome:
    """What became of one config.

    Attributes:
        name: the field that differs from the tiny config, or ``tiny_config``.
        refused: the reason that the export gave, or None.
        wrong: where logits differ and by how much, or which error came; None if nothing does.
    """

    name: str
    refused: str | None = None
    wrong: str | None = None


def check_fields(adapter: DecoderAdapter) -> list[FieldOutcome]:
    """Export a step for each config whose change HF's logits tell, and compare the two.

    The prompts are longer than the windows and boundaries in these configs, and shorter.
    """
    return [_outcome(adapter, variant) for variant in variants(adapter.tiny_config())]


def _outcome(adapter: DecoderAdapter, variant: Variant) -> FieldOutcome:
    try:
        with tempfile.TemporaryDirectory() as folder:
            decoder = LoopDecoder(adapter, variant.model(), Path(folder))
        return FieldOutcome(variant.name, wrong=compare(decoder, variant))
    except AdapterError as error:
        return FieldOutcome(variant.name, refused=error.cause)
    except Exception as error:  # whatever an adapter's code may raise
        return FieldOutcome(variant.name, wrong=f"{type(error).__name__}: {one_line(error)}")


def compare(decoder: LoopDecoder, variant: Variant) -> str | None:
    """Where the logits of a step and HF's part, of a prompt and of two beams; None: nowhere."""
    ids, model = prompt_ids(variant.config), variant.model()
    for length in (SHORT, LONG):
        told = {
            f"a prompt of {length} tokens": (
                decoder.prompt(ids[:length]),
                hf_logits(model, ids[:length]),
            )
        }
        tokens = [_OTHER_TOKEN, ids[length]]
        for token, found in zip(tokens, decoder.beams(tokens), strict=True):
            where = f"a beam's token after {length}"
            expected = hf_logits(model, [*ids[:length], token])
            told[f"{where}, {token}"] = (found, expected)
        for where, (found, expected) in told.items():
            difference = _difference(found, expected)
            if not difference < TOLERANCE:
                return f"logits differ by {difference:.1e} at {where}"
    return None


def listed(outcomes: Sequence[FieldOutcome]) -> str:
    """The names of configs that went wrong, each with what went wrong."""
    return "; ".join(f"{o.name}: {o.wrong}" for o in outcomes if o.wrong is not None)


def _difference(found: Floats, expected: Floats) -> float:
    """The largest one, of how far the expected logits lie apart."""
    spread = max(1e-6, float(np.abs(expected - expected.mean()).max()))
    return float(np.abs(found - expected).max()) / spread
