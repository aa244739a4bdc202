"""Count where ``com.microsoft::BeamSearch`` and HF ``generate`` part at length_penalty 0.

    python scripts/contrib_differences.py                 # three architectures, batch 3, 4 beams
    python scripts/contrib_differences.py --batch-size 8

Tiny random models, prompts of unequal length over the whole vocabulary (the pad id
too), an EOS id that is likely. All hypotheses of a row have to be HF's. The last two
columns tell the causes apart: the operator's rule with each row's own stop test; and the same
file with the positions that the operator counts itself, by a pad_token_id that is the EOS id
(as convert_generation.py exports GPT-2) where the batch is padded with another. See
docs/contrib-op.md.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from dataclasses import replace
from pathlib import Path
from unittest import mock

import click
import numpy as np
import onnx_ir as ir
import transformers
from rich.console import Console
from rich.table import Table

from beamgen import Package, adapters, export, open_checkpoint
from beamgen.parity.contrib import rule as contrib_rule
from beamgen.parity.contrib.file import ContribFile
from beamgen.parity.contrib.reference import ContribReference
from beamgen.parity.contrib.rule_scores import Floats
from beamgen.parity.reference import Reference
from beamgen.parity.report import ParityCase
from beamgen.registry import is_encoder_decoder
from beamgen.settings.result import BeamOutput
from beamgen.testing import tiny_model

_NEW_TOKENS = 20


@click.command(help=__doc__)
@click.option("--batch-size", default=3, show_default=True)
@click.option("--num-beams", default=4, show_default=True)
@click.option("--batches", default=40, show_default=True, help="For each architecture.")
def main(batch_size: int, num_beams: int, batches: int) -> None:
    """Count, and print a table."""
    transformers.logging.set_verbosity_error()
    table = Table(title="rows whose hypotheses are all HF's", box=None)
    table.add_column("architecture")
    for title in ("early_stopping", "rows", "file = its rule", "file = HF", "own stop test = HF",
                  "operator's own positions = HF"):  # fmt: skip
        table.add_column(title, justify="right")
    for adapter in adapters():
        if is_encoder_decoder(adapter):  # which those operators get none of
            continue
        with tempfile.TemporaryDirectory() as scratch:
            checkpoint = Path(scratch, "checkpoint")
            tiny_model(adapter.tiny_config()).save_pretrained(checkpoint)
            settings = {"num_beams": num_beams, "max_new_tokens": _NEW_TOKENS}
            package = export(
                checkpoint,
                Path(scratch, "package"),
                parity=False,
                backend="contrib",
                settings=settings,
            ).package
            for stop in (False, True):
                found = _count(package, checkpoint, batch_size, batches, stop)
                names = ("rows", "rule", "hf", "own", "positions")
                table.add_row(adapter.name, str(stop), *(str(found[name]) for name in names))
    Console(width=120).print(table)


def _count(
    package: Package, checkpoint: Path, batch_size: int, batches: int, stop: bool
) -> Counter[str]:
    reference = Reference(open_checkpoint(checkpoint).load_model())
    rule = ContribReference(reference, package.manifest.vocab_size)
    file, own_positions = ContribFile(package), ContribFile(_with_own_positions(package))
    found: Counter[str] = Counter()
    for seed in range(batches):
        case = _case(package, reference, batch_size, seed, stop)
        hf, ours = rule.generate(case), file.search(case)
        by_rule, by_positions = rule.output(case), own_positions.search(case)
        with mock.patch.object(contrib_rule, "_stop_margin", _own_stop_margin):
            own = rule.output(case)
        for row in range(batch_size):
            found["rows"] += 1
            found["rule"] += _same(ours, by_rule, row)
            found["hf"] += _same(ours, hf, row)
            found["own"] += _same(own, hf, row)
            found["positions"] += _same(by_positions, hf, row)
    return found


def _case(
    package: Package, reference: Reference, batch_size: int, seed: int, stop: bool
) -> ParityCase:
    rng = np.random.default_rng(seed)
    lengths = rng.integers(3, 9, size=batch_size)
    vocab_size = package.manifest.vocab_size
    prompts = tuple(tuple(rng.integers(0, vocab_size, size=n).tolist()) for n in lengths)
    config = replace(
        package.manifest.search,
        length_penalty=0.0,
        early_stopping=stop,
        num_return_sequences=package.manifest.search.num_beams,
    )
    case = ParityCase(f"seed {seed}", prompts, int(lengths.max()), config)
    plain = replace(config, max_new_tokens=8, min_new_tokens=8)
    generated = reference.generate(*case.batch(), plain).sequences[:, 0, case.prompt_len + 1 :]
    eos = int(np.bincount(generated[generated > 2]).argmax())
    return replace(case, config=replace(config, eos_token_id=(eos,)))


def _own_stop_margin(
    candidates: Floats, row: int, hypotheses: contrib_rule.Hypotheses, length: int
) -> float | None:
    """``contrib_rule._stop_margin``, reading the row's own candidates."""
    if len(hypotheses.found) < hypotheses.capacity:
        return None
    best = hypotheses.penalised(candidates[row].max(), length)
    return float(best - hypotheses.found[-1][1])


def _with_own_positions(package: Package) -> Package:
    """A copy whose decoder takes the operator's position_ids."""
    folder = package.folder.with_name("own-positions")
    folder.mkdir(exist_ok=True)
    model = ir.load(package.model)
    node = next(n for n in model.graph if n.op_type == "BeamSearch")
    step = node.attributes["decoder"].as_graph()
    inputs = next(n for n in step if n.op_type == "op_inputs")
    computed, key_rows = inputs.outputs[1], inputs.outputs[4]
    given = step.inputs[1]
    cast = ir.node("Cast", [given], {"to": ir.DataType.INT64})
    taken = ir.node("Gather", [cast.outputs[0], key_rows], {"axis": 0})
    step.insert_after(inputs, [cast, taken])
    computed.replace_all_uses_with(taken.outputs[0])
    ir.save(model, folder / "model.onnx")
    return Package(folder, package.manifest)


def _same(one: BeamOutput, other: BeamOutput, row: int) -> bool:
    a, b = one.sequences[row], other.sequences[row]
    width = min(a.shape[1], b.shape[1])
    return np.array_equal(a[:, :width], b[:, :width])


if __name__ == "__main__":
    main()
