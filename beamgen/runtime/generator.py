"""A package runs: text or token ids in, scored hypotheses out. Needs neither torch nor HF."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from beamgen.errors import BeamgenWarning, PromptError, SettingError
from beamgen.package.folder import Package, open_package
from beamgen.quantization.saturation import inexact
from beamgen.runtime.automata import Automata, tell_of_short_limits
from beamgen.runtime.contrib import run_contrib
from beamgen.runtime.cores import seen
from beamgen.runtime.encoder import decoder_prompts
from beamgen.runtime.feeds import parameter_feeds, prompt_feeds
from beamgen.runtime.footprint import search_bytes
from beamgen.runtime.generation import (
    Generation,
    found_hypotheses,
    from_first_beam,
    generation_of,
)
from beamgen.runtime.loras import LoadedLoras, LoraChoice
from beamgen.runtime.memory import check_memory
from beamgen.runtime.no_numbers import bans, no_numbers
from beamgen.runtime.reader import Reader, Reading
from beamgen.runtime.request import Request
from beamgen.runtime.searches import Searches
from beamgen.runtime.session import run, shared_session
from beamgen.runtime.speech import (
    Language,
    detecting,
    heard,
    refuse_fallback,
    refuse_of_speech,
    spoken_prompts,
)
from beamgen.settings.config import ResolvedSearch, SearchConfig
from beamgen.settings.constraint import WHITESPACE, Constraint
from beamgen.settings.contrib import SEED_BITS
from beamgen.settings.prompts import (
    Ids,
    Prompt,
    as_batch,
    as_int64,
    left_pad,
)
from beamgen.settings.result import BeamOutput
from beamgen.settings.sources import AnySource, FeatureBatch, SourceBatch, right_pad
from beamgen.settings.stop_strings import StopStrings
from beamgen.settings.vocabulary import Vocabulary
from beamgen.tokenizer.tokenizer import Tokenizer

if TYPE_CHECKING:
    import onnxruntime


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
        load: bool = True,
    ) -> None:
        """Open a package and load its graph, or share the session of another Generator of it.

        Args:
            package: an opened package or its folder.
            providers: ONNX Runtime execution providers; by default the CPU's.
            threads: threads for one operator; by default one per core that this process may
                use. They wait for each other without spinning where others keep cores busy.
            verify: compare the files with the manifest's hashes first.
            session: one over the package's graph that is there already, with options of
                its own; ``providers`` and ``threads`` then count for nothing.
            load: load the graph now, and not before the first search: what only reads
                prompts needs none.

        Raises:
            PackageError: the package cannot be read or loaded.
        """
        self._since = seen()
        if not isinstance(package, Package):
            package = open_package(package, verify=verify)
        self.package = package
        self._given = session, list(providers or ["CPUExecutionProvider"]), threads
        self._loras = LoadedLoras(package)
        self._reader = Reader(package)
        self._automata = Automata(package, self._reader)
        self._searches = Searches(package, self._automata)
        self._checked_bytes = 0
        if not load:
            return
        on_cpu = self.session.get_providers()[0] == "CPUExecutionProvider"
        wrong_here = inexact(package.manifest.precision.multiplied) if on_cpu else None
        if wrong_here is not None:
            warnings.warn(wrong_here, BeamgenWarning, stacklevel=2)

    @cached_property
    def session(self) -> onnxruntime.InferenceSession:
        """The ONNX Runtime session that searches.

        Raises:
            PackageError: ONNX Runtime does not load the graph.
        """
        session, providers, threads = self._given
        return session or shared_session(self.package, providers, threads, self._since)

    @property
    def search(self) -> SearchConfig:
        """The defaults of the search that the package was exported with."""
        return self.package.manifest.search

    @property
    def seeds(self) -> int:
        """How many seeds there are: 0 and what follows, up to this number."""
        contrib = self.package.manifest.backend == "contrib"
        return 2**SEED_BITS if contrib else 2**63

    @property
    def tokenizer(self) -> Tokenizer | None:
        """The package's tokenizer, or None; it loads when it is first asked for.

        Raises:
            CheckpointError: its files do not load.
            MissingExtraError: they need a package that is not installed.
        """
        return self._reader.tokenizer

    @property
    def loaded_tokenizer(self) -> Tokenizer | None:
        """The package's tokenizer; None, with a warning, where it does not load either."""
        return self._reader.loaded_tokenizer

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
        prompts: Any,
        *,
        chat: bool = False,
        add_special_tokens: bool = True,
        decoder_prompt: Prompt | Sequence[Prompt] | None = None,
        sampling_rate: int | None = None,
        language: Language = None,
        task: str | None = None,
        decoder_start_token_id: int | Sequence[int] | None = None,
        src_lang: str | Sequence[str] | None = None,
        tgt_lang: str | Sequence[str] | None = None,
        lora: LoraChoice = None,
        **settings: Any,
    ) -> list[list[Generation]]:
        """The best hypotheses of each prompt, best first.

        In a package of an encoder-decoder the prompts are the sources, which the encoder reads.
        Where it hears, they are audio, one clip or several: paths of audio files, float
        samples ``[n]`` from -1 to 1, or ``{"array": samples, "sampling_rate": Hz}``; or a
        ``FeatureBatch``.

        Args:
            prompts: one or several of: text, token ids, or chat messages
                (``[{"role": "user", "content": ...}]``). Unequal lengths are
                padded on the left, which changes no result, except that, as in HF,
                ``max_length`` and ``min_length`` count the padding, and
                ``no_repeat_ngram_size`` reads it as text, under rules older than 5.23
                ``repetition_penalty`` too.
            chat: put text through the tokenizer's chat template, as one user
                message. Messages go through it in any case.
            add_special_tokens: put the special tokens around a text that the tokenizer puts
                around every text. A chat has those of its template.
            decoder_prompt: of an encoder-decoder, with what the decoder goes on: text or token
                ids, one for all sources or one for each, all of one length. HF's
                ``decoder_input_ids``; ``decoder_start_token_id`` goes before it where none
                begins with it.
            sampling_rate: of audio that is given as samples, in Hz.
            language: that is spoken, by its code or its name in English; one for all clips or
                one for each. By default the model's, or else the one that it takes each for.
            task: ``transcribe``, or ``translate`` into English; by default the model's.
            decoder_start_token_id: of an encoder-decoder that reads text, with what the decoder
                begins, one for all sources or one for each; by default the package's.
            src_lang: the language that texts are in, of a tokenizer that is told one, by HF's
                code, one for all texts or one for each; by default the tokenizer's own.
            tgt_lang: likewise the language to translate into: its token is the
                ``forced_bos_token_id``; goes before a decoder prompt, behind the start; or is
                the start, where the package's is the token of a language.
            lora: the name of one of ``loras`` for all prompts, or a list of one for each
                prompt, None being the base model. A contrib package takes one for all.
            settings: HF's names (``num_beams``, ``max_new_tokens``,
                ``length_penalty``, ``do_sample`` ...), ``seed`` and ``constraint``;
                what is not given is the package's default. A setting that the
                file takes per row may be a list, one value for each prompt. One
                seed s stands for s, s + 1, ... by prompt (a contrib package draws a
                whole batch from it); without one every call draws anew. ``regex``,
                ``json_schema`` and ``catalogue`` stand for the constraint that they
                make; a list of the first two has one for each prompt.

        Returns:
            For each prompt ``num_return_sequences`` hypotheses, or as many as the
            search found: a constraint may hold fewer.

        Raises:
            PromptError: a prompt is too long, holds unknown ids, or is empty while the model
                has no BOS to begin with; or there is no such language.
            SettingError: a setting is unknown or impossible.
            PackageError: the model's scores are no numbers.
            LoraError: there is no such LoRA, or its file is damaged or does not fit.
        """
        if self.package.manifest.features is not None:
            if decoder_start_token_id is not None:
                raise PromptError(
                    "decoder_start_token_id was given, and a model that hears has its own",
                    "leave it out, or give the whole decoder_prompt",
                )
            refuse_fallback(settings)
            features = heard(self.package, prompts, sampling_rate)
            source: AnySource | None = features
            asked = self._searches.configs(settings, len(features))
            batch = self.spoken_prompts(
                features,
                decoder_prompt=decoder_prompt,
                language=language,
                task=task,
                return_timestamps=asked[0].return_timestamps,
                lora=lora,
            )
        else:
            refuse_of_speech(self.package, language, task, sampling_rate)
            given = as_batch(prompts)
            if not given:
                raise PromptError("no prompts were given", "pass at least one")
            how = Reading(
                chat, add_special_tokens, src_lang, decoder_prompt, decoder_start_token_id, tgt_lang
            )
            settings = self._reader.settings(settings, how, len(given))
            batch, source = self._reader.behind_encoder(self._reader.read(given, how), how)
            asked = self._searches.configs(settings, len(batch))
        input_ids, attention_mask = left_pad(batch, asked[0].pad_token_id)
        prompt_len = input_ids.shape[1]
        room = self.package.manifest.limits.room(prompt_len)
        configs = [config.for_prompt(prompt_len, room) for config in asked]
        tell_of_short_limits(configs, stacklevel=3)
        output = self.search_ids(input_ids, attention_mask, configs, lora=lora, source=source)
        return self._generations(output, batch, prompt_len, configs)

    def request(
        self,
        prompt: Prompt,
        *,
        chat: bool = False,
        add_special_tokens: bool = True,
        decoder_prompt: Prompt | None = None,
        decoder_start_token_id: int | None = None,
        src_lang: str | None = None,
        tgt_lang: str | None = None,
        lora: str | None = None,
        **settings: Any,
    ) -> Request:
        """What ``generate`` would search for one prompt; nothing is searched yet.

        Args:
            prompt: one, as for ``generate``.
            chat: see ``generate``.
            add_special_tokens: see ``generate``.
            decoder_prompt: see ``generate``.
            decoder_start_token_id: see ``generate``.
            src_lang: see ``generate``.
            tgt_lang: see ``generate``.
            lora: the name of one of ``loras``, or None.
            settings: see ``generate``; one value each.

        Raises:
            BeamgenError: what ``generate`` would refuse, but for too little memory.
        """
        if self.package.manifest.features is not None:
            raise PromptError(
                f"{self.package.folder} hears, and requests are made of text", "use generate"
            )
        how = Reading(
            chat, add_special_tokens, src_lang, decoder_prompt, decoder_start_token_id, tgt_lang
        )
        settings = self._reader.settings(settings, how, 1)
        read = self._reader.read([prompt], how)
        batch, source = self._reader.behind_encoder(read, how)
        config = self._searches.config(settings)
        input_ids, attention_mask = left_pad(batch, config.pad_token_id)
        (resolved,) = self._searches.resolved(input_ids, attention_mask, [config], source)
        tell_of_short_limits([resolved], stacklevel=3)
        self.check_lora(lora, 1)
        return Request(tuple(batch[0]), resolved, lora, None if source is None else tuple(read[0]))

    def answer(self, requests: Sequence[Request]) -> list[list[Generation]]:
        """Search requests in one batch.

        ``Request.may_share`` says which may be in it, so that each gets what it would get alone.
        ``beam_indices`` are counted from 0 for each.

        Raises:
            BeamgenError: see ``generate``; requests differ in what a batch has to share.
        """
        first = requests[0]
        prompts = [list(each.prompt) for each in requests]
        sources = [list(each.source) for each in requests if each.source is not None]
        pad = first.config.pad_token_id
        input_ids, attention_mask = left_pad(prompts, pad)
        output = self.search_ids(
            input_ids,
            attention_mask,
            [each.config for each in requests],
            lora=[each.lora for each in requests],
            source=right_pad(sources, self.search.pad_token_id) if sources else None,
        )
        configs = [each.config for each in requests]
        found = self._generations(output, prompts, input_ids.shape[1], configs)
        return [
            [from_first_beam(each, row * first.config.chains) for each in hypotheses]
            for row, hypotheses in enumerate(found)
        ]

    def _generations(
        self,
        output: BeamOutput,
        batch: Sequence[list[int]],
        prompt_len: int,
        configs: Sequence[ResolvedSearch],
    ) -> list[list[Generation]]:
        """The hypotheses of a batch of prompts that were padded to one length.

        Raises:
            PackageError: the model's scores are no numbers.
        """
        for row, config in enumerate(configs):
            if not output.finish_reasons[row].any() and not bans(config):
                raise no_numbers(self.package.folder)
        return [
            [
                generation_of(found, prompt, prompt_len, config, self.loaded_tokenizer)
                for found in found_hypotheses(output, row)
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
        source: AnySource | None = None,
    ) -> BeamOutput:
        """Run the graph on left-padded ids, both int64 ``[B, S]``.

        Args:
            input_ids: the prompts; of an encoder-decoder the decoder's, without padding.
            attention_mask: 0 on padding.
            config: one for all rows, or one for each.
            lora: see ``generate``.
            source: what the encoder reads, in a package that has one.

        Raises:
            PromptError: the batch cannot be searched.
            SettingError: rows differ in what they have to share.
            LoraError: see ``generate``.
        """
        manifest = self.package.manifest
        input_ids, attention_mask = as_int64(input_ids), as_int64(attention_mask)
        configs = self._searches.resolved(input_ids, attention_mask, config, source)
        adapted = self._loras.feeds(lora, len(input_ids))
        read = source.input_ids if isinstance(source, SourceBatch) else input_ids
        self._check_memory(read, max(configs, key=lambda each: each.max_new_tokens))
        if manifest.backend == "contrib":
            return run_contrib(
                self.session, self.package, input_ids, attention_mask, configs, adapted
            )
        feeds = {
            **prompt_feeds(input_ids, attention_mask, source),
            **parameter_feeds(manifest, configs),
            **adapted,
        }
        return BeamOutput(*run(self.session, [field.name for field in fields(BeamOutput)], feeds))

    def spoken_prompts(
        self,
        source: FeatureBatch,
        *,
        decoder_prompt: Prompt | Sequence[Prompt] | None = None,
        language: Language = None,
        task: str | None = None,
        return_timestamps: bool = False,
        lora: LoraChoice = None,
    ) -> list[list[int]]:
        """What the decoder behind an encoder that hears begins with, for each row of a source.

        For the arguments see ``generate``. Where no language is known, one run of the file finds
        out that of each row.

        Raises:
            PromptError, SettingError: see ``generate``.
        """
        manifest, rows = self.package.manifest, len(source)
        encoder = manifest.encoder
        assert encoder is not None, "a decoder alone has no sources"
        start, tasks = encoder.decoder_start_token_id, encoder.tasks
        if decoder_prompt is not None:
            if language is not None or task is not None:
                raise PromptError(
                    "a decoder prompt was given, and a language or a task, which make one",
                    "leave one of the two out",
                )
            ids = [self._reader.encode_target(prompt) for prompt in as_batch(decoder_prompt)]
            return decoder_prompts(ids, [start] * rows, prepends_start=encoder.prepends_start)

        def detect(unknown: Sequence[int]) -> Sequence[int]:
            assert tasks is not None, "a model without tokens of languages is not asked for one"
            search = detecting(self.search, tasks, manifest.vocab_size)
            ids = np.full((len(unknown), 1), start)
            part = FeatureBatch(source.name, source.values[list(unknown)])
            chosen = lora if lora is None or isinstance(lora, str) else [lora[i] for i in unknown]
            output = self.search_ids(ids, np.ones_like(ids), search, lora=chosen, source=part)
            found: list[int] = output.sequences[:, 0, 1].tolist()
            return found

        return spoken_prompts(
            self.package, rows, language, task, return_timestamps=return_timestamps, detect=detect
        )

    def _check_memory(self, prompts: Ids, config: ResolvedSearch) -> None:
        """Refuse what the memory that is free cannot hold.

        Raises:
            PromptError: with the bytes.
        """
        if self.session.get_providers()[0] != "CPUExecutionProvider":
            return
        rows, prompt_len = prompts.shape
        needed = search_bytes(self.package, rows, prompt_len, config)
        if needed > self._checked_bytes:  # ONNX Runtime keeps the memory of searches before
            check_memory(needed)
            self._checked_bytes = needed

    def encode(
        self,
        prompt: Prompt,
        *,
        chat: bool = False,
        add_special_tokens: bool = True,
        src_lang: str | None = None,
    ) -> list[int]:
        """Token ids of one prompt; for the arguments see ``generate``.

        Raises:
            PromptError: the package has no tokenizer, or no chat template that takes the
                prompt; or it has tokens that the model lacks; or there is no such language.
        """
        return self._reader.encode(
            prompt, chat=chat, add_special_tokens=add_special_tokens, src_lang=src_lang
        )

    @property
    def vocabulary(self) -> Vocabulary:
        """The bytes that each token writes, for ``Constraint.regex`` and ``.json_schema``.

        Raises:
            SettingError: they do not say what the tokenizer writes.
            PromptError: the package has no tokenizer.
        """
        return self._automata.vocabulary

    def constraint(
        self,
        *,
        regex: str | None = None,
        json_schema: Any = None,
        whitespace: str = WHITESPACE,
    ) -> Constraint:
        """What a pattern allows a continuation to be, as a whole.

        A continuation begins where its prompt ends: after a word, with a space.

        Args:
            regex: in the syntax of Rust's regex crate, without anchors and look-around.
            json_schema: a mapping, or its JSON text; properties come in its order.
            whitespace: a regular expression of what may stand between tokens of JSON.

        Raises:
            SettingError: none or both are given; it cannot be read, outgrows the limits, or
                matches no text that the tokenizer writes.
            PromptError: the package has no tokenizer.
            MissingExtraError: outlines-core is not installed.
        """
        if (regex is None) == (json_schema is None):
            raise SettingError(
                "a constraint is made of a regex or of a json_schema", "give one of the two"
            )
        if regex is not None:
            return self._automata.regex(regex)
        return self._automata.json_schema(json_schema, whitespace)

    def stop_strings(self, strings: str | Sequence[str]) -> StopStrings:
        """Strings that end a text once they have come, as HF's ``stop_strings`` do.

        Raises:
            SettingError: there are none, one is empty, or no token could end any.
            PromptError: the package has no tokenizer.
        """
        return self._automata.stop_strings(strings)

    def resolved(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        """Settings with what they say in words made into automata, as ``generate`` does.

        Raises:
            BeamgenError: what ``constraint``, ``catalogue`` and ``stop_strings`` refuse.
        """
        return self._automata.resolved(settings)

    def catalogue(self, entries: Iterable[str | Sequence[int]]) -> Constraint:
        """A constraint to be one of some texts, or token ids without EOS.

        A text is tokenized as it would go on after a word and a space.

        Raises:
            SettingError: it is no list, there are no entries, or an empty one.
            PromptError: the package has no tokenizer for texts.
        """
        return self._automata.catalogue(entries)
