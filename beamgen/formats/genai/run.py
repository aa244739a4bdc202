"""Running a folder with onnxruntime-genai, token ids in and out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from beamgen.errors import MissingExtraError


def import_genai() -> Any:
    """The module ``onnxruntime_genai``, whichever package brought it.

    Raises:
        MissingExtraError: it is not installed.
    """
    try:
        import onnxruntime_genai
    except ImportError as error:
        raise MissingExtraError("running what was written", "genai", "onnxruntime-genai") from error
    return onnxruntime_genai


class GenaiModel:
    """A folder that onnxruntime-genai has loaded."""

    def __init__(self, folder: Path) -> None:
        """Load it.

        Raises:
            MissingExtraError: onnxruntime-genai is not installed.
            RuntimeError: it cannot read the folder.
        """
        self._genai = import_genai()
        self.model = self._genai.Model(str(folder))

    def greedy(
        self,
        prompts: Sequence[Sequence[int]],
        max_new_tokens: int,
        pad_token_id: int,
        lora: Path | None = None,
    ) -> list[list[int]]:
        """What one batch generates, the EOS with it, as genai hands the tokens out.

        Args:
            prompts: unequal ones are padded on the right, where alone genai takes
                padding for such.
            max_new_tokens: N; a row that ended is padded up to the longest.
            pad_token_id: the model's.
            lora: an ``.onnx_adapter`` file to switch on.
        """
        longest = max(map(len, prompts))
        batch = np.full((len(prompts), longest), pad_token_id, np.int32)
        for row, prompt in enumerate(prompts):
            batch[row, : len(prompt)] = prompt
        generator = self.generator(
            len(batch),
            max_length=longest + max_new_tokens,
            min_length=0,
            num_beams=1,
            num_return_sequences=1,
            do_sample=False,
            repetition_penalty=1.0,
            no_repeat_ngram_size=0,
        )
        adapters: Any = None  # which has to live as long as the generator
        if lora is not None:
            adapters = self._genai.Adapters(self.model)
            adapters.load(str(lora), lora.stem)
            generator.set_active_adapter(adapters, lora.stem)
        generator.append_tokens(batch)
        steps = []
        while not generator.is_done():
            generator.generate_next_token()
            steps.append(generator.get_next_tokens().tolist())
        return [list(row) for row in zip(*steps, strict=True)]

    def generator(self, batch_size: int, **search: Any) -> Any:
        """A generator with these settings instead of the folder's."""
        params = self._genai.GeneratorParams(self.model)
        params.set_search_options(batch_size=batch_size, **search)
        return self._genai.Generator(self.model, params)

    def tokenizer(self) -> Any:
        """Its tokenizer.

        Raises:
            RuntimeError: genai cannot read the folder's.
        """
        return self._genai.Tokenizer(self.model)
