"""One file that takes text and gives text: the tokenizer and its decoder in the graph."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict

import numpy as np

from beamgen.errors import MissingExtraError, SettingError
from beamgen.export.prove import Progress
from beamgen.export.save import save_graph
from beamgen.formats.format import Check, Format
from beamgen.formats.lengths import checked_tokens
from beamgen.package.folder import ADAPTERS, MODEL, WEIGHTS, Package
from beamgen.runtime.feeds import parameter_feeds
from beamgen.runtime.generator import Generator
from beamgen.settings.prompts import left_pad
from beamgen.tokenizer.load import load_tokenizer

if TYPE_CHECKING:
    import onnx_ir as ir

    from beamgen.formats.text.tables import TextTables
    from beamgen.tokenizer.tokenizer import Tokenizer

_ABOUT = "beamgen-text.json"

_RANDOM_TEXTS, _RANDOM_SEQUENCES = 400, 600

#: Searched with the file and with ``Generator``, as one batch.
_PROMPTS = (
    "a",
    "The quick brown fox",
    " two  spaces\n",
    "caf\u00e9, \u4f60\u597d \U0001f600",
    "x = 10;",
)
_SETTINGS: Mapping[str, Any] = {"num_beams": 3, "num_return_sequences": 2, "do_sample": False}
_NEW_TOKENS = 8
_SCORE_TOLERANCE = 1e-5  # the graphs differ, and so does what ONNX Runtime fuses


class TextOptions(TypedDict):
    """The keyword arguments of ``package_as(package, "text")``: none, all is in the package."""


def write(package: Package, folder: Path, say: Progress, *, target: Path) -> Sequence[Check]:
    """Write ``model.onnx`` with the package's tokenizer in it, and ``beamgen-text.json``.

    Args:
        package: of the loop backend, with a fast tokenizer.
        folder: an empty one.
        say: called with one line as each stage begins.
        target: the folder's name in the end.

    Raises:
        SettingError: the tokenizer or the backend cannot be in such a file, or the
            graph's tokenizer gives other ids than Hugging Face's.
        MissingExtraError: onnxruntime-extensions or onnxscript is not installed.
    """
    if package.manifest.backend != "loop":
        raise SettingError(
            f"a {package.manifest.backend} package takes int32 ids and tells no finish reasons, "
            "by which a text is cut",
            "export the checkpoint with --search loop",
        )
    tokenizer = load_tokenizer(package.folder)
    if tokenizer is None:
        raise SettingError(
            f"{package.folder} has no tokenizer", "export a checkpoint that has one beside it"
        )
    try:
        import onnx_ir as ir

        from beamgen.formats.text.graph import with_tokenizer as merge
        from beamgen.formats.text.tables import read_tokenizer
    except ImportError as error:
        raise MissingExtraError(
            "beamgen package text", "text", error.name or "onnxscript"
        ) from error
    tables = read_tokenizer(tokenizer)
    checks = _check_tokenizer(tokenizer, tables, say)
    say("merging the tokenizer into the graph")
    graph = merge(ir.load(package.model), tables)
    save_graph(graph, folder, external_data=WEIGHTS in package.manifest.files)
    if package.loras:
        (folder / ADAPTERS).mkdir()
    for path in package.loras.values():
        shutil.copyfile(path, folder / ADAPTERS / path.name)
    say("comparing the file with the package")
    checks.append(_check_file(Generator(package), folder / MODEL))
    _write_about(folder, package, graph, tables, checks)
    return checks


def _check_tokenizer(tokenizer: Tokenizer, tables: TextTables, say: Progress) -> list[Check]:
    """Compare both directions with HF's tokenizer, on texts and ids that are hard."""
    from beamgen.formats.text.check import check_decoding, check_encoding, random_ids, texts_for

    say("comparing the tokenizer with Hugging Face's")
    texts = check_encoding(tokenizer, tables, texts_for(tables, _RANDOM_TEXTS))
    rows = check_decoding(tokenizer, tables, random_ids(tables, _RANDOM_SEQUENCES, seed=0))
    return [
        Check(f"the ids of {texts} texts, with {tables.name}'s, by {_consumer()}", True),
        Check(f"the texts of {rows} sequences, with {tables.name}'s", True),
    ]


def _check_file(generator: Generator, path: Path) -> Check:
    """Compare texts, tokens and scores of a batch of prompts with the package's."""
    from beamgen.formats.text.check import open_session

    limits = generator.package.manifest.limits
    new_tokens = checked_tokens(generator.search, _NEW_TOKENS)
    prompts = [
        prompt
        for prompt in _PROMPTS
        if len(ids := generator.encode(prompt)) > 0 and limits.room(len(ids)) >= new_tokens
    ]
    what = f"texts, tokens and scores of {len(prompts)} prompts, with the package's"
    if not prompts:
        return Check(f"{what}: no prompt fits the model's positions", None)
    settings = {**_SETTINGS, "max_new_tokens": new_tokens}
    input_ids, mask = left_pad(
        [generator.encode(prompt) for prompt in prompts], generator.search.pad_token_id
    )
    config = generator.search.with_overrides(settings).for_prompt(input_ids.shape[1])
    expected = generator.search_ids(input_ids, mask, config)
    texts = [
        [hypothesis.text for hypothesis in best] for best in generator.generate(prompts, **settings)
    ]
    session = open_session(str(path))
    slots = {
        name: value
        for slot in generator.package.manifest.lora_slots
        for name, value in zip(slot.inputs, slot.empty(), strict=True)
    }
    parameters = parameter_feeds(generator.package.manifest, [config])
    feeds = {"text": np.array(prompts, object), **parameters, **slots}
    found = session.run(["texts", "sequences", "sequences_scores"], feeds)
    same = (
        [[text for text in row if text is not None] for row in found[0].tolist()] == texts
        and np.array_equal(found[1], expected.sequences)
        and np.allclose(found[2], expected.sequences_scores, atol=_SCORE_TOLERANCE)
    )
    return Check(f"{what} by {_consumer()}", same)


def _consumer() -> str:
    versions = (
        f"{name} {metadata.version(name)}" for name in ("onnxruntime", "onnxruntime-extensions")
    )
    return " with ".join(versions)


def _write_about(
    folder: Path, package: Package, graph: ir.Model, tables: TextTables, checks: Sequence[Check]
) -> None:
    """Write what is in the file, for whoever opens the folder."""
    manifest = package.manifest
    taken = {value.name for value in graph.graph.inputs}
    about = {
        "source": manifest.source,
        "adapter": manifest.adapter,
        "tokenizer": {"class": tables.name, "kind": tables.kind},
        "inputs": [
            {"name": "text", "dtype": "string", "shape": ["batch"], "meaning": "the prompts"},
            *(row for row in manifest.inputs if row["name"] in taken),
        ],
        "outputs": [
            *manifest.outputs,
            {"name": "texts", "dtype": "string", "shape": ["batch", "num_return_sequences"]},
        ],
        "checks": [vars(check) for check in checks],
        "versions": manifest.versions
        | {"onnxruntime-extensions": metadata.version("onnxruntime-extensions")},
    }
    text = json.dumps(about, indent=2, ensure_ascii=False)
    (folder / _ABOUT).write_text(text + "\n", encoding="utf-8")


FORMAT = Format(
    title="folder with a text model",
    mark=_ABOUT,
    output="{name}-text",
    options=TextOptions,
    write=write,
    after=lambda folder: (
        f"register onnxruntime-extensions with ONNX Runtime and feed {folder / MODEL} with text",
    ),
)
