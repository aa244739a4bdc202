"""The parameters that each request gives where Triton joins requests, and what the rest are."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from beamgen.errors import SettingError, close_matches
from beamgen.package.folder import Package
from beamgen.runtime.loras import LoadedLoras
from beamgen.settings.config import SearchConfig
from beamgen.settings.prompts import check_ids, check_lengths
from beamgen.settings.setting import HISTORY, SOURCE, Setting
from beamgen.settings.sources import DECODER_PROMPT
from beamgen.settings.table import PARAMETERS, PER_ROW, SAMPLING, SETTINGS

_MAX_INT32 = 2**31 - 1
#: A constraint is several inputs, of which a batch has one: no request brings its own.
_PER_REQUEST = PER_ROW & {parameter.name for parameter in PARAMETERS}


@dataclass(frozen=True)
class Plan:
    """What a model that joins requests has fixed, and what each request gives.

    Attributes:
        search: the settings, of which those in ``per_request`` do not count.
        per_request: inputs besides the prompts that every request gives, in the file's order.
        lora: the name of the one that is built in, or None.
        ragged: prompts of one batch may differ in length.
        max_batch_size: rows of one run at most.
    """

    search: SearchConfig
    per_request: tuple[str, ...]
    lora: str | None
    ragged: bool
    max_batch_size: int

    @property
    def outputs(self) -> tuple[str, ...]:
        """The file's outputs that mean the same in any batch: not ``beam_indices``."""
        always = ("sequences", "sequences_scores", "finish_reasons")
        return (*always, "token_log_probs") if self.search.output_scores else always

    def values(self, package: Package) -> Mapping[str, npt.NDArray[np.generic]]:
        """What every input but the prompts is set to."""
        return {
            **self.search.for_prompt(1).inputs(),
            **LoadedLoras(package).feeds(self.lora, 1),
            **_decoder_start(package),
        }


def make_plan(
    package: Package,
    *,
    ragged: bool,
    max_batch_size: int,
    inputs: Sequence[str] | None,
    settings: Mapping[str, Any],
    lora: str | None,
) -> Plan:
    """Choose what requests give, and hold the rest against the model.

    Args:
        package: of the loop backend.
        ragged: see ``Plan``.
        max_batch_size: see ``Plan``.
        inputs: parameters for requests to give, or ``["all"]``; None are those that
            requests mostly want: ``max_new_tokens``, with beams ``length_penalty``, with
            sampling ``seed``, ``temperature``, ``top_k`` and ``top_p``. Of an encoder-decoder
            ``decoder_input_ids`` may be one; else its decoder begins with its start token.
        settings: what is fixed otherwise than in the package, under HF's names.
        lora: the name of one to build in.

    Raises:
        SettingError: a name or value is impossible, or would depend on what else is in
            the batch.
        LoraError: the package has no such LoRA.
    """
    if package.manifest.backend == "contrib":
        raise SettingError(
            "ONNX Runtime's operators take one setting for all rows, so requests cannot be joined",
            "pass --batching simple, or export with --search loop",
        )
    if max_batch_size < 1:
        raise SettingError(
            f"max_batch_size {max_batch_size} joins nothing",
            "set it to 1 or more, or pass --batching simple",
        )
    if max_batch_size > _MAX_INT32:
        raise SettingError(
            f"max_batch_size {max_batch_size} is more than Triton's configuration holds",
            f"set it to {_MAX_INT32} or less",
        )
    search = package.manifest.search.with_overrides(settings)
    reads_padding = _read_padding(package) if ragged else []
    names = [setting.name for setting in reads_padding]
    chosen = _chosen(search, inputs, names, package)
    _check_inputs(search, chosen, names)
    if ragged:
        _check_padding(search, package, reads_padding)
    _check_fixed(search, chosen, package)
    if lora is not None:
        package.lora_path(lora)
    return Plan(search, chosen, lora, ragged, max_batch_size)


def _decoder_start(package: Package) -> dict[str, npt.NDArray[np.generic]]:
    """What a decoder behind an encoder begins with, where no request says so."""
    encoder = package.manifest.encoder
    if encoder is None:
        return {}
    return {DECODER_PROMPT.name: np.array([[encoder.decoder_start_token_id]])}


def _read_padding(package: Package) -> list[Setting]:
    """Settings of single requests that read the padding of their prompts, or of sources."""
    padded = {HISTORY, SOURCE} if package.manifest.encoder is None else {SOURCE}
    return [each for each in SETTINGS if each.per_row and padded & set(each.reads)]


def _chosen(
    search: SearchConfig,
    inputs: Sequence[str] | None,
    reads_padding: Collection[str],
    package: Package,
) -> tuple[str, ...]:
    """What requests give besides their prompts, in the file's order."""
    idle = unheeded(search)
    if inputs is None:
        usual = ("max_new_tokens", "length_penalty", "seed", "temperature", "top_k", "top_p")
        wanted = [name for name in usual if name not in idle]
    elif list(inputs) == ["all"]:
        wanted = sorted(_PER_REQUEST - idle.keys() - set(reads_padding))
    else:
        wanted = list(inputs)
    prompt = [] if package.manifest.encoder is None else [DECODER_PROMPT.name]
    own = {*prompt, *_PER_REQUEST}
    known = [*prompt, *(parameter.name for parameter in PARAMETERS)]
    for name in wanted:
        if name not in known:
            raise SettingError(
                f"the file has no parameter called '{name}'",
                close_matches(name, own) or f"requests may give {', '.join(sorted(own))}",
            )
        if name not in own:
            raise SettingError(
                f"{name} is one for all rows of a batch, so no request can have its own",
                "set it here for all requests, or pass --batching simple",
            )
    return tuple(name for name in known if name in wanted)


def unheeded(search: SearchConfig) -> dict[str, str]:
    """Parameters that would change nothing, and what would let them."""
    names = {} if search.do_sample else dict.fromkeys(SAMPLING, "set --do-sample too")
    if search.num_beams == 1:
        names["length_penalty"] = "set --num-beams above 1 too"
    return names


def _check_inputs(
    search: SearchConfig, chosen: Collection[str], reads_padding: Collection[str]
) -> None:
    for name, cure in unheeded(search).items():
        if name in chosen:
            raise SettingError(f"{name} would change nothing in this model", cure)
    if search.do_sample and "seed" not in chosen:
        raise SettingError(
            "without a seed of its own a request's draws would hang on its place in the batch",
            "add seed to --inputs, or pass --batching simple",
        )
    for name in reads_padding:
        if name in chosen:
            raise _reads_padding(name)


def _check_padding(
    search: SearchConfig, package: Package, reads_padding: Iterable[Setting]
) -> None:
    """Refuse what would see that a neighbour's prompt is longer."""
    for setting in reads_padding:
        if not setting.is_off(getattr(search, setting.name)):
            raise _reads_padding(setting.name)
    if package.manifest.encoder is not None:  # all others look at what the decoder has
        return
    if package.manifest.counts_padding:
        raise SettingError(
            "this model's positions count padding, so answers would hang on what else is in the "
            "batch",
            "pass --batching dynamic, which joins requests of one length",
        )
    sequences = (*search.bad_words_ids, *(ids for ids, _ in search.sequence_bias))
    if any(search.pad_token_id in ids[:-1] for ids in sequences):
        raise _reads_padding("a sequence of bad_words_ids or sequence_bias with the pad id")
    if package.manifest.limits.recompute_boundary is not None:
        raise SettingError(
            "this model computes positions otherwise where the longest prompt of a batch is "
            "beyond its boundary (LongRoPE), so answers would hang on what else is in the batch",
            "pass --batching dynamic, which joins requests of one length",
        )


def _reads_padding(name: str) -> SettingError:
    return SettingError(
        f"{name} reads a prompt's padding, which here hangs on what else is in the batch",
        "pass --batching dynamic, which joins requests of one length",
    )


def _check_fixed(search: SearchConfig, chosen: Collection[str], package: Package) -> None:
    """Hold what all requests share within the model."""
    is_known = package.manifest.encoder is not None and DECODER_PROMPT.name not in chosen
    for total, new, counts in (
        ("max_length", "max_new_tokens", search.max_length is not None),
        ("min_length", "min_new_tokens", search.min_length > 0),
    ):
        if counts and not is_known and new not in chosen and getattr(search, new) is None:
            raise SettingError(
                f"{total} counts the prompt, whose length differs by request",
                f"set --{new.replace('_', '-')} N, or add {new} to --inputs",
            )
    if "max_new_tokens" not in chosen:
        check_lengths(package.manifest.limits, 1, search.for_prompt(1).max_new_tokens)
    for name, ids in search.named_ids.items():
        check_ids(name, np.asarray(ids, np.int64), package.manifest.vocab_size)
