"""Run a package: text or token ids in, scored hypotheses out. Needs no torch."""

from __future__ import annotations

import os
import secrets
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from beamgen.checkpoint.added_text import text_added
from beamgen.checkpoint.tokenizer import load_tokenizer
from beamgen.errors import PackageError, PromptError, SettingError, one_line
from beamgen.package.folder import Package, open_package
from beamgen.quantization.saturation import inexact
from beamgen.runtime.contrib import one_for_all_rows, run_contrib
from beamgen.runtime.loras import LoadedLoras, LoraChoice
from beamgen.settings.catalogue import Catalogue
from beamgen.settings.checks import named_ids
from beamgen.settings.config import SearchConfig, stacked_inputs
from beamgen.settings.contrib import SEED_BITS
from beamgen.settings.parameters import PER_ROW
from beamgen.settings.prompts import (
    Ids,
    Prompt,
    as_batch,
    as_int64,
    check_batch,
    check_ids,
    check_lengths,
    is_chat,
    left_pad,
    token_ids,
)
from beamgen.settings.result import FINISH_REASONS, BeamOutput

if TYPE_CHECKING:
    import onnxruntime
    from transformers import PreTrainedTokenizerBase

# HF's two limits that count the prompt become the two that do not.
_PER_ROW = PER_ROW | {"max_length", "min_length"}


@dataclass(frozen=True)
class Generation:
    """One hypothesis.

    Attributes:
        text: prompt and continuation, decoded without special tokens, as
            ``tokenizer.decode(sequence, skip_special_tokens=True)`` gives it;
            None where the package has no tokenizer.
        new_text: the continuation alone.
        token_ids: the generated ids, the EOS that ended them included.
        prompt_ids: the prompt's ids, without padding.
        score: HF's ``sequences_scores``: summed log-probability divided by
            ``len(token_ids) ** length_penalty``; with one beam the sum alone. A
            contrib package divides by the prompt's tokens and the generated ones
            before the EOS, and gives not-a-number with one beam.
        finish_reason: ``eos`` or ``length``. Within a catalogue ``eos`` says that
            the continuation is a whole entry.
        token_log_probs: of each generated id, HF's ``compute_transition_scores``;
            None unless ``output_scores`` was set.
        beam_indices: on which beam each generated id stood, counted over the whole
            batch as HF's are; None unless ``output_scores`` was set.
    """

    text: str | None
    new_text: str | None
    token_ids: list[int]
    prompt_ids: list[int]
    score: float
    finish_reason: str
    token_log_probs: list[float] | None = None
    beam_indices: list[int] | None = None


class Generator:
    """Generates from a package, as HF's ``generate`` would from its checkpoint."""

    def __init__(
        self,
        package: Package | str | os.PathLike[str],
        *,
        providers: Sequence[str] | None = None,
        threads: int | None = None,
        verify: bool = True,
        session: onnxruntime.InferenceSession | None = None,
    ) -> None:
        """Open a package and load its graph.

        Args:
            package: an opened package or its folder.
            providers: ONNX Runtime execution providers; by default the CPU's.
            threads: threads for one operator; by default one per core.
            verify: compare the files with the manifest's hashes first.
            session: one over the package's graph that is there already, with options of
                its own; ``providers`` and ``threads`` then count for nothing.

        Raises:
            PackageError: the package cannot be read or loaded.
        """
        if not isinstance(package, Package):
            package = open_package(package, verify=verify)
        self.package = package
        self.session = session or load_session(
            package, providers or ["CPUExecutionProvider"], threads
        )
        self._loras = LoadedLoras(package)
        wrong_here = inexact(package.manifest.precision.weights)
        if wrong_here is not None and self.session.get_providers()[0] == "CPUExecutionProvider":
            warnings.warn(wrong_here, stacklevel=2)

    @property
    def search(self) -> SearchConfig:
        """The package's defaults."""
        return self.package.manifest.search

    @property
    def seeds(self) -> int:
        """How many seeds there are: 0 up to it, without it."""
        contrib = self.package.manifest.backend == "contrib"
        return 2**SEED_BITS if contrib else 2**63

    @cached_property
    def tokenizer(self) -> PreTrainedTokenizerBase | None:
        """The package's tokenizer, or None."""
        return load_tokenizer(self.package.folder)

    @property
    def loras(self) -> list[str]:
        """Names of the LoRAs in the package's ``adapters/``."""
        return list(self.package.loras)

    def check_lora(self, lora: LoraChoice, prompts: int) -> None:
        """Refuse, before anything else is done, what ``generate`` would refuse.

        Raises:
            LoraError: see ``generate``.
        """
        self._loras.feeds(lora, prompts)

    def generate(
        self,
        prompts: Prompt | Sequence[Prompt],
        *,
        chat: bool = False,
        lora: LoraChoice = None,
        **settings: Any,
    ) -> list[list[Generation]]:
        """The best hypotheses of each prompt, best first.

        Args:
            prompts: one or several of: text, token ids, or chat messages
                (``[{"role": "user", "content": ...}]``). Unequal lengths are
                padded on the left, which changes no result, except that, as in HF,
                ``max_length`` and ``min_length`` count the padding, and
                ``repetition_penalty`` and ``no_repeat_ngram_size`` read it as text.
            chat: put text through the tokenizer's chat template, as one user
                message. Messages go through it in any case.
            lora: the name of one of ``loras`` for all prompts, or a list of one for each
                prompt, None being the base model. A contrib package takes one for all.
            settings: HF's names (``num_beams``, ``max_new_tokens``,
                ``length_penalty``, ``do_sample`` ...), ``seed`` and ``catalogue``;
                what is not given is the package's default. A setting that the
                file takes per row may be a list, one value for each prompt. One
                seed s stands for s, s + 1, ... by prompt (a contrib package draws a
                whole batch from it); without one every call draws anew. A catalogue
                is a ``Catalogue``, or entries for ``catalogue()``.

        Returns:
            For each prompt ``num_return_sequences`` hypotheses, or as many as the
            search found: a catalogue may hold fewer.

        Raises:
            PromptError: a prompt is empty, too long, or holds unknown ids.
            SettingError: a setting is unknown or impossible.
            LoraError: there is no such LoRA, or its file is damaged or does not fit.
        """
        batch = [self.encode(prompt, chat=chat) for prompt in as_batch(prompts)]
        if not batch:
            raise PromptError("no prompts were given", "pass at least one")
        configs = self._configs(settings, len(batch))
        input_ids, attention_mask = left_pad(batch, configs[0].pad_token_id)
        prompt_len = input_ids.shape[1]
        room = self.package.manifest.limits.room(prompt_len)
        configs = [config.for_prompt(prompt_len, room) for config in configs]
        output = self.search_ids(input_ids, attention_mask, configs, lora=lora)
        return [
            [
                self._generation(prompt, prompt_len, config, found)
                for found in _hypotheses(output, row)
            ]
            for row, (prompt, config) in enumerate(zip(batch, configs, strict=True))
        ]

    def search_ids(
        self,
        input_ids: Ids,
        attention_mask: Ids,
        config: SearchConfig | Sequence[SearchConfig],
        *,
        lora: LoraChoice = None,
    ) -> BeamOutput:
        """Run the graph on left-padded ids, both int64 ``[B, S]``.

        Args:
            input_ids: the prompts.
            attention_mask: 0 on padding.
            config: one for all rows, or one for each.
            lora: see ``generate``.

        Raises:
            PromptError: the batch cannot be searched.
            SettingError: rows differ in what they have to share.
            LoraError: see ``generate``.
        """
        manifest = self.package.manifest
        input_ids, attention_mask = as_int64(input_ids), as_int64(attention_mask)
        prompt_len = input_ids.shape[-1] if input_ids.ndim else 0
        room = manifest.limits.room(prompt_len)
        given = [config] if isinstance(config, SearchConfig) else config
        configs = [each.for_prompt(prompt_len, room) for each in given]
        check_batch(input_ids, attention_mask, manifest.vocab_size)
        for each in dict.fromkeys(configs):
            check_lengths(manifest.limits, input_ids.shape[1], each.max_new_tokens or 0)
            for name, ids in named_ids(each).items():
                check_ids(name, np.asarray(ids, np.int64), manifest.vocab_size)
        if not isinstance(config, SearchConfig) and len(configs) != len(input_ids):
            raise PromptError(
                f"{len(configs)} configs were given for {len(input_ids)} rows", "give one for each"
            )
        adapted = self._loras.feeds(lora, len(input_ids))
        if manifest.backend == "contrib":
            return run_contrib(self.session, manifest, input_ids, attention_mask, configs, adapted)
        one = isinstance(config, SearchConfig)
        feeds = {
            "input_ids": input_ids,
            "attention_mask": attention_mask,
            **(configs[0].inputs() if one else stacked_inputs(configs)),
            **adapted,
        }
        return BeamOutput(*self.session.run([field.name for field in fields(BeamOutput)], feeds))

    def encode(self, prompt: Prompt, *, chat: bool = False) -> list[int]:
        """Token ids of one prompt, special tokens added as the tokenizer does.

        Raises:
            PromptError: the package has no tokenizer, or no chat template.
        """
        if not isinstance(prompt, str) and not is_chat(prompt):
            return token_ids(prompt)
        tokenizer = self.tokenizer
        if tokenizer is None:
            raise PromptError(
                f"{self.package.folder} has no tokenizer, so it takes token ids only",
                "pass ids: generate([[1, 2, 3]]), or --ids '1 2 3' on the command line",
            )
        if isinstance(prompt, str) and not chat:
            return list(tokenizer(prompt)["input_ids"])
        if not tokenizer.chat_template:
            raise PromptError(
                "the package's tokenizer has no chat template", "pass plain text instead"
            )
        messages = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else prompt
        return list(
            tokenizer.apply_chat_template(
                list(messages), add_generation_prompt=True, return_dict=True
            )["input_ids"]
        )

    def catalogue(self, entries: Iterable[str | Sequence[int]]) -> Catalogue:
        """A catalogue of texts, or of token ids without EOS.

        A text is tokenized as it would go on after a word and a space.

        Raises:
            SettingError: there are no entries, or an empty one.
            PromptError: the package has no tokenizer for texts.
        """
        return Catalogue.of(
            self._continuation(entry) if isinstance(entry, str) else entry for entry in entries
        )

    def _continuation(self, text: str) -> list[int]:
        """The ids by which a text continues another."""
        before = self.encode("a")
        whole = self.encode(f"a {text.strip()}")
        while before and before != whole[: len(before)]:
            before = before[:-1]  # an EOS that the tokenizer appends
        ids = whole[len(before) :]
        eos = self.search.eos_token_id
        return ids[:-1] if ids and ids[-1] in eos else ids

    def _configs(self, settings: Mapping[str, Any], rows: int) -> list[SearchConfig]:
        """One config per row, with seeds to draw with."""
        chosen = dict(settings)
        catalogue = chosen.get("catalogue")
        if catalogue is not None and not isinstance(catalogue, Catalogue):
            chosen["catalogue"] = self.catalogue(catalogue)
        lists = {
            name: list(value)
            for name, value in chosen.items()
            if name in _PER_ROW and isinstance(value, list | tuple | np.ndarray)
        }
        for name, values in lists.items():
            if len(values) != rows:
                raise SettingError(
                    f"{name} has {len(values)} values for {rows} prompts", "give one for each"
                )
        shared = self.search.with_overrides(
            {name: value for name, value in chosen.items() if name not in lists}
            | {name: values[0] for name, values in lists.items()}
        )
        configs = [
            shared.with_overrides({name: values[row] for name, values in lists.items()})
            for row in range(rows)
        ]
        if not shared.do_sample:
            return configs
        if self.package.manifest.backend == "contrib":
            if lists:
                raise one_for_all_rows()
            seed = secrets.randbits(SEED_BITS) if shared.seed is None else shared.seed
            return [replace(shared, seed=int(seed))] * rows
        if "seed" in lists:
            return [
                config if config.seed is not None else replace(config, seed=secrets.randbits(62))
                for config in configs
            ]
        first = secrets.randbits(62) if shared.seed is None else int(shared.seed)
        # as the file counts one seed up by row
        return [replace(config, seed=(first + row) % 2**63) for row, config in enumerate(configs)]

    def _generation(
        self, prompt: list[int], prompt_len: int, config: SearchConfig, found: BeamOutput
    ) -> Generation:
        """One hypothesis ``[T]`` of a row, without its padding."""
        reason = FINISH_REASONS[found.finish_reasons]
        ids = found.sequences[prompt_len:].tolist()[: config.max_new_tokens]
        if reason == "eos":
            ids = ids[: 1 + next(i for i, token in enumerate(ids) if token in config.eos_token_id)]
        text = new_text = None
        if self.tokenizer is not None:
            text = self.tokenizer.decode([*prompt, *ids], skip_special_tokens=True)
            new_text = text_added(self.tokenizer, prompt, ids)
        asked = config.output_scores
        return Generation(
            text,
            new_text,
            ids,
            prompt,
            float(found.sequences_scores),
            reason,
            found.token_log_probs.tolist()[: len(ids)] if asked else None,
            found.beam_indices.tolist()[: len(ids)] if asked else None,
        )


def _hypotheses(output: BeamOutput, row: int) -> list[BeamOutput]:
    """Each hypothesis that a row's search found."""
    found = np.flatnonzero(output.finish_reasons[row])
    return [BeamOutput(*(values[row, i] for values in vars(output).values())) for i in found]


def load_session(
    package: Package, providers: Sequence[str], threads: int | None = None
) -> onnxruntime.InferenceSession:
    """An ONNX Runtime session over the package's graph.

    Raises:
        PackageError: an unknown provider, or ONNX Runtime refuses the file.
    """
    import onnxruntime

    available = onnxruntime.get_available_providers()
    unknown = [provider for provider in providers if provider not in available]
    if unknown:
        raise PackageError(
            f"this ONNX Runtime has no {', '.join(unknown)}; it has {', '.join(available)}",
            "pip install 'beamgen[cuda]' for CUDAExecutionProvider",
        )
    options = onnxruntime.SessionOptions()
    # Level 2 warns of every parameter that has a default, which is how it should be.
    options.log_severity_level = 3
    if threads is not None:
        options.intra_op_num_threads = threads
    try:
        session = onnxruntime.InferenceSession(
            str(package.model), options, providers=list(providers)
        )
    except Exception as error:  # ONNX Runtime raises types of its own
        raise PackageError(
            f"ONNX Runtime {onnxruntime.__version__} cannot load {package.model}: "
            f"{one_line(error)}",
            "the file needs opset 23: pip install --upgrade onnxruntime",
        ) from error
    taken = {i.name for i in [*session.get_inputs(), *session.get_overridable_initializers()]}
    manifest = package.manifest
    slots = {name for slot in manifest.lora_slots for name in slot.inputs}
    if taken != {row["name"] for row in manifest.inputs} | slots:
        raise PackageError(
            f"{package.model} and beamgen.json do not belong together: their inputs differ",
            "export the checkpoint again",
        )
    return session
