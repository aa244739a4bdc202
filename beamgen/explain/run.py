"""Run one search with its trace, and explain what it decided."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from beamgen.errors import SettingError
from beamgen.explain.beams import Hypothesis
from beamgen.explain.constrained import forbidden_tokens
from beamgen.explain.explanation import Explanation
from beamgen.explain.from_trace import TracedSearch, read_search
from beamgen.explain.winner import reasons
from beamgen.package.folder import Package, open_package
from beamgen.runtime.generation import Generation
from beamgen.runtime.generator import Generator
from beamgen.runtime.speech import Audio
from beamgen.settings.config import SearchConfig
from beamgen.settings.prompts import Prompt
from beamgen.settings.sources import DECODER_PROMPT
from beamgen.tokenizer.added_text import token_text
from beamgen.tokenizer.tokenizer import Tokenizer

#: The settings that an explanation repeats.
_SHOWN = (
    "num_beams",
    "length_penalty",
    "early_stopping",
    "max_new_tokens",
    "eos_token_id",
    "do_sample",
    "seed",
)

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

    def get_providers(self) -> list[str]:
        """As an ONNX Runtime session does."""
        return list(self._session.get_providers())

    def run(
        self, names: Sequence[str], feeds: Named, options: Any = None
    ) -> list[npt.NDArray[np.generic]]:
        """As an ONNX Runtime session does."""
        every = [output.name for output in self._session.get_outputs()]
        self.outputs = dict(zip(every, self._session.run(every, feeds, options), strict=True))
        self.feeds = feeds
        return [self.outputs[name] for name in names]


def explain(
    package: Package | str | os.PathLike[str],
    prompt: Prompt | Audio,
    *,
    decoder_prompt: Prompt | None = None,
    chat: bool = False,
    add_special_tokens: bool = True,
    src_lang: str | None = None,
    tgt_lang: str | None = None,
    sampling_rate: int | None = None,
    language: str | None = None,
    task: str | None = None,
    lora: str | None = None,
    verify: bool = True,
    **settings: Any,
) -> Explanation:
    """Search once, and say which continuations were kept, dropped and finished, and why.

    Args:
        package: a package of the loop backend, or its folder.
        prompt: text, token ids, or chat messages; what an encoder reads, if there is one, audio
            where it hears.
        decoder_prompt: with what the decoder behind an encoder goes on, text or ids.
        chat: put text through the tokenizer's chat template.
        add_special_tokens: those that the tokenizer puts around a text.
        src_lang: see ``Generator.generate``.
        tgt_lang: see ``Generator.generate``.
        sampling_rate: see ``Generator.generate``.
        language: see ``Generator.generate``.
        task: see ``Generator.generate``.
        lora: the name of a LoRA of the package.
        verify: compare the files with the manifest's hashes first.
        settings: as for ``Generator.generate``. All hypotheses are given unless
            ``num_return_sequences`` says how many.

    Raises:
        SettingError: there is but one beam, or the package is of the contrib backend.
        PromptError, LoraError, PackageError: see ``Generator.generate``.
    """
    if not isinstance(package, Package):
        package = open_package(package, verify=verify)
    if settings.get("stop_strings"):
        raise SettingError(
            "an explanation does not tell of stop_strings", "leave them out, or use generate"
        )
    settings = Generator(package, load=False).resolved(settings)
    config = package.manifest.search.with_overrides(settings)
    _check_has_tree(package, config)
    session = _TracedSession(package)
    generator = Generator(package, session=session)
    (found,) = generator.generate(
        [prompt],
        decoder_prompt=decoder_prompt,
        chat=chat,
        add_special_tokens=add_special_tokens,
        src_lang=src_lang,
        tgt_lang=tgt_lang,
        sampling_rate=sampling_rate,
        language=language,
        task=task,
        lora=lora,
        **{**settings, "num_return_sequences": config.num_beams},
    )
    is_behind = package.manifest.encoder is not None
    ids = session.feeds[DECODER_PROMPT.name if is_behind else "input_ids"][0].tolist()
    is_read = is_behind and "input_ids" in session.feeds
    source = session.feeds["input_ids"][0].tolist() if is_read else None
    resolved = config.with_overrides(
        {
            "max_length": None,
            "max_new_tokens": int(session.feeds["max_new_tokens"][0]),
            "seed": int(session.feeds["seed"][0]) if config.do_sample else None,
        }
    )
    read = read_search(session.steps, resolved, ids, token_text(generator.loaded_tokenizer))
    hypotheses = _hypotheses(read, found)
    shown = {name: getattr(resolved, name) for name in _SHOWN}
    forbidden = None
    if config.constraint is not None:
        size = package.manifest.vocab_size
        forbidden = forbidden_tokens(read.steps, config.constraint, config.eos_token_id, size)
    if not config.do_sample:
        del shown["seed"]
    return Explanation(
        text=_text(generator.loaded_tokenizer, ids),
        ids=tuple(ids),
        settings=shown,
        steps=read.steps,
        hypotheses=hypotheses[: settings.get("num_return_sequences", config.num_beams)],
        stopped=read.stopped,
        reasons=reasons(read.steps, hypotheses, shown),
        source_text=None if source is None else _text(generator.loaded_tokenizer, source),
        source_ids=None if source is None else tuple(source),
        forbidden=forbidden,
        vocab_size=package.manifest.vocab_size,
    )


def _check_has_tree(package: Package, config: SearchConfig) -> None:
    """Refuse searches of which there is nothing to show.

    Raises:
        SettingError: with the reason.
    """
    if package.manifest.backend != "loop":
        raise SettingError(
            f"{package.folder} is of the {package.manifest.backend} backend, whose operator "
            "does not tell its steps",
            "export the checkpoint with --search loop",
        )
    if config.num_beams == 1:
        raise SettingError(
            "with one beam nothing is compared: each step goes on with one token",
            "set --num-beams 2 or more",
        )


def _hypotheses(read: TracedSearch, found: Sequence[Generation]) -> tuple[Hypothesis, ...]:
    """What the search returned, with the way to each."""
    return tuple(
        Hypothesis(
            rank,
            generation.score,
            read.at(held.path[-1]).score,
            tuple(generation.token_ids),
            generation.new_text,
            generation.finish_reason,
            held.path,
        )
        for rank, (held, generation) in enumerate(zip(read.held, found, strict=False))
    )


def _text(tokenizer: Tokenizer | None, ids: list[int]) -> str | None:
    return None if tokenizer is None else tokenizer.decode(ids, skip_special_tokens=True)
