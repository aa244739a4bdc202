"""What each adapter becomes: fewer bits, LoRAs, and every format, each compared or refused.

A tiny random checkpoint of each adapter is written, and all that beamgen makes of one is made of
it and held against transformers, or against the file that it was made from. What came of it goes
into ``docs/adapter-matrix.json``, of which the page Architectures makes a table::

    python scripts/adapter_matrix.py --node-modules node_modules
    python scripts/adapter_matrix.py mixtral --only int8,slots

The folder ``node_modules`` has ``onnxruntime-web``, of the version in
``beamgen/formats/web/modules.py``; without it each page fetches its own. It takes half a minute to
a minute for each adapter. Those whose classes only a later transformers has are left out, and
added where that is installed, by name.
"""

from __future__ import annotations

import json
import re
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch

from beamgen import (
    GRIDS,
    BeamgenError,
    DecoderAdapter,
    Generator,
    Package,
    adapters,
    check_parity,
    export,
    open_checkpoint,
    package_as,
)
from beamgen.lora.slots import leaf
from beamgen.parity.grids.shapes import Likely
from beamgen.parity.report import ParityCase, ParityReport, Verdict
from beamgen.settings.sources import FeatureBatch
from beamgen.testing import tiny_model

RECORD = Path(__file__).parent.parent / "docs" / "adapter-matrix.json"

_SEARCH = {"num_beams": 4, "max_new_tokens": 10, "eos_token_id": 2}
_CONTRIB = {**_SEARCH, "length_penalty": 0.0}
_PROMPTS = [[5, 6, 7, 8], [9], [10, 11]]
_OF_ONE_LENGTH = [[5, 6, 7, 8], [9, 12, 13, 14], [10, 11, 15, 16]]  # where padding is counted
#: Of a row that was made with another transformers than the rest.
TRANSFORMERS = "transformers"
_VERSIONS = ("transformers", "onnxruntime", "onnxruntime-genai", "peft", "tritonclient")


@dataclass(frozen=True)
class Cell:
    """What came of one thing that an adapter's checkpoint was made into.

    Attributes:
        outcome: ``works``; ``refused``, by an error of beamgen's own; or ``differs``.
        said: the cases that were compared, or the cause.
        cure: of a refusal.
    """

    outcome: str
    said: str
    cure: str | None = None


def searches(package: Package, likely: Likely, seed: int = 0) -> list[ParityCase]:
    """Four of the quick grid: one prompt, a long one, and padded batches with and without beams."""
    cases = GRIDS["quick"](package, likely, seed)
    return [cases[number] for number in (1, 5, 8, 9)]


class Subject:
    """A tiny checkpoint of an adapter, and what is made of it once for several cells."""

    def __init__(self, name: str, folder: Path, node_modules: Path | None) -> None:
        """Write the checkpoint."""
        adapter = next(each for each in adapters() if each.name == name)
        tiny_model(adapter.tiny_config()).save_pretrained(folder / "checkpoint")
        self.folder, self.node_modules = folder, node_modules
        self.prompts = _OF_ONE_LENGTH if adapter.counts_padding else _PROMPTS
        self.checkpoint = open_checkpoint(folder / "checkpoint")
        self._made = Counter[str]()
        self._plain: Package | None = None

    def new(self, name: str) -> Path:
        """A folder that is not there yet."""
        self._made[name] += 1
        return self.folder / f"{name}-{self._made[name]}"

    def told(self, text: str) -> str:
        """A message without the folders of this machine."""
        return re.sub(rf"{re.escape(str(self.folder))}/(\w+)-\d+", r"the \1", text)

    def export(self, **options: Any) -> Package:
        """A package that nothing was compared with yet."""
        target = self.new("package")
        return export(self.checkpoint.folder, target, parity=False, **options).package

    @property
    def plain(self) -> Package:
        """The package in fp32."""
        if self._plain is None:
            self._plain = self.export(settings=_SEARCH)
        return self._plain

    def lora(self, name: str, seed: int) -> Path:
        """A random LoRA on all linear layers, as peft saves it."""
        from peft import LoraConfig, get_peft_model

        folder = self.folder / name
        if folder.is_dir():
            return folder
        torch.manual_seed(seed)
        task = "SEQ_2_SEQ_LM" if self.checkpoint.config.is_encoder_decoder else "CAUSAL_LM"
        config = LoraConfig(r=4, lora_alpha=8, target_modules="all-linear", task_type=task)
        model = get_peft_model(self.checkpoint.load_model(), config)
        for parameter_name, parameter in model.named_parameters():
            if "lora_" in parameter_name:
                torch.nn.init.normal_(parameter, std=0.3)
        model.save_pretrained(str(folder), save_embedding_layers=False)
        return folder


def rounded(precision: str) -> Callable[[Subject], Cell]:
    """Fewer bits, against transformers with the same rounding."""

    def made(subject: Subject) -> Cell:
        options = {"int8_weights": "u8"} if precision == "int8" else {}
        package = subject.export(precision=precision, **options)
        count = len(package.manifest.precision.quantized)
        report = check_parity(package, subject.checkpoint, grid=searches)
        return _judged(report, f"{count} tensors rounded")

    return made


def slots(subject: Subject) -> Cell:
    """A LoRA in slots against transformers and peft, and two in one batch against each alone."""
    one, two = subject.lora("one", 1), subject.lora("two", 2)
    package = subject.export(lora=[one, two], lora_slots=[], settings=_SEARCH)
    with_lora = subject.checkpoint.with_lora(one)
    report = check_parity(package, with_lora, grid=searches, lora="one")
    kinds = Counter(leaf(slot.module) for slot in package.manifest.lora_slots)
    listed = ", ".join(f"{count} {kind}" for kind, count in kinds.items())
    return _judged(report, f"{listed}; {_mixed(package, subject.prompts)}")


def _mixed(package: Package, prompts: list[list[int]]) -> str:
    """Whether the rows of a batch may have LoRAs of their own."""
    generator, chosen = Generator(package), ["one", None, "two"]
    batch: Any = prompts
    rows: list[Any] = [[prompt] for prompt in prompts]
    if package.manifest.features is not None:  # of an encoder that hears
        name, sizes = package.manifest.features
        heard = np.random.default_rng(0).normal(size=(3, *sizes)).astype(np.float32)
        batch = FeatureBatch(name, heard)
        rows = [FeatureBatch(name, row[None]) for row in heard]
    try:
        together = generator.generate(batch, lora=chosen)
    except BeamgenError as error:
        return error.cause
    alone = [generator.generate(row, lora=one)[0] for row, one in zip(rows, chosen, strict=True)]
    same = [[h.token_ids for h in row] for row in together] == [
        [h.token_ids for h in row] for row in alone
    ]
    if not same:
        raise ValueError("rows with LoRAs of their own get other tokens than each alone")
    return "one for each row"


def merge(subject: Subject) -> Cell:
    """A LoRA merged into the weights, against transformers and peft with the LoRA beside them."""
    lora = subject.lora("one", 1)
    package = subject.export(lora=[lora], settings=_SEARCH)
    with_lora = subject.checkpoint.with_lora(lora)
    return _judged(check_parity(package, with_lora, grid=searches))


def contrib(subject: Subject) -> Cell:
    """ONNX Runtime's BeamSearch, by its rule."""
    package = subject.export(backend="contrib", settings=_CONTRIB)
    return _judged(check_parity(package, subject.checkpoint, grid=searches))


def written_as(format: str, needed: int, **options: Any) -> Callable[[Subject], Cell]:
    """Another format, by the checks with which it is written, of which so many have to be made."""

    def made(subject: Subject) -> Cell:
        given = {**options}
        if format == "web":
            given["node_modules"] = subject.node_modules
        checks = package_as(subject.plain, format, subject.new(format), **given).checks
        wrong = [check.what for check in checks if check.passed is False]
        passed = [check.what for check in checks if check.passed]
        if wrong or len(passed) < needed:
            return Cell("differs", "; ".join(wrong or [check.what for check in checks]))
        return Cell("works", "; ".join(passed))

    return made


CELLS: dict[str, Callable[[Subject], Cell]] = {
    "int8": rounded("int8"),
    "int4": rounded("int4"),
    "slots": slots,
    "merge": merge,
    "contrib": contrib,
    "genai": written_as("genai", 1),
    "triton": written_as("triton", 2, batching="dynamic"),
    "web": written_as("web", 1),
}


def _judged(report: ParityReport, *more: str) -> Cell:
    """A cell of a report of parity."""
    total = len(report.results)
    counts = [(report.count(verdict), verdict.value) for verdict in Verdict]
    told = ", ".join(f"{count} {name}" for count, name in counts if count)
    outcome = "works" if report.exit_code == 0 and total else "differs"
    return Cell(outcome, "; ".join([f"{told} of {total}", *more]))


def _cell(make: Callable[[Subject], Cell], subject: Subject) -> Cell:
    try:
        return make(subject)
    except BeamgenError as error:
        return Cell("refused", subject.told(error.cause), subject.told(error.cure or ""))
    except Exception as error:  # a defect, which the log has
        traceback.print_exc()
        return Cell("differs", f"{type(error).__name__}: {error}")


@click.command(help="Fills docs/adapter-matrix.json; see the head of this file.")
@click.argument("names", nargs=-1)
@click.option("--only", help="Columns, by their names with commas; all by default.")
@click.option("--node-modules", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("--record", type=click.Path(path_type=Path), default=RECORD, show_default=True)
@click.option("--missing", is_flag=True, help="Leave out what the record has.")
def main(
    names: Sequence[str], only: str | None, node_modules: Path | None, record: Path, missing: bool
) -> None:
    """Make each cell, and write the record after each."""
    torch.set_num_threads(1)
    found = json.loads(record.read_text()) if record.is_file() else {"adapters": {}}
    rows = found["adapters"]
    columns = only.split(",") if only else list(CELLS)
    known = {adapter.name: adapter for adapter in adapters() if adapter.needs is None}
    if unknown := sorted(set(names) - set(known)):
        raise click.UsageError(f"no adapter here is called {', '.join(unknown)}")
    for name in names or known:
        row = rows.setdefault(name, {})
        if known[name].since != DecoderAdapter.since:
            row[TRANSFORMERS] = metadata.version("transformers")
        wanted = [column for column in columns if not (missing and column in row)]
        with tempfile.TemporaryDirectory(prefix="beamgen-matrix-") as scratch:
            subject = Subject(name, Path(scratch), node_modules) if wanted else None
            for column in wanted:
                started = time.monotonic()
                assert subject is not None, "made where something is wanted"
                cell = _cell(CELLS[column], subject)
                row[column] = asdict(cell)
                took = time.monotonic() - started
                click.echo(f"{name} {column} {took:.0f}s: {cell.outcome}: {cell.said[:300]}")
                if TRANSFORMERS not in row:
                    found["versions"] = {each: metadata.version(each) for each in _VERSIONS}
                ordered = {each: rows[each] for each in sorted(rows)}
                text = json.dumps({**found, "adapters": ordered}, indent=1, ensure_ascii=False)
                record.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
