"""Run a package: text or token ids in, scored hypotheses out. Needs no torch."""

from __future__ import annotations

import operator
import os
import reprlib
import secrets
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from beamgen.catalogue import Catalogue
from beamgen.checkpoint import load_tokenizer
from beamgen.errors import PackageError, PromptError, SettingError, one_line
from beamgen.package import Package, open_package
from beamgen.parameters import PER_ROW
from beamgen.search_config import SearchConfig, stacked_inputs
from beamgen.setting_checks import named_ids

if TYPE_CHECKING:
    import onnxruntime
    from transformers import PreTrainedTokenizerBase

Ids = npt.NDArray[np.int64]
Message = Mapping[str, str]
Chat = Sequence[Message]
Prompt = str | Sequence[int] | Ids | Chat


# HF's two limits that count the prompt become the two that do not.
_PER_ROW = PER_ROW | {"max_length", "min_length"}

#: What the graph's ``finish_reasons`` mean. ``none``: the search found fewer
#: hypotheses than were asked for.
FINISH_REASONS = ("none", "eos", "length")


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
            ``len(token_ids) ** length_penalty``; with one beam the sum alone.
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


@dataclass(frozen=True)
class BeamOutput:
    """What the graph gives.

    Attributes:
        sequences: int64 ``[B, R, T]``, prompt + generated, padded as HF pads.
        sequences_scores: float32 ``[B, R]``.
        finish_reasons: int64 ``[B, R]``, indices of ``FINISH_REASONS``.
        beam_indices: int64 ``[B, R, G]``, where each token's beam stood, counted over
            the whole batch, -1 after the end; G is 0 unless ``output_scores``.
        token_log_probs: float32 ``[B, R, G]``, 0 after the end.
    """

    sequences: Ids
    sequences_scores: npt.NDArray[np.float32]
    finish_reasons: Ids
    beam_indices: Ids
    token_log_probs: npt.NDArray[np.float32]


class Generator:
    """Generates from a package, as HF's ``generate`` would from its checkpoint."""

    def __init__(
        self,
        package: Package | str | os.PathLike[str],
        *,
        providers: Sequence[str] | None = None,
        threads: int | None = None,
        verify: bool = True,
    ) -> None:
        """Open a package and load its graph.

        Args:
            package: an opened package or its folder.
            providers: ONNX Runtime execution providers; by default the CPU's.
            threads: threads for one operator; by default one per core.
            verify: compare the files with the manifest's hashes first.

        Raises:
            PackageError: the package cannot be read or loaded.
        """
        if not isinstance(package, Package):
            package = open_package(package, verify=verify)
        self.package = package
        self.session = load_session(package, providers or ["CPUExecutionProvider"], threads)

    @property
    def search(self) -> SearchConfig:
        """The package's defaults."""
        return self.package.manifest.search

    @cached_property
    def tokenizer(self) -> PreTrainedTokenizerBase | None:
        """The package's tokenizer, or None."""
        return load_tokenizer(self.package.folder)

    def generate(
        self, prompts: Prompt | Sequence[Prompt], *, chat: bool = False, **settings: Any
    ) -> list[list[Generation]]:
        """The best hypotheses of each prompt, best first.

        Args:
            prompts: one or several of: text, token ids, or chat messages
                (``[{"role": "user", "content": ...}]``). Unequal lengths are
                padded on the left, which changes no result, except that
                ``max_length`` and ``min_length`` count the padding, as in HF.
            chat: put text through the tokenizer's chat template, as one user
                message. Messages go through it in any case.
            settings: HF's names (``num_beams``, ``max_new_tokens``,
                ``length_penalty``, ``do_sample`` ...), ``seed`` and ``catalogue``;
                what is not given is the package's default. A setting that the
                file takes per row may be a list, one value for each prompt. One
                seed s stands for s, s + 1, ... by prompt; without one every call
                draws anew. A catalogue is a ``Catalogue``, or entries for
                ``catalogue()``.

        Returns:
            For each prompt ``num_return_sequences`` hypotheses, or as many as the
            search found: a catalogue may hold fewer.

        Raises:
            PromptError: a prompt is empty, too long, or holds unknown ids.
            SettingError: a setting is unknown or impossible.
        """
        batch = [self.encode(prompt, chat=chat) for prompt in _as_batch(prompts)]
        if not batch:
            raise PromptError("no prompts were given", "pass at least one")
        configs = self._configs(settings, len(batch))
        input_ids, attention_mask = left_pad(batch, configs[0].pad_token_id)
        prompt_len = input_ids.shape[1]
        room = self.package.manifest.limits.room(prompt_len)
        configs = [config.for_prompt(prompt_len, room) for config in configs]
        output = self.search_ids(input_ids, attention_mask, configs)
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
    ) -> BeamOutput:
        """Run the graph on left-padded ids, both int64 ``[B, S]``.

        Args:
            input_ids: the prompts.
            attention_mask: 0 on padding.
            config: one for all rows, or one for each.

        Raises:
            PromptError: the batch cannot be searched.
            SettingError: rows differ in what they have to share.
        """
        manifest = self.package.manifest
        input_ids, attention_mask = _as_int64(input_ids), _as_int64(attention_mask)
        prompt_len = input_ids.shape[-1] if input_ids.ndim else 0
        room = manifest.limits.room(prompt_len)
        given = [config] if isinstance(config, SearchConfig) else config
        configs = [each.for_prompt(prompt_len, room) for each in given]
        check_batch(input_ids, attention_mask, manifest.vocab_size)
        for each in dict.fromkeys(configs):
            _check_lengths(self.package, input_ids.shape[1], each.max_new_tokens or 0)
            for name, ids in named_ids(each).items():
                _check_ids(name, np.asarray(ids, np.int64), manifest.vocab_size)
        if not isinstance(config, SearchConfig) and len(configs) != len(input_ids):
            raise PromptError(
                f"{len(configs)} configs were given for {len(input_ids)} rows", "give one for each"
            )
        one = isinstance(config, SearchConfig)
        feeds = {
            "input_ids": input_ids,
            "attention_mask": attention_mask,
            **(configs[0].inputs() if one else stacked_inputs(configs)),
        }
        return BeamOutput(*self.session.run([field.name for field in fields(BeamOutput)], feeds))

    def encode(self, prompt: Prompt, *, chat: bool = False) -> list[int]:
        """Token ids of one prompt, special tokens added as the tokenizer does.

        Raises:
            PromptError: the package has no tokenizer, or no chat template.
        """
        if not isinstance(prompt, str) and not _is_chat(prompt):
            return _token_ids(prompt)
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
        if "seed" in lists or not shared.do_sample:
            return configs
        first = secrets.randbits(62) if shared.seed is None else shared.seed
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
            shown = self.tokenizer.decode(prompt, skip_special_tokens=True)
            # Decoding the continuation alone would lose the space before its first word.
            new_text = (
                text[len(shown) :]
                if text.startswith(shown)
                else self.tokenizer.decode(ids, skip_special_tokens=True)
            )
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
        return onnxruntime.InferenceSession(str(package.model), options, providers=list(providers))
    except Exception as error:  # ONNX Runtime raises types of its own
        raise PackageError(
            f"ONNX Runtime {onnxruntime.__version__} cannot load {package.model}: "
            f"{one_line(error)}",
            "the file needs opset 23: pip install --upgrade onnxruntime",
        ) from error


def left_pad(
    batch: Sequence[Sequence[int]], pad_token_id: int, prompt_len: int = 0
) -> tuple[Ids, Ids]:
    """Unequal prompts as ``input_ids`` and ``attention_mask``, int64 ``[B, S]``.

    S is the longest prompt's length, or ``prompt_len`` where that is more.

    Raises:
        PromptError: a prompt has no tokens.
    """
    for row, prompt in enumerate(batch):
        if not len(prompt):
            raise PromptError(
                f"prompt {row + 1} of {len(batch)} is empty", "a search continues something"
            )
    longest = max(prompt_len, *(len(prompt) for prompt in batch))
    input_ids = np.full((len(batch), longest), pad_token_id, np.int64)
    attention_mask = np.zeros((len(batch), longest), np.int64)
    for row, prompt in enumerate(batch):
        input_ids[row, longest - len(prompt) :] = prompt
        attention_mask[row, longest - len(prompt) :] = 1
    return input_ids, attention_mask


def check_batch(input_ids: Ids, attention_mask: Ids, vocab_size: int) -> None:
    """Refuse what the graph would answer with nonsense.

    Raises:
        PromptError: shapes differ, a row is empty, right-padded, has holes in
            its mask, or holds ids outside the vocabulary.
    """
    if input_ids.ndim != 2 or input_ids.shape != attention_mask.shape or not input_ids.size:
        raise PromptError(
            f"input_ids {input_ids.shape} and attention_mask {attention_mask.shape} "
            "must be of the same shape [batch, prompt_len], neither of them 0",
            "pad the prompts on the left to one length",
        )
    if not np.isin(attention_mask, (0, 1)).all():
        raise PromptError(
            "attention_mask holds other values than 0 and 1", "1 marks text, 0 padding"
        )
    for row, mask in enumerate(attention_mask):
        if not mask.any():
            raise PromptError(f"row {row} is masked altogether", "give it at least one token")
        if (np.diff(mask) < 0).any():
            where = "padded on the right" if mask[0] else "masked in between"
            raise PromptError(
                f"row {row} is {where}",
                'pad on the left: tokenizer.padding_side = "left"',
            )
    _check_ids("input_ids", input_ids, vocab_size)


def _check_ids(name: str, ids: Ids, vocab_size: int) -> None:
    outside = ids[(ids < 0) | (ids >= vocab_size)]
    if outside.size:
        raise PromptError(
            f"{name} holds {outside.flat[0]}, which is outside the vocabulary of {vocab_size}",
            "use the tokenizer of the exported checkpoint",
        )


def _check_lengths(package: Package, prompt_len: int, max_new_tokens: int) -> None:
    """Hold a search within the positions the model has.

    Raises:
        PromptError: it would leave them, or cross a recompute boundary.
    """
    limits = package.manifest.limits
    total = prompt_len + max_new_tokens
    if total > limits.max_positions:
        room = limits.room(prompt_len)
        raise PromptError(
            f"{prompt_len} prompt tokens + {max_new_tokens} new ones are {total}, but the "
            f"model has {limits.max_positions} positions",
            f"set max_new_tokens to {room} or less" if room > 0 else "shorten the prompt",
        )
    boundary = limits.recompute_boundary
    if boundary is not None and prompt_len <= boundary < total:
        room = limits.room(prompt_len)
        raise PromptError(
            f"a sequence would grow from {prompt_len} to {total} tokens across "
            f"{boundary}, where this model computes every position anew (LongRoPE)",
            f"set max_new_tokens to {room} or less, or use a prompt of more than {boundary} tokens",
        )


def _as_batch(prompts: Prompt | Sequence[Prompt]) -> list[Prompt]:
    """One prompt or several: ids and chats are sequences themselves."""
    if isinstance(prompts, str) or _is_chat(prompts) or _is_ids(prompts):
        return [prompts]  # type: ignore[list-item] # told apart above
    if isinstance(prompts, np.ndarray) and prompts.ndim != 2:
        raise PromptError(f"prompts is an array of {prompts.ndim} axes", "pass [batch, prompt_len]")
    if isinstance(prompts, Mapping) or not isinstance(prompts, Iterable):
        raise _not_a_prompt(prompts)
    return list(prompts)


def _token_ids(prompt: object) -> list[int]:
    """Whole numbers of any library, tensors included; nothing is rounded."""
    try:
        ids = [operator.index(token) for token in prompt]  # type: ignore[attr-defined] # or a TypeError
    except TypeError:
        raise _not_a_prompt(prompt) from None
    if any(not -(2**63) <= token < 2**63 for token in ids):
        raise PromptError("a token id has more than 63 bits", "use the tokenizer's ids")
    return ids


def _as_int64(values: Any) -> Ids:
    array = np.asarray(values)
    if array.dtype.kind not in "iub":
        raise PromptError(f"input_ids and attention_mask hold {array.dtype}", "pass whole numbers")
    return array.astype(np.int64)


def _not_a_prompt(found: object) -> PromptError:
    return PromptError(
        f"a prompt is text, token ids or chat messages, not {reprlib.repr(found)}".splitlines()[0],
        'for example "text", [5, 9, 7] or [{"role": "user", "content": "text"}]',
    )


def _is_ids(prompt: object) -> bool:
    return (
        isinstance(prompt, Sequence | np.ndarray)
        and all(isinstance(token, int | np.integer) for token in prompt)
        and len(prompt) > 0
    )


def _is_chat(prompt: object) -> bool:
    return (
        isinstance(prompt, Sequence)
        and len(prompt) > 0
        and all(isinstance(message, Mapping) for message in prompt)
    )
