"""A window of rows becomes batches: sorted by length, and packed by what memory and beams allow."""

from __future__ import annotations

import json
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from beamgen.batch.answers import Answer, failed
from beamgen.batch.job import ROW_OPTIONS, Job, Packing
from beamgen.batch.reading.rows import InputRow, Window
from beamgen.errors import BeamgenError, PromptError, SettingError
from beamgen.package.folder import Package
from beamgen.runtime.footprint import search_bytes
from beamgen.runtime.generator import Generator
from beamgen.runtime.request import Request, batch_key, longest_beside
from beamgen.settings.catalogue import Catalogue
from beamgen.settings.config import ResolvedSearch
from beamgen.settings.table import BY_NAME

_TEXT_FORMATS = {"csv", "tsv"}

#: A batch's prompts have so many times their tokens with padding at most, and so many more each.
_PADDED, _PADDING = 1.5, 32


@dataclass(frozen=True)
class Batch:
    """Requests that are searched together.

    Attributes:
        window: the index of theirs.
        rows: their numbers.
        requests: in the same order.
    """

    window: int
    rows: tuple[int, ...]
    requests: tuple[Request, ...]

    @property
    def work(self) -> int:
        """About how long it takes, in tokens."""
        longest = max(each.read + each.config.max_new_tokens for each in self.requests)
        return len(self.rows) * longest

    def alone(self) -> list[Batch]:
        """A batch for each."""
        pairs = zip(self.rows, self.requests, strict=True)
        return [Batch(self.window, (row,), (request,)) for row, request in pairs]


@dataclass(frozen=True)
class Planned:
    """What a window becomes.

    Attributes:
        failed: rows that cannot be searched.
        batches: the others.
        memory: bytes that the largest of them is estimated to take.
    """

    failed: tuple[Answer, ...]
    batches: tuple[Batch, ...]
    memory: int


class Planner:
    """Makes batches of windows, always the same ones of the same window."""

    def __init__(self, job: Job, generator: Generator) -> None:
        """Read the catalogue of all rows, if there is one.

        Raises:
            BeamgenError: the settings of all rows are wrong.
        """
        self._job, self._generator = job, generator
        self._catalogues: dict[Hashable, Catalogue] = {}
        self._settings = dict(job.asked.settings)
        self._settings.pop("seed", None)  # each row has its own, below
        entries = self._settings.get("catalogue")
        if entries is not None and not isinstance(entries, Catalogue):
            self._settings["catalogue"] = generator.catalogue(entries)

    def plan(self, window: Window, rows: Iterable[InputRow]) -> Planned:
        """The batches of a window."""
        requests: dict[int, Request] = {}
        wrong = []
        for row in rows:
            try:
                requests[row.number] = self._request(row)
            except BeamgenError as error:
                wrong.append(failed(row.number, error))
            except Exception as error:  # whatever a tokenizer makes of an odd text
                wrong.append(failed(row.number, error))
        batches = [
            Batch(window.index, tuple(numbers), tuple(requests[number] for number in numbers))
            for numbers in pack(requests, self._generator.package, self._job.packing)
        ]
        batches.sort(key=lambda batch: -batch.work)  # what takes long does not come last
        memory = max(
            (_memory(batch.requests, self._generator.package) for batch in batches), default=0
        )
        return Planned(tuple(wrong), tuple(batches), memory)

    def _request(self, row: InputRow) -> Request:
        """What is searched for a row.

        Raises:
            BeamgenError: it cannot be.
        """
        if row.problem is not None:
            raise PromptError(row.problem, "mend the row, or leave it out")
        asked = self._job.asked
        prompt = _prompt(row.values, asked.column)
        own = self._own(row.values) if asked.settings_from_columns else {}
        ways: dict[str, Any] = {name: getattr(asked, name) for name in ROW_OPTIONS}
        ways |= {name: own.pop(name) for name in ROW_OPTIONS if name in own}
        request = self._generator.request(
            prompt,
            chat=asked.chat,
            add_special_tokens=asked.add_special_tokens,
            **ways,
            **{**self._settings, **own},
        )
        if not request.config.do_sample or own.get("seed") is not None:
            return request
        seed = (asked.seed + row.number - 1) % self._generator.seeds
        return replace(request, config=replace(request.config, seed=seed))

    def _own(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """A row's settings, from the columns of their names."""
        typed = self._job.input_format in _TEXT_FORMATS
        own = {}
        for name in settings_columns(values, self._job.asked.column):
            value = _typed(name, values[name]) if typed else values[name]
            if value is None:
                continue
            own[name] = _whole(name, value)
        if "catalogue" in own:
            own["catalogue"] = self._catalogue(own["catalogue"])
        return own

    def _catalogue(self, entries: Any) -> Catalogue:
        """Of a row; rows with equal entries share one, and may share a batch."""
        key = json.dumps(entries, default=str)
        if key not in self._catalogues:
            if len(self._catalogues) >= 64:
                self._catalogues.pop(next(iter(self._catalogues)))
            self._catalogues[key] = self._generator.catalogue(entries)
        return self._catalogues[key]


def settings_columns(columns: Iterable[str], prompt: str) -> list[str]:
    """The columns that are settings of their rows."""
    return [n for n in columns if n != prompt and (n in BY_NAME or n in ROW_OPTIONS)]


def pack(
    requests: Mapping[int, Request], package: Package, packing: Packing
) -> Iterator[list[int]]:
    """Numbers of the rows of each batch.

    Rows that may share a batch are sorted by the length of the search and of the prompt, so
    that few wait for a longer one or are padded, and follow each other into batches until one
    is full: by beams, by memory, or by positions.
    """
    keyed: dict[Hashable, list[int]] = {}
    for number, request in requests.items():
        key = batch_key(request, package.manifest), request.config.max_new_tokens.bit_length()
        keyed.setdefault(key, []).append(number)
    for numbers in keyed.values():
        numbers.sort(key=lambda number: (requests[number].read, number))
        yield from _full(numbers, requests, package, packing)


def _full(
    numbers: list[int], requests: Mapping[int, Request], package: Package, packing: Packing
) -> Iterator[list[int]]:
    """Batches of rows of one key, in their order, each as large as it may be."""
    begun, batch = 0, _Begun()
    for place, number in enumerate(numbers):
        grown = batch.with_one_more(requests[number], package)
        if place > begun and not grown.may_be(package, packing):
            yield numbers[begun:place]
            begun, grown = place, _Begun().with_one_more(requests[number], package)
        batch = grown
    yield numbers[begun:]


@dataclass(frozen=True)
class _Begun:
    """What is to be known of rows, the longest of them last, to tell whether they may be a batch.

    Attributes:
        rows: how many.
        tokens: of all prompts together.
        room: to how many each may be padded; None for any.
        last: the last of them.
        most: the settings of the one with the most new tokens.
    """

    rows: int = 0
    tokens: int = 0
    room: int | None = None
    last: Request | None = None
    most: ResolvedSearch | None = None

    def with_one_more(self, request: Request, package: Package) -> _Begun:
        """The same rows and another, which is no shorter."""
        rooms = [r for r in (self.room, longest_beside(request, package.manifest)) if r is not None]
        most = self.most
        if most is None or request.config.max_new_tokens > most.max_new_tokens:
            most = request.config
        return _Begun(
            self.rows + 1,
            self.tokens + request.read,
            min(rooms, default=None),
            request,
            most,
        )

    def may_be(self, package: Package, packing: Packing) -> bool:
        """Whether they may be a batch."""
        assert self.last is not None
        assert self.most is not None
        longest = self.last.read
        if packing.rows is not None and self.rows > packing.rows:
            return False
        if packing.rows is None and self.rows * self.last.config.chains > packing.beams:
            return False
        if self.rows * longest > _PADDED * self.tokens + _PADDING * self.rows:
            return False
        if self.room is not None and self.room < longest:
            return False
        return search_bytes(package, self.rows, longest, self.most) <= packing.memory


def _memory(batch: Sequence[Request], package: Package) -> int:
    """Bytes that the search of a batch is estimated to take."""
    longest = max(each.read for each in batch)
    most = max((each.config for each in batch), key=lambda config: config.max_new_tokens)
    return search_bytes(package, len(batch), longest, most)


def _prompt(values: Mapping[str, Any], column: str) -> Any:
    """A row's prompt.

    Raises:
        PromptError: it has none, or an empty one.
    """
    if column not in values:
        raise PromptError(
            f"it has no '{column}', only {', '.join(map(str, values)) or 'nothing'}",
            "mend the row, or name another column",
        )
    prompt = values[column]
    if prompt is None or (isinstance(prompt, str | list) and not prompt):
        raise PromptError("the prompt is empty", "leave the row out: there is nothing to continue")
    if isinstance(prompt, str) and not prompt.strip():
        raise PromptError("the prompt is blank", "leave the row out: there is nothing to continue")
    if not isinstance(prompt, str | list):
        raise PromptError(
            f"the prompt is {type(prompt).__name__}, not a text, token ids or messages",
            'for example "text", [5, 9, 7] or [{"role": "user", "content": "text"}]',
        )
    return prompt


def _typed(name: str, cell: str) -> Any:
    """A cell of a text as what it says: JSON, or a word; nothing where it is empty."""
    if not cell.strip():
        return None
    try:
        return json.loads(cell)
    except ValueError:
        if name in ROW_OPTIONS or not cell.lstrip().startswith(("[", "{")):
            return {"True": True, "False": False}.get(cell, cell)
    raise SettingError(f"{name} is {cell!r:.60}, which is not JSON", "for example [[5, 9]]")


def _whole(name: str, value: Any) -> Any:
    """A whole number that a table with gaps holds as a float."""
    row = BY_NAME.get(name)
    wanted = row is not None and row.kind.typed is int and row.kind.dtype == "int64"
    if wanted and isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, float) and value != value:  # a gap, in pandas' words
        return None
    return value
