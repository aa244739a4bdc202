"""Where onnxruntime-genai's beam search gives HF's answer: the table of docs/genai.md.

    python scripts/genai_beams.py

Tiny random GPT-2, BioGPT and Phi-3; an EOS id that does occur; 10 new tokens. A row of
the table counts prompts whose best hypothesis, or whose whole list, has HF's tokens.
"""

from __future__ import annotations

import itertools
import json
import tempfile
from collections import Counter, defaultdict
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from beamgen import SearchConfig, export, find_adapter, package_as
from beamgen.checkpoint.checkpoint import open_checkpoint
from beamgen.formats.genai.check import ended
from beamgen.formats.genai.config import CONFIG
from beamgen.package.folder import MODEL
from beamgen.parity.grids.shapes import ordinary_ids
from beamgen.parity.reference import Reference
from beamgen.settings.prompts import left_pad
from beamgen.testing import tiny_model

ARCHITECTURES = ("gpt2", "biogpt", "phi3")
SEEDS, NEW_TOKENS, BEAMS = 5, 10, (2, 4)
SHAPES = {"1": [6], "3": [6, 6, 6], "3 padded": [3, 6, 8]}
PENALTIES = (0.0, -0.5, 1.0, 2.0)
PROCESSORS: dict[str, dict[str, Any]] = {
    "min_length": {"min_new_tokens": 5},
    "no_repeat_ngram_size 2": {"no_repeat_ngram_size": 2},
    "repetition_penalty 1.3": {"repetition_penalty": 1.3},
}

Rows = list[list[int]]


@dataclass(frozen=True)
class Subject:
    """One model on both sides."""

    folder: Path
    reference: Reference
    ids: list[int]
    pad: int


def main() -> None:
    """Print the table."""
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    with tempfile.TemporaryDirectory() as scratch:
        for name in ARCHITECTURES:
            subject = _subject(name, Path(scratch, name))
            draw = np.random.default_rng(1)
            for _, (shape, lengths) in itertools.product(range(SEEDS), SHAPES.items()):
                prompts = [draw.choice(subject.ids, length).tolist() for length in lengths]
                for setting, config in _configs(subject, prompts, shape):
                    _count(counts[setting], subject, prompts, config)
    for setting, count in counts.items():
        print(f"| {setting} | {count['cases']} | {count['best']} | {count['all']} |")


def _subject(name: str, folder: Path) -> Subject:
    adapter, checkpoint = find_adapter(name), folder / "checkpoint"
    tiny_model(adapter.tiny_config()).save_pretrained(checkpoint)
    package = export(checkpoint, folder / "onnx", parity=False).package
    packaged = package_as(package, "genai", folder / "genai")
    return Subject(
        packaged.folder,
        Reference(open_checkpoint(checkpoint).load_model()),
        ordinary_ids(package).tolist(),
        package.manifest.search.pad_token_id,
    )


def _configs(subject: Subject, prompts: Rows, shape: str) -> list[tuple[str, SearchConfig]]:
    """The settings of one batch; its EOS id is the one most often generated."""
    batch = left_pad(prompts, subject.pad)
    probe = SearchConfig((2,), subject.pad, num_beams=4, num_return_sequences=4, max_new_tokens=6)
    sequences = subject.reference.generate(*batch, probe, scores=False).sequences
    generated = sequences[:, :, batch[0].shape[1] + 1 :]
    found, often = np.unique(generated[np.isin(generated, subject.ids)], return_counts=True)
    eos = (int(found[np.argsort(-often)][0]),)
    plain = replace(probe, eos_token_id=eos, max_new_tokens=NEW_TOKENS, length_penalty=0.0)
    settings = [
        (
            f"length_penalty {penalty:g}",
            replace(plain, num_beams=beams, num_return_sequences=beams, length_penalty=penalty),
        )
        for beams, penalty in itertools.product(BEAMS, PENALTIES)
    ]
    for name, values in PROCESSORS.items():
        # which read padding as text, on whichever side it is
        if name == "min_length" or shape != "3 padded":
            settings.append((f"length_penalty 0, {name}", replace(plain, **values)))
    return [
        (name, replace(config, early_stopping=early))
        for early in (True, False)
        for name, config in settings
    ]


def _count(count: Counter[str], subject: Subject, prompts: Rows, config: SearchConfig) -> None:
    batch = left_pad(prompts, subject.pad)
    start, beams = batch[0].shape[1], config.num_beams
    expected = subject.reference.generate(*batch, config, scores=False).sequences[:, :, start:]
    found = _genai(subject, prompts, config)
    for row, hypotheses in enumerate(expected):
        wanted = [_without_eos(tokens.tolist(), config.eos_token_id) for tokens in hypotheses]
        got = found[row * beams : (row + 1) * beams]
        count["cases"] += 1
        count["best"] += wanted[0] == got[0]
        count["all"] += wanted == got


def _without_eos(tokens: list[int], eos: tuple[int, ...]) -> list[int]:
    tokens = ended(tokens, eos)
    return tokens[:-1] if tokens and tokens[-1] in eos else tokens


def _genai(subject: Subject, prompts: Rows, config: SearchConfig) -> Rows:
    """All hypotheses, without prompt and EOS."""
    import onnxruntime_genai as og

    longest = max(map(len, prompts))
    with tempfile.TemporaryDirectory() as folder:
        values = json.loads((subject.folder / CONFIG).read_text())
        values["model"]["eos_token_id"] = list(config.eos_token_id)
        Path(folder, CONFIG).write_text(json.dumps(values))
        Path(folder, MODEL).symlink_to(subject.folder / MODEL)
        model = og.Model(folder)
    params = og.GeneratorParams(model)
    params.set_search_options(
        batch_size=len(prompts),
        max_length=longest + (config.max_new_tokens or 0),
        min_length=longest + config.min_new_tokens if config.min_new_tokens else 0,
        num_beams=config.num_beams,
        num_return_sequences=config.num_return_sequences,
        length_penalty=config.length_penalty,
        early_stopping=config.early_stopping is True,
        repetition_penalty=config.repetition_penalty,
        no_repeat_ngram_size=config.no_repeat_ngram_size,
    )
    generator = og.Generator(model, params)
    padded = [[*prompt, *[subject.pad] * (longest - len(prompt))] for prompt in prompts]
    generator.append_tokens(np.array(padded, np.int32))
    while not generator.is_done():
        generator.generate_next_token()
    count = len(prompts) * config.num_return_sequences
    return [generator.get_sequence(row).tolist()[longest:] for row in range(count)]


if __name__ == "__main__":
    main()
