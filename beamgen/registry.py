"""Finding adapters: a decorator, an entry-point group, and a lookup by name."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib import metadata
from types import ModuleType

from beamgen.adapter import DecoderAdapter
from beamgen.default_adapter import DEFAULT, DefaultAdapter
from beamgen.errors import AdapterError, NoAdapterError, close_matches, one_line
from beamgen.seq2seq_adapter import Seq2SeqAdapter

ENTRY_POINT_GROUP = "beamgen.adapters"


@dataclass(frozen=True)
class BrokenPlugin:
    """An entry point, or one of its modules, that failed; other adapters keep working."""

    entry_point: str
    distribution: str
    reason: str


@dataclass(frozen=True)
class Refusal:
    """Architectures of which no file can be made, and why.

    Attributes:
        kind: what they are, in a few words.
        reason: one line of what stands in the way; an export that names one says it.
        cure: one line, what to do instead.
        model_types: ``config.model_type`` of their checkpoints.
    """

    kind: str
    reason: str
    cure: str
    model_types: tuple[str, ...]

    def error(self, model_type: str, within: str | None = None) -> AdapterError:
        """What to raise for one of them, which may hold a model of another type ``within``."""
        inner = "" if within is None else f"; the text model within is a '{within}'"
        return AdapterError(
            f"no file can be made of a '{model_type}' model: {self.reason}{inner}", self.cure
        )


_adapters: dict[str, DecoderAdapter] = {}
_refusals: list[Refusal] = []
_discovered: list[BrokenPlugin] | None = None


def register(adapter: type[DecoderAdapter]) -> type[DecoderAdapter]:
    """Class decorator: make an adapter findable by its names.

    Raises:
        AdapterError: another adapter already claims one of its names.
    """
    instance = adapter()
    if DEFAULT in _names(instance):
        raise AdapterError(
            f"adapter {_where(instance)} claims {DEFAULT}, the name of the adapter for any model",
            "give it another name",
        )
    for other in _adapters.values():
        shared = _claimed(instance, other)
        if shared and type(other) is not adapter:
            raise AdapterError(
                f"adapter {_where(instance)} and adapter {_where(other)} both claim "
                f"{', '.join(sorted(shared))}",
                "uninstall one of the two packages, or rename yours",
            )
    _adapters[instance.name] = instance
    return adapter


def refuse(refusal: Refusal) -> None:
    """Let some architectures be refused with their own reason, unless an adapter takes them.

    Raises:
        AdapterError: another refusal names one of them.
    """
    if refusal in _refusals:  # as a reload in a notebook does
        return
    refused = {model_type for each in _refusals for model_type in each.model_types}
    shared = sorted(refused.intersection(refusal.model_types))
    if shared:
        raise AdapterError(
            f"a refusal of {refusal.kind} names {', '.join(shared)}, which another refuses",
            "name each model_type once",
        )
    _refusals.append(refusal)


@contextmanager
def forgotten_afterwards() -> Iterator[None]:
    """Let what is registered within be findable until the end, and no longer."""
    _discover()
    before, refused = dict(_adapters), list(_refusals)
    try:
        yield
    finally:
        _adapters.clear()
        _adapters.update(before)
        _refusals[:] = refused


def broken_plugins() -> list[BrokenPlugin]:
    """The entry points whose import failed."""
    return list(_discover())


def adapters() -> list[DecoderAdapter]:
    """All adapters that could be loaded, sorted by name."""
    _discover()
    return [_adapters[name] for name in sorted(_adapters)]


def refusals() -> list[Refusal]:
    """All refusals, each with the model types that no adapter takes."""
    _discover()
    taken = {adapter.model_type for adapter in _adapters.values()}
    left = [
        replace(each, model_types=tuple(t for t in each.model_types if t not in taken))
        for each in _refusals
    ]
    return [each for each in left if each.model_types]


def find_refusal(model_type: str) -> Refusal | None:
    """Why a model_type is refused, or None: there is an adapter, or nobody knows it."""
    return next((each for each in refusals() if model_type in each.model_types), None)


def find_adapter(asked: str, *, encoder_decoder: bool | None = None) -> DecoderAdapter:
    """The adapter for an HF class name, adapter name or ``model_type``.

    ``default`` is the one for any architecture, see ``DefaultAdapter``. A ``model_type`` may
    have two, an encoder-decoder and its decoder alone; the one that is called so goes first.

    Args:
        asked: the name.
        encoder_decoder: which of the two, by ``is_encoder_decoder`` of a config; None: any.

    Raises:
        AdapterError: nothing goes by that name; close matches are suggested, or the reason
            is given for which it is refused.
    """
    broken = _discover()
    if asked == DEFAULT:
        return DefaultAdapter()
    of_kind = [
        each for each in _adapters.values() if encoder_decoder in (None, is_encoder_decoder(each))
    ]
    for names in (_own_names, _names):
        for adapter in of_kind:
            if asked in names(adapter):
                return adapter
    refusal = find_refusal(asked)
    if refusal is not None:
        raise refusal.error(asked)
    for plugin in broken:
        # Most likely the very adapter that was asked for.
        raise AdapterError(
            f"no adapter for '{asked}', and the adapter plug-in '{plugin.entry_point}' "
            f"({plugin.distribution}) failed to import: {plugin.reason}",
            "repair or uninstall that package; `beamgen list` shows what works",
        )
    known = [name for adapter in of_kind for name in sorted(_names(adapter))]
    if encoder_decoder:
        raise AdapterError(
            f"no adapter for the encoder-decoder '{asked}'",
            "`beamgen list` shows those that there are; docs/encoder-decoder.md says what an "
            "adapter of yours has to give",
        )
    alone = encoder_decoder is False and any(asked in _names(each) for each in _adapters.values())
    raise NoAdapterError(
        f"no adapter for '{asked}'{' as a decoder alone' if alone else ''}",
        f"{close_matches(asked, known)} `beamgen list` shows all; "
        "docs/adding-an-architecture.md shows how to write one".strip(),
    )


def adapter_or_default(model_type: str, *, encoder_decoder: bool | None = None) -> DecoderAdapter:
    """``find_adapter``'s, or the default one, for what an adapter says of all its checkpoints."""
    try:
        return find_adapter(model_type, encoder_decoder=encoder_decoder)
    except AdapterError:
        return DefaultAdapter()


def _discover() -> list[BrokenPlugin]:
    """Import every module named in the entry-point group, once.

    Returns:
        The entry points that could not be imported.
    """
    global _discovered
    if _discovered is None:
        _discovered = []
        for point in metadata.entry_points(group=ENTRY_POINT_GROUP):
            _discovered += _import_all(point)
    return _discovered


def _import_all(point: metadata.EntryPoint) -> list[BrokenPlugin]:
    """Import a module, or each module of a package, so that adding a file is enough.

    Returns:
        What failed; one module's failure does not keep its siblings out.
    """
    where = point.dist.name if point.dist else "unknown distribution"
    try:
        loaded = point.load()
    except Exception as error:  # a foreign package may fail in any way
        return [BrokenPlugin(point.name, where, one_line(error))]
    broken = []
    for module in _modules(loaded):
        try:
            importlib.import_module(module)
        except Exception as error:
            reason = f"{module}: {one_line(error)}"
            broken.append(BrokenPlugin(point.name, where, reason))
    return broken


def _modules(loaded: ModuleType | type) -> Iterator[str]:
    """Names of a package's modules; none where it is a plain module or a class."""
    for info in pkgutil.iter_modules(getattr(loaded, "__path__", [])):
        yield f"{loaded.__name__}.{info.name}"


def is_encoder_decoder(adapter: DecoderAdapter) -> bool:
    """Whether an encoder comes before its decoder."""
    return isinstance(adapter, Seq2SeqAdapter)


def read_apart(adapter: DecoderAdapter) -> frozenset[str]:
    """Fields of a generation config that are no settings of a search, and that it reads."""
    return adapter.generation_fields if isinstance(adapter, Seq2SeqAdapter) else frozenset()


def _names(adapter: DecoderAdapter) -> set[str]:
    return {adapter.model_type, *_own_names(adapter)}


def _own_names(adapter: DecoderAdapter) -> set[str]:
    return {adapter.name, *adapter.class_names}


def _claimed(one: DecoderAdapter, other: DecoderAdapter) -> set[str]:
    """The names that only one of two adapters may have."""
    if is_encoder_decoder(one) == is_encoder_decoder(other):
        return _names(one) & _names(other)
    return _own_names(one) & _own_names(other)


def _where(adapter: DecoderAdapter) -> str:
    return f"'{adapter.name}' ({type(adapter).__module__})"
