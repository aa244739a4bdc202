"""A job: what is searched, how, and how its rows are divided. All of it is the same on a resume."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from beamgen.batch.reading.formats import reader_of
from beamgen.batch.reading.rows import Reader, Scan
from beamgen.package.folder import Package
from beamgen.runtime.generator import Generator
from beamgen.settings.constraint import Constraint
from beamgen.settings.prompts import Prompt

#: Columns that are for a row what these options are for all.
ROW_OPTIONS = ("lora", "decoder_prompt", "src_lang", "tgt_lang")


@dataclass(frozen=True)
class Packing:
    """How many rows are searched together at most.

    Attributes:
        beams: of all rows together, in a step of the search.
        memory: bytes that a search may take beside the weights.
        rows: in a batch, where the caller says so.
    """

    beams: int
    memory: int
    rows: int | None = None


@dataclass(frozen=True)
class Asked:
    """What changes answers, but for the package and the prompts.

    Attributes:
        column: of the prompts.
        chat, add_special_tokens: see ``Generator.generate``.
        decoder_prompt, src_lang, tgt_lang, lora: see there.
        settings: of all rows, under HF's names, what may be written in the words of a call.
        settings_from_columns: whether columns called like settings are settings of their rows.
        seed: of the draws of the first row, where any are drawn.
    """

    column: str
    chat: bool = False
    add_special_tokens: bool = True
    decoder_prompt: Prompt | None = None
    src_lang: str | None = None
    tgt_lang: str | None = None
    lora: str | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    settings_from_columns: bool = True
    seed: int = 0

    def to_json(self) -> dict[str, Any]:
        """For a manifest; a catalogue, or a constraint, as its hash."""
        values = asdict(self)
        values["decoder_prompt"] = _plain(self.decoder_prompt)
        settings = dict(self.settings)
        if settings.get("catalogue") is not None:
            entries = [_plain(entry) for entry in settings["catalogue"]]
            settings["catalogue"] = hashlib.sha256(json.dumps(entries).encode()).hexdigest()
        if isinstance(settings.get("constraint"), Constraint):
            arrays = settings["constraint"].automaton.arrays().values()
            whole = b"".join(array.tobytes() for array in arrays)
            settings["constraint"] = hashlib.sha256(whole).hexdigest()
        values["settings"] = {name: _plain(value) for name, value in sorted(settings.items())}
        plain: dict[str, Any] = json.loads(json.dumps(values))
        return plain


@dataclass(frozen=True)
class Runtime:
    """How a package is loaded, which changes no answer.

    Attributes:
        providers: of ONNX Runtime; the CPU's by default.
        threads: for one operator; one per core by default.
    """

    providers: tuple[str, ...] = ()
    threads: int | None = None


@dataclass(frozen=True)
class Job:
    """All that a process has to know to take part in a job.

    Attributes:
        package: its folder, whose files were verified.
        input: the file of prompts.
        input_format: of ``READERS``.
        asked: see ``Asked``.
        packing: see ``Packing``.
        runtime: see ``Runtime``.
    """

    package: Path
    input: Path
    input_format: str
    asked: Asked
    packing: Packing
    runtime: Runtime = Runtime()

    def reader(self) -> Reader:
        """Of the prompts.

        Raises:
            InputError: see ``reader_of``.
        """
        return reader_of(self.input, self.input_format)

    def generator(self, *, load: bool = True) -> Generator:
        """Of the package.

        Raises:
            PackageError: it does not load.
        """
        return Generator(
            self.package,
            providers=self.runtime.providers or None,
            threads=self.runtime.threads,
            verify=False,
            load=load,
        )

    def with_threads(self, threads: int | None) -> Job:
        """The same job with so many threads for an operator."""
        return replace(self, runtime=replace(self.runtime, threads=threads))


def package_hash(package: Package) -> str:
    """Of all files of a package together, as its manifest has them."""
    files = sorted((name, entry["sha256"]) for name, entry in package.manifest.files.items())
    return hashlib.sha256(json.dumps(files).encode()).hexdigest()


def identity(package: Package, scan: Scan, input_format: str, asked: Asked) -> dict[str, Any]:
    """What two runs have to agree in to be one job."""
    return {
        "package": package_hash(package),
        "input": {"format": input_format, "sha256": scan.sha256, "bytes": scan.size},
        "settings": asked.to_json(),
    }


def _plain(value: Any) -> Any:
    """A setting as JSON has it."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if hasattr(value, "tolist"):
        return value.tolist()
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_plain(item) for item in value]
    return value
