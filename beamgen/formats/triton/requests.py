"""Requests to check a model with, and what the package answers to each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import numpy.typing as npt

from beamgen.formats.lengths import checked_tokens
from beamgen.formats.triton.plan import Plan
from beamgen.formats.triton.ports import PROMPT_LENGTHS
from beamgen.package.folder import Package
from beamgen.runtime.feeds import parameter_feeds, prompt_feeds
from beamgen.runtime.generator import Generator
from beamgen.runtime.loras import LoadedLoras
from beamgen.settings.contrib_inputs import feeds
from beamgen.settings.prompts import Ids
from beamgen.settings.result import BeamOutput
from beamgen.settings.sources import DECODER_PROMPT, SourceBatch
from beamgen.settings.table import BY_NAME, PARAMETERS

Arrays = dict[str, npt.NDArray[Any]]

_DTYPES = {parameter.name: parameter.dtype for parameter in PARAMETERS}

_LENGTHS, _TOKENS = (3, 7, 5), (3, 5, 4)


@dataclass(frozen=True)
class Request:
    """One request, with the answer to it.

    Attributes:
        given: as a client sends it, by input name.
        expected: what the package answers to it alone, by output name.
        fill: what may follow its sequences in a batch.
    """

    given: Arrays
    expected: Arrays
    fill: int

    def differs(self, found: Mapping[str, npt.NDArray[Any]]) -> str:
        """The output in which an answer differs from the package's, or '' where none does.

        Tokens have to be the same, and scores within 1e-4; in a batch a row goes on
        with what fills it.
        """
        for name, wanted in self.expected.items():
            values = np.asarray(found[name])
            size = wanted.shape[2] if wanted.ndim == 3 else None
            own = values[..., :size]
            if own.shape != wanted.shape:
                return name
            if wanted.dtype.kind == "f":
                same = np.allclose(own, wanted, rtol=1e-4, atol=1e-4, equal_nan=True)
            else:
                same = np.array_equal(own, wanted)
            rest = values[..., size:] if size is not None else np.zeros(0)
            filled = name != "sequences" or bool((rest == self.fill).all())
            if not same or not filled:
                return name
        return ""


def _example(name: str, row: int) -> float:
    """What a request gives for a setting, or for a token: another value in each."""
    examples = BY_NAME[name].examples or _TOKENS
    value: float = examples[row % len(examples)]
    return value


def requests_to_join(package: Package, plan: Plan) -> list[Request]:
    """Up to three requests that a run may join, and what the package answers to each."""
    generator = Generator(package, verify=False)
    rng = np.random.default_rng(0)
    requests = []
    for row in range(min(len(_LENGTHS), plan.max_batch_size)):
        length = _LENGTHS[row if plan.ragged else 1]
        ids = rng.integers(0, package.manifest.vocab_size, (1, length))
        own = {name: _example(name, row) for name in plan.per_request if name in _DTYPES}
        if "max_new_tokens" in own:
            own["max_new_tokens"] = checked_tokens(plan.search, int(own["max_new_tokens"]))
        prompt, source = _read(
            package, ids, rng if DECODER_PROMPT.name in plan.per_request else None
        )
        answer = generator.search_ids(
            prompt,
            np.ones_like(prompt),
            [plan.search.with_overrides(own)],
            lora=plan.lora,
            source=source,
        )
        absent = {"attention_mask"} if plan.ragged else set()
        absent |= {DECODER_PROMPT.name} - set(plan.per_request)
        read = prompt_feeds(prompt, np.ones_like(prompt), source)
        given: Arrays = {name: value for name, value in read.items() if name not in absent}
        given |= {name: np.array([[value]], _DTYPES[name]) for name, value in own.items()}
        expected = {name: getattr(answer, name) for name in plan.outputs}
        requests.append(Request(given, expected, plan.search.fill_token_id))
    return requests


def _read(
    package: Package, ids: Ids, drawn: np.random.Generator | None
) -> tuple[Ids, SourceBatch | None]:
    """Ids as prompts; of an encoder-decoder as sources, and the start token as their prompts.

    Args:
        package: which will read them.
        ids: int64 ``[B, S]``.
        drawn: draws what decoder prompts go on with; None where they are the start alone.
    """
    encoder = package.manifest.encoder
    if encoder is None:
        return ids, None
    prompt = np.full((len(ids), 1), encoder.decoder_start_token_id)
    if drawn is not None:
        more = drawn.integers(0, package.manifest.vocab_size, (len(ids), 2))
        prompt = np.concatenate([prompt, more], axis=1)
    return prompt, SourceBatch(ids, np.ones_like(ids))


def join(requests: Sequence[Request], plan: Plan) -> Arrays:
    """What Triton's backend feeds the file for requests that it joins."""
    given = [request.given for request in requests]
    feeds: Arrays = {
        name: np.concatenate([values[name] for values in given])
        if name == DECODER_PROMPT.name
        else np.concatenate([values[name].reshape(-1) for values in given])
        for name in plan.per_request
    }
    prompts = [values["input_ids"] for values in given]
    if plan.ragged:
        feeds["input_ids"] = np.concatenate([ids.reshape(-1) for ids in prompts])
        feeds[PROMPT_LENGTHS] = np.array([[ids.shape[1]] for ids in prompts], np.int32)
    else:
        feeds["input_ids"] = np.concatenate(prompts)
        feeds["attention_mask"] = np.concatenate([values["attention_mask"] for values in given])
    return feeds


def plain_requests(package: Package) -> list[Request]:
    """A request with every default, and one with settings, to the file as it is."""
    generator = Generator(package, verify=False)
    manifest = package.manifest
    ids = np.random.default_rng(0).integers(0, manifest.vocab_size, (2, 5))
    prompt, source = _read(package, ids, None)
    mask = np.ones_like(prompt)
    limits = {"max_new_tokens": checked_tokens(manifest.search, 6)}
    config = manifest.search.with_overrides({**limits, "num_return_sequences": 1})
    config = config.for_prompt(prompt.shape[1])
    if manifest.backend == "contrib":
        whole = feeds(prompt, mask, config, manifest.vocab_size)
    else:
        whole = {**prompt_feeds(prompt, mask, source), **parameter_feeds(manifest, [config])}
    whole |= LoadedLoras(package).feeds(None, 1)
    changed = {"max_new_tokens", "num_return_sequences", "max_length", DECODER_PROMPT.name}
    needed = {value.name for value in generator.session.get_inputs()}
    names = [output.name for output in generator.session.get_outputs()]
    requests = []
    for sent in (needed, needed | (changed & whole.keys())):
        given = {name: whole[name] for name in sorted(sent)}
        answer = dict(zip(names, generator.session.run(names, given), strict=True))
        known = {field.name for field in fields(BeamOutput)} & answer.keys()
        expected = {name: answer[name] for name in names if name in known}
        requests.append(Request(given, expected, config.fill_token_id))
    return requests
