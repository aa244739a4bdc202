"""How near scores have to be.

In fp32 and fp16 both sides do the same arithmetic, and differ by its rounding alone:
``SCORE_TOLERANCE`` and ``NEAR_TIE_MARGIN``. In int8 and int4 what a product reads is
rounded to one of 256 numbers as it runs, in w16 to one of 65,000. A value at the border of
two falls to either side, and one that fell to the other moves all that follows. How far was
measured at export, by teacher forcing the decoder, without any search: ``noise`` is the
largest difference from HF (with the same rounding) of a summed log-probability, divided by the
root of the number of tokens summed; or HF's from itself, with what is rounded moved by about as
much as float arithmetic moves it. Twice that is allowed on top.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from beamgen.package.manifest import Manifest
from beamgen.parity.report import NEAR_TIE_MARGIN, SCORE_TOLERANCE, ParityCase, near
from beamgen.settings.result import BeamOutput

#: The noise is the largest of a sample, not of all there is.
_SAFETY = 2.0

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Margins:
    """How much scores may differ.

    Attributes:
        noise: see the module; 0 where nothing is rounded as it runs.
        counts_prompt: whether the length penalty counts the prompt, as ONNX Runtime's
            operators have it.
    """

    noise: float = 0.0
    counts_prompt: bool = False

    @classmethod
    def of(cls, manifest: Manifest) -> Margins:
        """The margins of a package."""
        precision = manifest.precision
        return cls(precision.noise or 0.0, manifest.backend == "contrib")

    def same(self, a: float, b: float, tokens: int, divisor: float = 1.0) -> bool:
        """Whether two sums over so many tokens, divided by ``divisor``, are one score."""
        return self._near(a, b, SCORE_TOLERANCE, tokens, divisor)

    def tied(self, a: float, b: float, tokens: int, divisor: float = 1.0) -> bool:
        """Whether two sums are so near that either may win."""
        return self._near(a, b, NEAR_TIE_MARGIN, tokens, divisor)

    def slack(self, case: ParityCase, answer: BeamOutput) -> tuple[Floats, float]:
        """What noise adds to the tolerance: of scores ``[B, R]``, and of each token's."""
        config = case.config
        generated = answer.sequences[:, :, case.prompt_len :]
        before_end = np.cumsum(np.isin(generated, config.eos_token_id), axis=-1) == 0
        width = generated.shape[-1]  # 0 where nothing was found at all
        lengths = np.minimum(before_end.sum(axis=-1) + 1, width).clip(min=1)
        counted = lengths + (case.prompt_len if self.counts_prompt else 0)
        penalty = config.length_penalty if config.num_beams > 1 else 0.0
        slack: Floats = _SAFETY * self.noise * np.sqrt(lengths) / counted.astype(float) ** penalty
        return slack, _SAFETY * self.noise

    def _near(self, a: float, b: float, tolerance: float, tokens: int, divisor: float) -> bool:
        slack = _SAFETY * self.noise * max(tokens, 1) ** 0.5 / divisor
        return near(a, b, tolerance) or abs(a - b) <= slack
