"""A logits processor: the settings that drive it, and what it does to scores."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from beamgen.settings.setting import ALWAYS, Setting

#: ONNX functions, compiled by onnxscript; the first is the processor.
Functions = tuple[Any, ...]


@dataclass(frozen=True)
class Processor:
    """One of HF's logits processors or warpers.

    Its ONNX function takes scores ``[B, n, V]`` and gives them back changed; a warper that
    shortens the list of candidates also gives their ids. What else it reads are values of
    the step by the names of its arguments: settings, ``history``, ``input_ids``,
    ``encoder_input_ids`` (of a decoder alone the prompt's), ``generated_len``,
    ``min_tokens_to_keep``, ``node``, ``one_beam``. In beam search the scores are
    log-probabilities after log_softmax, with one beam they are logits, as in HF, which does
    not renormalise afterwards either. What is off does no work: each function is a
    conditional around its body.

    Attributes:
        settings: the rows that drive it and no processor before it; the first gives it its name,
            and is off where it has no work.
        functions: compiles the ONNX functions. A file is written with onnxscript, which a
            package needs no more, so that it is imported only here.
        in_some_steps: whether only a step can say that it has work, not its settings alone.
    """

    settings: tuple[Setting, ...]
    functions: Callable[[], Functions]
    in_some_steps: bool = False

    @property
    def name(self) -> str:
        """Of the setting that it is called by, or of its function."""
        return self.settings[0].name if self.settings else str(self.compiled[0].name)

    @property
    def heeded(self) -> str:
        """When HF heeds it."""
        return self.settings[0].heeded if self.settings else ALWAYS

    @cached_property
    def compiled(self) -> Functions:
        """The ONNX functions, the processor's own first."""
        return self.functions()
