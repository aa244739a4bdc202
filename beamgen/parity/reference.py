"""Hugging Face ``generate`` as the yardstick: its answers, and its steps."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

import numpy as np

from beamgen.checkpoint.attention import forgetful_default
from beamgen.errors import MissingExtraError, SettingError, one_line
from beamgen.parity.candidates import Candidates
from beamgen.parity.draws import seeded_multinomial
from beamgen.parity.further import given_besides
from beamgen.parity.hf_output import hf_beam_output
from beamgen.parity.positions import silent, takes_positions
from beamgen.parity.stopping import stopping
from beamgen.parity.watch import watched
from beamgen.runtime.trace import RowStep, SearchTrace, Tokens
from beamgen.settings.config import ResolvedSearch, SearchConfig
from beamgen.settings.hf_fields import hf_defaults
from beamgen.settings.prompts import Ids
from beamgen.settings.result import BeamOutput
from beamgen.settings.sources import AnySource, FeatureBatch
from beamgen.settings.table import SETTINGS

if TYPE_CHECKING:
    import torch
    from transformers import GenerationConfig, PreTrainedModel


_SMALL_MODEL = 20_000_000  # parameters
#: What float32 rounds off a model's logits, as a part of the largest: some units of the last place.
_ROUNDING = 1e-6


#: What HF is given in another way: random numbers, a function, a field of its own.
_GIVEN_APART = frozenset(
    {
        "seed",
        "constraint",
        "stop_strings",
        "output_scores",
        "return_timestamps",
        "no_timestamps_token_id",
        "max_initial_timestamp_index",
    }
)


class Reference:
    """Runs a pristine HF model, one loaded by ``Checkpoint.load_model``."""

    def __init__(self, model: PreTrainedModel) -> None:
        """Clear the checkpoint's own generation defaults: each call gives all settings."""
        try:
            import torch
            from transformers import GenerationConfig
        except ImportError as error:
            raise MissingExtraError("comparing with HF generate", "export", "torch") from error
        self._torch = torch
        if sum(parameter.numel() for parameter in model.parameters()) < _SMALL_MODEL:
            # Threads gain a small model nothing, and cost it a lot on a busy machine.
            torch.set_num_threads(1)
        self._model = model
        model.generation_config = GenerationConfig()
        self._vocab_size: int = model.config.get_text_config().vocab_size
        self.candidates = Candidates(0)

    @property
    def forgetful_default(self) -> str | None:
        """HF's default attention, where the model follows another instead of it."""
        return forgetful_default(self._model)

    @property
    def model(self) -> PreTrainedModel:
        """The HF model that answers."""
        return self._model

    def generate(
        self,
        input_ids: Ids,
        attention_mask: Ids,
        config: SearchConfig,
        *,
        source: AnySource | None = None,
        scores: bool = True,
        draws: Callable[[ResolvedSearch], AbstractContextManager[None]] | None = None,
    ) -> BeamOutput:
        """HF's answer in the graph's shapes, sampled with the file's random numbers.

        ``source`` is what an encoder reads; the ids are the decoder's then.
        ``draws`` makes a context in which ``torch.multinomial`` draws with other numbers.

        Without ``scores``, which cost HF time and memory, all but the sequences is
        left empty.
        """
        from transformers import GenerationMixin

        torch = self._torch
        config = config.for_prompt(input_ids.shape[1])
        settings = self._settings(config)
        settings.return_dict_in_generate = settings.output_scores = scores
        settings.decoder_start_token_id = _start(input_ids, source)
        batch, returned = len(input_ids), config.num_return_sequences
        running = returned if config.num_beams == 1 else config.num_beams
        vocab_size = self._vocab_size
        drawn = (
            seeded_multinomial(config.seed or 0, batch, running, vocab_size)
            if draws is None
            else draws(config)
        )
        given = _read(torch.from_numpy(input_ids), torch.from_numpy(attention_mask), source)
        with torch.no_grad(), drawn, silent():
            # what a class of its own puts around the search is no part of it
            output = GenerationMixin.generate(
                self._model,
                # by position: not every model's own preparation names them
                given.pop(self._model.main_input_name),
                **given,
                generation_config=settings,
                **given_besides(config, input_ids.shape[1], vocab_size),
                **stopping(config),
            )
        if not scores:
            none = np.zeros((batch, 0))
            sequences = output.numpy().reshape(batch, returned, -1)
            return BeamOutput(sequences, *[none] * 4)  # type: ignore[arg-type] # empty
        return hf_beam_output(self._model, output, batch, input_ids.shape[1], config)

    def _settings(self, config: SearchConfig) -> GenerationConfig:
        """A config for one prompt as HF's own; what is off is left out, for HF warns of it.

        Raises:
            SettingError: transformers cannot be asked for it.
        """
        from transformers import GenerationConfig

        values, defaults = vars(config), hf_defaults()
        given = {}
        for setting in SETTINGS:
            name, value = setting.name, values[setting.name]
            if not setting.in_graph or name in _GIVEN_APART or not setting.is_heeded(values):
                continue
            if setting.is_off(value) and defaults.get(name) in (None, value):
                continue
            if not setting.in_hf:
                raise SettingError(
                    f"parity cannot compare {name}: transformers has no such setting",
                    "compare a package that was exported without it",
                )
            given[name] = setting.kind.to_hf(value)
        try:
            return GenerationConfig(**given)
        except ValueError as error:
            raise SettingError(
                f"transformers refuses these settings: {one_line(error)}", "search without them"
            ) from error

    def trace(
        self,
        input_ids: Ids,
        attention_mask: Ids,
        config: SearchConfig,
        *,
        source: AnySource | None = None,
    ) -> SearchTrace:
        """What HF's beam search decided at each step, by watching its own functions.

        What it chose among stays in ``candidates`` until the next trace.
        """
        self.candidates = Candidates(input_ids.shape[1])
        steps: list[list[RowStep]] = []
        with watched(self._model, steps, input_ids.shape[1], self.candidates):
            self.generate(input_ids, attention_mask, config, source=source)
        return [list(row) for row in zip(*steps, strict=True)]

    def score(
        self,
        input_ids: Ids,
        attention_mask: Ids,
        tokens: Tokens,
        config: SearchConfig,
        *,
        source: AnySource | None = None,
        rounding: int | None = None,
    ) -> float:
        """Summed log-probability of a continuation, by teacher forcing and HF's processors.

        Args:
            input_ids: one row, int64 ``[S]``, with its padding, which processors read.
            attention_mask: int64 ``[S]``.
            tokens: generated ids, all of them scored.
            config: the settings under which they are scored.
            source: of that row, for an encoder.
            rounding: the seed of random numbers that move the logits by about what float32
                rounds off, and None for none.
        """
        config = config.for_prompt(len(input_ids))
        scores = self.scores(
            input_ids, attention_mask, tokens, config, source=source, rounding=rounding
        )
        if config.num_beams == 1:
            scores = scores.log_softmax(-1)
        return float(scores[range(len(tokens)), tokens].sum())

    def scores(
        self,
        input_ids: Ids,
        attention_mask: Ids,
        tokens: Tokens,
        config: SearchConfig,
        *,
        source: AnySource | None = None,
        rounding: int | None = None,
    ) -> torch.Tensor:
        """What each token of a continuation was chosen by: processed scores ``[len(tokens), V]``.

        Log-probabilities with several beams, logits with one, as HF processes them.
        """
        prompt_len = len(input_ids)
        ids = self._torch.tensor([[*input_ids.tolist(), *tokens]])
        mask = self._torch.tensor([[*attention_mask.tolist(), *[1] * len(tokens)]])
        given = _read(ids, mask, source)
        if source is None and takes_positions(self._model):
            given["position_ids"] = (mask.cumsum(dim=1) - 1).masked_fill(mask == 0, 1)
        with self._torch.no_grad():
            logits = self._model(**given).logits
        if rounding is not None:
            drawn = self._torch.Generator().manual_seed(rounding)
            moves = self._torch.rand(logits.shape, generator=drawn) * 2 - 1
            logits = logits + moves * (_ROUNDING * logits.abs().amax(dim=-1, keepdim=True))
        # as many rows as HF has beams, which the constraint's processor counts
        rows = (max(config.num_beams, config.num_return_sequences), -1)
        prompt_mask = mask[:, :prompt_len].expand(*rows)
        process = self._processors(config, ids[:, :prompt_len], prompt_mask, source)
        processed: list[torch.Tensor] = []
        for place in range(prompt_len, prompt_len + len(tokens)):
            scores = logits[:, place - 1].float()
            if config.num_beams > 1:
                scores = scores.log_softmax(-1)
            processed.append(process(ids[:, :place].expand(*rows), scores.expand(*rows).clone())[0])
        stacked: torch.Tensor = self._torch.stack(processed)
        return stacked

    def _processors(
        self,
        config: SearchConfig,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor,
        source: AnySource | None,
    ) -> Any:
        """HF's own list of processors, in HF's own order."""
        settings = self._settings(config)
        settings.max_length = input_ids.shape[1] + (config.max_new_tokens or 0)
        for name, value in hf_defaults().items():  # as generate does with transformers 5
            if getattr(settings, name, None) is None:
                setattr(settings, name, value)
        settings.decoder_start_token_id = _start(input_ids.numpy(), source)
        self._model._prepare_special_tokens(settings, True)
        read = _read(input_ids, attention_mask, source)
        return self._model._get_logits_processor(
            settings,
            input_ids_seq_length=input_ids.shape[1],
            encoder_input_ids=read[self._model.main_input_name],
            **given_besides(config, input_ids.shape[1], self._vocab_size),
            device="cpu",
            model_kwargs={"attention_mask": read.get("attention_mask")},
        )


def _read(ids: torch.Tensor, mask: torch.Tensor, source: AnySource | None) -> dict[str, Any]:
    """What a model is given, by HF's names: ids of a decoder, alone or behind an encoder."""
    import torch

    if source is None:
        return {"input_ids": ids, "attention_mask": mask}
    encoded = {name: torch.from_numpy(array) for name, array in source.feeds().items()}
    if isinstance(source, FeatureBatch):  # without it HF guesses, and warns that it does
        encoded["attention_mask"] = torch.ones(
            len(source), source.values.shape[-1], dtype=mask.dtype
        )
    return {**encoded, "decoder_input_ids": ids}


def _start(input_ids: Ids, source: AnySource | None) -> int | None:
    """The token that HF would put before prompts that lack it: one that they begin with."""
    return None if source is None else int(input_ids[0, 0])
