"""One prompt as it is searched, and what may be searched beside it without changing its answer."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass

from beamgen.package.manifest import Manifest
from beamgen.settings.config import ResolvedSearch
from beamgen.settings.setting import SOURCE
from beamgen.settings.table import SETTINGS


@dataclass(frozen=True)
class Request:
    """A prompt with the settings of its search, as ``Generator.request`` makes it.

    Attributes:
        prompt: token ids that are continued; of an encoder-decoder what the decoder begins with.
        config: the settings. Its limits count generated tokens alone, as they are for this
            prompt by itself.
        lora: the LoRA's name, or None.
        source: token ids that the encoder reads, in a package that has one.
    """

    prompt: tuple[int, ...]
    config: ResolvedSearch
    lora: str | None = None
    source: tuple[int, ...] | None = None

    @property
    def read(self) -> int:
        """Tokens that are read at once, and padded in a batch: of the source, or the prompt."""
        return len(self.prompt if self.source is None else self.source)


def batch_key(request: Request, manifest: Manifest) -> Hashable:
    """Requests with equal keys may be searched in one batch, each as if it were alone.

    They agree in what all rows of a batch share, and in their LoRA. Where padding would be seen,
    they are of one length. A contrib package searches each alone, and its keys equal no other's:
    ONNX Runtime's operators may stop a row because of its neighbour, and draw for a batch as a
    whole.

    ``longest_beside`` has to hold, too.
    """
    if manifest.backend == "contrib":
        return object()
    values = vars(request.config)
    shared = tuple(values[setting.name] for setting in SETTINGS if not setting.per_row)
    length = request.read if sees_padding(request, manifest) else None
    decoder_length = None if request.source is None else len(request.prompt)
    return shared, request.lora, length, decoder_length, _limit(request, manifest)


def sees_padding(request: Request, manifest: Manifest) -> bool:
    """Whether a search could notice that its prompt, or source, is padded.

    Settings that look at the prompt's tokens count the padding as some, as HF's do, and so do
    the positions of some models. Where activations are rounded, the last bits that differ
    between sums of other lengths may carry one to the next step. A decoder behind an encoder is
    never padded, its source is.
    """
    values = vars(request.config)
    looking = [
        setting
        for setting in SETTINGS
        if setting.reads and setting.is_heeded(values) and not setting.is_off(values[setting.name])
    ]
    if manifest.precision.activations is not None:
        return True
    if request.source is not None:
        return any(SOURCE in setting.reads for setting in looking)
    return bool(looking) or manifest.counts_padding is not False


def longest_beside(request: Request, manifest: Manifest) -> int | None:
    """To how many tokens a prompt may be padded for its positions to suffice; None for any.

    Positions do not count the padding, but ``check_lengths`` does, and so does the switch of
    a LongRoPE.
    """
    return (
        None
        if request.source is not None
        else _limit(request, manifest) - request.config.max_new_tokens
    )


def _limit(request: Request, manifest: Manifest) -> int:
    """Positions that a sequence may use: up to LongRoPE's switch where its prompt is below it."""
    limits = manifest.limits
    return len(request.prompt) + limits.room(len(request.prompt))
