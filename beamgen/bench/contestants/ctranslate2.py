"""CTranslate2, a C++ library with decoders of its own."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from beamgen.bench.contestant import Contestant, Preparation, Search
from beamgen.bench.dummy_tokenizer import dummy_tokenizer
from beamgen.bench.workload import Task
from beamgen.bench.workspace import Workspace
from beamgen.settings.prompts import Ids

#: What a Whisper of its own ends with.
_END = "<|endoftext|>"


def _convert(quantization: str | None) -> Preparation:
    def prepare(workspace: Workspace, folder: Path) -> None:
        from ctranslate2.converters import TransformersConverter

        class Converter(TransformersConverter):  # type: ignore[misc] # it has no types
            def load_model(self, *args: Any, **options: Any) -> Any:
                model = super().load_model(*args, **options)
                # its loader of LongRoPE models looks for the factors in each layer, where
                # transformers no longer has them
                scaling = getattr(model.config, "rope_scaling", None) or {}
                names = ("long_factor", "short_factor")
                factors = SimpleNamespace(**{name: scaling.get(name) for name in names})
                for layer in getattr(model.base_model, "layers", []):
                    if hasattr(layer, "self_attn") and not hasattr(layer.self_attn, "rotary_emb"):
                        layer.self_attn.rotary_emb = factors
                return model

            def load_tokenizer(self, *args: Any, **options: Any) -> Any:
                return dummy_tokenizer(workspace.vocab_size, _spelled(workspace))

        converter = Converter(
            str(workspace.checkpoint), trust_remote_code=workspace.trust_remote_code
        )
        converter.convert(str(folder), quantization=quantization, force=True)

    return prepare


def _spelled(workspace: Workspace) -> dict[int, str]:
    """Words that the library looks for by their spelling."""
    last = workspace.vocab_size - 1
    if workspace.features is not None:
        start, *_ = workspace.decoder_prompt
        return {0: _END, start: "<|startoftranscript|>", last: "<|notimestamps|>"}
    # where a decoder begins with the last token, the converter of Marian models looks for
    # padding: it has no weights in the converted file
    return {last: "<pad>"} if workspace.decoder_prompt == (last,) else {}


def _load(name: str, compute_type: str) -> Callable[[Workspace, Task], Search]:
    def load(workspace: Workspace, task: Task) -> Search:
        make = _translating if workspace.has_encoder else _generating
        if workspace.features is not None:
            make = _hearing
        options = {"compute_type": compute_type, "intra_threads": task.threads}
        return make(workspace, workspace.files(name), task, {**options, "inter_threads": 1})

    return load


def _generating(workspace: Workspace, folder: Path, task: Task, options: dict[str, Any]) -> Search:
    """The search of a decoder alone."""
    import ctranslate2

    del workspace
    words = _read(folder / "vocabulary.json")
    generator = ctranslate2.Generator(str(folder), **options)

    def search(ids: Ids, new_tokens: int) -> list[list[int]]:
        results = generator.generate_batch(
            [[words[token] for token in row] for row in ids.tolist()],
            beam_size=task.num_beams,
            max_length=new_tokens,
            length_penalty=1.0,
            end_token=[],
            include_prompt_in_result=False,
        )
        return [list(result.sequences_ids[0]) for result in results]

    return search


def _translating(workspace: Workspace, folder: Path, task: Task, options: dict[str, Any]) -> Search:
    """The search of a decoder behind an encoder."""
    import ctranslate2

    words = _read(folder / "shared_vocabulary.json")
    tokens = {word: token for token, word in enumerate(words)}
    # of some architectures the caller says what the decoder begins with
    begins = _read(folder / "config.json").get("decoder_start_token") is not None
    prefix = [] if begins else [words[token] for token in workspace.decoder_prompt]
    translator = ctranslate2.Translator(str(folder), **options)

    def search(ids: Ids, new_tokens: int) -> list[list[int]]:
        results = translator.translate_batch(
            [[words[token] for token in row] for row in ids.tolist()],
            target_prefix=[prefix] * len(ids) if prefix else None,
            beam_size=task.num_beams,
            max_decoding_length=new_tokens,
            length_penalty=1.0,
            end_token=[],
            max_input_length=0,
        )
        found = [result.hypotheses[0][len(prefix) :] for result in results]
        return [[tokens[word] for word in row] for row in found]

    return search


def _hearing(workspace: Workspace, folder: Path, task: Task, options: dict[str, Any]) -> Search:
    """The search of a decoder behind an encoder that hears."""
    import ctranslate2
    import numpy as np

    model = ctranslate2.models.Whisper(str(folder), **options)

    def search(given: Any, new_tokens: int) -> list[list[int]]:
        results = model.generate(
            ctranslate2.StorageView.from_array(np.ascontiguousarray(given)),
            [list(workspace.decoder_prompt)] * len(given),
            beam_size=task.num_beams,
            max_length=2 * new_tokens,  # it writes half as many at most
            length_penalty=1.0,
            suppress_blank=False,
            suppress_tokens=[0],  # which is called its end
        )
        return [list(result.sequences_ids[0]) for result in results]

    return search


def _read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def _contestant(name: str, precision: str) -> Contestant:
    return Contestant(
        name=name,
        load=_load(name, precision),
        needs=(name,),
        requires=("ctranslate2", "torch"),
        precision=precision,
        encoders=True,
        hearing=True,
    )


PREPARATIONS: dict[str, Preparation] = {
    "ctranslate2": _convert(None),
    "ctranslate2-int8": _convert("int8"),
}
CONTESTANTS = (
    _contestant("ctranslate2", "float32"),
    _contestant("ctranslate2-int8", "int8"),
)
