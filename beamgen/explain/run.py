"""Run one search with its trace, and tell what it decided."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from beamgen.errors import SettingError
from beamgen.explain.retell import TextOf, retell
from beamgen.explain.story import Explanation, Hypothesis
from beamgen.explain.why import why
from beamgen.package.folder import Package, open_package
from beamgen.runtime.generator import Generator
from beamgen.settings.prompts import Prompt

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

#: The settings that an explanation repeats.
_TOLD = ("num_beams", "length_penalty", "early_stopping", "max_new_tokens", "do_sample", "seed")

Named = dict[str, npt.NDArray[np.generic]]


class _TracedSession:
    """Over a package's graph with its trace, which it keeps when it runs."""

    def __init__(self, package: Package) -> None:
        import onnx_ir as ir

        from beamgen.runtime.session import session_of
        from beamgen.runtime.trace import traced_steps
        from beamgen.search.traced import with_trace_outputs

        self._steps_of = traced_steps
        self._session = session_of(with_trace_outputs(ir.load(package.model)), package.folder)
        self.outputs: Named = {}
        self.feeds: Named = {}

    @property
    def steps(self) -> list[Named]:
        """Of the first row, see ``trace.traced_steps``."""
        return self._steps_of(self.outputs)[0]

    def run(self, names: Sequence[str], feeds: Named) -> list[npt.NDArray[np.generic]]:
        """As an ONNX Runtime session does."""
        every = [output.name for output in self._session.get_outputs()]
        self.outputs = dict(zip(every, self._session.run(every, feeds), strict=True))
        self.feeds = feeds
        return [self.outputs[name] for name in names]


def explain(
    package: Package | str | os.PathLike[str],
    prompt: Prompt,
    *,
    chat: bool = False,
    lora: str | None = None,
    verify: bool = True,
    **settings: Any,
) -> Explanation:
    """Search once, and tell which continuations were kept, dropped and finished, and why.

    Args:
        package: a package of the loop backend, or its folder.
        prompt: text, token ids, or chat messages.
        chat: put text through the tokenizer's chat template.
        lora: the name of a LoRA of the package.
        verify: compare the files with the manifest's hashes first.
        settings: as for ``Generator.generate``. All hypotheses are told unless
            ``num_return_sequences`` says how many.

    Raises:
        SettingError: there is but one beam, or the package is of the contrib backend.
        PromptError, LoraError, PackageError: see ``Generator.generate``.
    """
    if not isinstance(package, Package):
        package = open_package(package, verify=verify)
    if package.manifest.backend != "loop":
        raise SettingError(
            f"{package.folder} is of the {package.manifest.backend} backend, whose operator "
            "does not tell its steps",
            "export the checkpoint with --search loop",
        )
    config = package.manifest.search.with_overrides(settings)
    if config.num_beams == 1:
        raise SettingError(
            "with one beam nothing is compared: each step goes on with one token",
            "set --num-beams 2 or more",
        )
    session = _TracedSession(package)
    generator = Generator(package, session=session)
    (found,) = generator.generate(
        [prompt], chat=chat, lora=lora, **{**settings, "num_return_sequences": config.num_beams}
    )
    ids = session.feeds["input_ids"][0].tolist()
    config = config.with_overrides(
        {
            "max_length": None,
            "max_new_tokens": int(session.feeds["max_new_tokens"][0]),
            "seed": int(session.feeds["seed"][0]) if config.do_sample else None,
        }
    )
    told = retell(session.steps, config, _text_after(generator.tokenizer, ids))
    told_settings = {name: getattr(config, name) for name in _TOLD}
    if not config.do_sample:
        del told_settings["seed"]
    hypotheses = tuple(
        Hypothesis(
            rank,
            generation.score,
            told.steps[len(held.path) - 1].continuations[held.path[-1][1]].score,
            tuple(generation.token_ids),
            generation.new_text,
            generation.finish_reason,
            held.path,
        )
        for rank, (held, generation) in enumerate(zip(told.held, found, strict=False))
    )
    return Explanation(
        text=_shown(generator.tokenizer, ids),
        ids=tuple(ids),
        settings=told_settings,
        steps=told.steps,
        hypotheses=hypotheses[: settings.get("num_return_sequences", config.num_beams)],
        stopped=told.stopped,
        why=why(told.steps, hypotheses, told_settings),
    )


def _shown(tokenizer: PreTrainedTokenizerBase | None, prompt: list[int]) -> str | None:
    return None if tokenizer is None else tokenizer.decode(prompt, skip_special_tokens=True)


def _text_after(tokenizer: PreTrainedTokenizerBase | None, prompt: list[int]) -> TextOf:
    """Generated ids -> what they add to the prompt's text, special tokens shown."""
    if tokenizer is None:
        return lambda ids: "".join(f"[{token}]" for token in ids)
    before = tokenizer.decode(prompt)

    @cache
    def text(*ids: int) -> str:
        whole: str = tokenizer.decode([*prompt, *ids])
        after: str = whole[len(before) :] if whole.startswith(before) else tokenizer.decode(ids)
        return after

    return lambda ids: text(*ids)
