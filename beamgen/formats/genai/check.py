"""The comparison of onnxruntime-genai, running what was written, with transformers."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from beamgen.checkpoint.checkpoint import Checkpoint
from beamgen.errors import BeamgenError, MissingExtraError, one_line
from beamgen.export.prove import Progress
from beamgen.formats.format import Check
from beamgen.formats.genai.config import context_length
from beamgen.formats.genai.run import GenaiModel, import_genai
from beamgen.lora.slots import ADAPTER_SUFFIX
from beamgen.package.folder import ADAPTERS, Package
from beamgen.package.source import lora_source
from beamgen.parity.grids.shapes import ordinary_ids
from beamgen.parity.reference import Reference
from beamgen.settings.config import SearchConfig
from beamgen.settings.prompts import left_pad
from beamgen.tokenizer.load import load_tokenizer

Rows = list[list[int]]

#: Between two tokens whose logits are nearer than this float arithmetic decides.
NEAR_TIE = 1e-3

_LENGTHS = (1, 5, 9, 14)
_NEW_TOKENS = 12

TEXTS = (
    "aspirin is",
    "A small animal, with 4 legs: what's it?",
    "  two spaces and\na new line",
    "naïve café, 123,456.78 €",
    "日本語",
)


def check_folder(
    folder: Path,
    package: Package,
    checkpoint: Checkpoint,
    say: Progress,
    *,
    with_tokenizer: bool,
    trust_remote_code: bool,
) -> list[Check]:
    """Generate with HF and with genai, with each LoRA too, and compare the tokenizers.

    HF answers first and is freed before the folder is loaded, so that both need not be
    in memory at once.
    """
    try:
        version = import_genai().__version__
    except MissingExtraError as error:
        return [Check(f"{error.cause}: {error.cure}", None)]
    say("comparing with transformers")
    batches, config = _batches(package)
    alone = checkpoint.adapter(package.manifest.adapter).counts_padding
    answers, checks = [], []
    for path in [None, *sorted((folder / ADAPTERS).glob(f"*{ADAPTER_SUFFIX}"))]:
        try:
            source = _with_lora(checkpoint, package, path)
            answers.append(_Answers(path, source, _hf(source, batches, config, alone), alone))
        except BeamgenError as error:
            if path is None:
                raise
            checks.append(Check(f"greedy search with the LoRA {path.stem}: {error.cause}", None))
    try:
        model = GenaiModel(folder)
    except RuntimeError as error:
        return [Check(f"onnxruntime-genai {version} cannot load it: {one_line(error)}", False)]
    say("comparing with onnxruntime-genai")
    checks = [*(_greedy(model, version, each, batches, config) for each in answers), *checks]
    if with_tokenizer:
        checks.append(_tokenizer(model, version, folder, trust_remote_code))
    return checks


@dataclass(frozen=True)
class _Answers:
    """What HF generates for some batches, with a LoRA or without; each prompt ``alone``."""

    lora: Path | None
    checkpoint: Checkpoint
    rows: list[Rows]
    alone: bool


def _with_lora(checkpoint: Checkpoint, package: Package, path: Path | None) -> Checkpoint:
    if path is None:
        return checkpoint
    return checkpoint.with_lora(lora_source(package, path.stem))


def _batches(package: Package) -> tuple[list[Rows], SearchConfig]:
    """Random prompts, the same every time: each alone, and all in one padded batch."""
    search, context = package.manifest.search, context_length(package.manifest)
    new_tokens = max(min(_NEW_TOKENS, context // 2), 1)
    config = SearchConfig(
        eos_token_id=search.eos_token_id or (search.pad_token_id,),  # as genai has it
        pad_token_id=search.pad_token_id,
        num_beams=1,
        max_new_tokens=new_tokens,
    )
    ids, draw = ordinary_ids(package), np.random.default_rng(0)
    lengths = [min(length, max(context - new_tokens, 1)) for length in _LENGTHS]
    prompts = [draw.choice(ids, length).tolist() for length in lengths]
    return [*([prompt] for prompt in prompts), prompts], config


def _hf(
    checkpoint: Checkpoint, batches: Sequence[Rows], config: SearchConfig, alone: bool
) -> list[Rows]:
    """What HF generates, each row up to its EOS.

    ``alone``: each prompt by itself, where HF would count a batch's padding as positions, which
    genai, padded on the right, does not.
    """
    reference = Reference(checkpoint.load_model())

    def answer(prompts: Rows) -> Rows:
        batch = left_pad(prompts, config.pad_token_id)
        rows = reference.generate(*batch, config, scores=False).sequences
        start = batch[0].shape[1]
        return [ended(row[0, start:].tolist(), config.eos_token_id) for row in rows]

    if alone:
        return [[answer([prompt])[0] for prompt in prompts] for prompts in batches]
    return [answer(prompts) for prompts in batches]


def _greedy(
    model: GenaiModel,
    version: str,
    hf: _Answers,
    batches: Sequence[Rows],
    config: SearchConfig,
) -> Check:
    differ: list[tuple[list[int], list[int], list[int]]] = []
    for prompts, expected in zip(batches, hf.rows, strict=True):
        found = model.greedy(prompts, config.max_new_tokens or 0, config.pad_token_id, hf.lora)
        found = [ended(row, config.eos_token_id) for row in found]
        rows = zip(prompts, expected, found, strict=True)
        differ += [(prompt, wanted, got) for prompt, wanted, got in rows if got != wanted]
    ties = 0
    if differ:
        reference = Reference(hf.checkpoint.load_model())
        ties = sum(_near_tie(reference, *row, config) for row in differ)
    count = sum(map(len, batches))
    alone = ", where each gets what it gets alone" if hf.alone else ""
    with_lora = f" with the LoRA {hf.lora.stem}" if hf.lora else ""
    return Check(
        f"greedy search{with_lora}: onnxruntime-genai {version} gives the tokens of transformers "
        f"in {count - len(differ)} of {count} cases, {len(batches[-1])} prompts alone and in a "
        f"padded batch{alone}" + (f", and a near-tie in {ties}" if ties else ""),
        ties == len(differ),
    )


def ended(tokens: Sequence[int], eos_token_id: Sequence[int]) -> list[int]:
    """A row up to its first EOS, that one with it."""
    for place, token in enumerate(tokens):
        if token in eos_token_id:
            return list(tokens[: place + 1])
    return list(tokens)


def _near_tie(
    reference: Reference,
    prompt: Sequence[int],
    wanted: Sequence[int],
    got: Sequence[int],
    config: SearchConfig,
) -> bool:
    """Whether HF's logits of the two tokens at which rows part are nearly the same."""
    pairs = zip(wanted, got, strict=False)
    place = next((i for i, (one, other) in enumerate(pairs) if one != other), None)
    if place is None:  # one goes on where the other ends
        return False
    ids, mask = left_pad([prompt], config.pad_token_id)
    scores = reference.scores(ids[0], mask[0], tuple(wanted[: place + 1]), config)[place]
    return abs(float(scores[wanted[place]] - scores[got[place]])) < NEAR_TIE


def _tokenizer(model: GenaiModel, version: str, folder: Path, trust_remote_code: bool) -> Check:
    """The ids of some texts, and of a chat."""
    try:
        theirs = load_tokenizer(folder, trust_remote_code=trust_remote_code)
    except BeamgenError as error:
        return Check(f"the tokenizer was not compared: {error.cause}", None)
    assert theirs is not None, "its files were copied"
    chat = ""
    try:
        ours = model.tokenizer()
        wrong = [text for text in TEXTS if ours.encode(text).tolist() != theirs.encode(text)]
        if theirs.chat_template:
            chat = " and the text of a chat"
            messages = [{"role": "user", "content": TEXTS[0]}]
            prompt = ours.apply_chat_template(json.dumps(messages), add_generation_prompt=True)
            wanted = theirs.chat_text(messages)
            wrong += [] if prompt == wanted else ["a chat"]
    except Exception as error:  # genai raises types of its own
        return Check(
            f"onnxruntime-genai {version} cannot use the tokenizer: {one_line(error)}", False
        )
    but = f", but not for {', '.join(map(repr, wrong))}" if wrong else ""
    return Check(
        f"tokenizer: onnxruntime-genai {version} gives the ids of transformers for "
        f"{len(TEXTS)} texts{chat}{but}",
        not wrong,
    )
