"""Prompts longer than a piece: tiny models cross it several times, and stay exact."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from support.architectures import ARCHITECTURES
from support.onnx_functions import call_of, graphs

from beamgen import Generator, Package, check_parity, export, find_adapter, open_checkpoint
from beamgen.explain.run import explain
from beamgen.package.folder import open_package
from beamgen.parity.named_grids import GRIDS
from beamgen.parity.report import ParityCase
from beamgen.runtime.session import session_of
from beamgen.search import loop
from beamgen.search.traced import with_trace_outputs
from beamgen.testing import tiny_model

PIECE = 4

#: Changes of the tiny Phi-3's config.
CONFIGS: dict[str, dict[str, Any]] = {
    # a window of less than a piece, of about one, and of several
    "window 2": {"sliding_window": 2},
    "window 5": {"sliding_window": 5},
    "window 11": {"sliding_window": 11},
    "longrope": {
        "max_position_embeddings": 64,
        "original_max_position_embeddings": 16,
        "rope_scaling": {
            "type": "longrope",
            "short_factor": [1.0 + 0.05 * i for i in range(8)],
            "long_factor": [2.0 + 0.5 * i for i in range(8)],
        },
    },
}


@pytest.fixture(scope="module")
def in_pieces(
    once: Callable[..., Path], checkpoints: Callable[[str], Path]
) -> Callable[[str], tuple[Path, Package]]:
    """``in_pieces("gpt2")``: a checkpoint, and its package whose pieces have 4 tokens."""

    def make(name: str) -> tuple[Path, Package]:
        def write_checkpoint(to: Path) -> None:
            tiny = find_adapter("phi3").tiny_config()
            config = type(tiny).from_dict({**tiny.to_dict(), **CONFIGS[name]})
            tiny_model(config).save_pretrained(to)

        def write_package(to: Path) -> None:
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(loop, "PROMPT_PIECE", PIECE)
                export(checkpoint, to, parity=False)

        checkpoint = (
            once(f"pieces/{name}", write_checkpoint) if name in CONFIGS else checkpoints(name)
        )
        return checkpoint, open_package(once(f"pieces-packages/{name}", write_package))

    return make


def _cases(*lengths: int, new: int = 12, **settings: Any) -> Callable[..., list[ParityCase]]:
    """One case: prompts of these lengths, padded to the longest."""

    def grid(package: Package, likely: Any, seed: int) -> list[ParityCase]:
        rng = np.random.default_rng(lengths)
        prompts = tuple(tuple(rng.integers(3, 96, size=n).tolist()) for n in lengths)
        config = replace(
            package.manifest.search, num_return_sequences=5, max_new_tokens=new
        ).with_overrides({"eos_token_id": (2, *likely(prompts)[:1]), **settings})
        return [ParityCase("pieces", prompts, max(lengths), config)]

    return grid


@pytest.mark.parametrize(
    "name", ["gpt2", *(pytest.param(name, marks=pytest.mark.slow) for name in ("biogpt", "phi3"))]
)
def test_the_quick_grid_is_exact(
    name: str, in_pieces: Callable[[str], tuple[Path, Package]]
) -> None:
    """Batches, padding, penalties, one beam and sampling, most prompts in two or three pieces."""
    checkpoint, package = in_pieces(name)
    report = check_parity(package, open_checkpoint(checkpoint), grid=GRIDS["quick"])
    assert report.verdict == "exact", report.to_json()["partings"]
    assert max(result.case.prompt_len for result in report.results) > PIECE


def test_the_quick_grid_of_a_model_with_room_has_a_prompt_of_two_pieces(
    checkpoints: Callable[[str], Path], packages: Callable[[str], Package], tmp_path: Path
) -> None:
    """Of the length that every file has, which the tiny models are too short for."""
    config = find_adapter("phi3").tiny_config()
    config.max_position_embeddings = config.original_max_position_embeddings = 600
    tiny_model(config).save_pretrained(tmp_path / "checkpoint")
    package = export(tmp_path / "checkpoint", tmp_path / "package", parity=False).package

    def first(package: Package, likely: Any, seed: int) -> list[ParityCase]:
        cases = GRIDS["quick"](package, likely, seed)
        assert len(cases) == 12
        return cases[:1]

    report = check_parity(package, open_checkpoint(tmp_path / "checkpoint"), grid=first)
    (found,) = report.results
    assert found.case.prompt_len > loop.PROMPT_PIECE
    assert report.verdict == "exact", report.to_json()["partings"]
    report = check_parity(packages("gpt2"), open_checkpoint(checkpoints("gpt2")), grid=first)
    assert report.results[0].case.prompt_len < 20


@pytest.mark.slow
@pytest.mark.parametrize("name", ARCHITECTURES)
@pytest.mark.parametrize("grid", ["full", "settings"])
def test_the_large_grids_are_exact(
    name: str, grid: str, in_pieces: Callable[[str], tuple[Path, Package]]
) -> None:
    checkpoint, package = in_pieces(name)
    report = check_parity(package, open_checkpoint(checkpoint), grid=GRIDS[grid])
    assert report.verdict == "exact", report.to_json()["partings"]


@pytest.mark.parametrize(
    ("name", "lengths"),
    [
        ("gpt2", (33,)),
        ("biogpt", (3, 21, 20, 9)),  # whole pieces of padding
        ("phi3", (5, 4, 32)),
        ("window 2", (7, 30, 2)),
        ("window 11", (31,)),
        ("longrope", (3, 17, 26)),
        *(
            pytest.param(name, lengths, marks=pytest.mark.slow)
            for name, lengths in (
                ("window 2", (30,)),
                ("window 5", (19, 6, 28)),
                ("window 11", (1, 23)),
                ("longrope", (7,)),
                ("longrope", (4, 3)),
                ("longrope", (26,)),
            )
        ),
    ],
    ids=str,
)
def test_long_prompts_are_exact(
    name: str, lengths: tuple[int, ...], in_pieces: Callable[[str], tuple[Path, Package]]
) -> None:
    checkpoint, package = in_pieces(name)
    new = 8 if max(lengths) < 16 else 12  # on one side of LongRoPE's boundary
    report = check_parity(package, open_checkpoint(checkpoint), grid=_cases(*lengths, new=new))
    assert report.verdict == "exact", report.to_json()["partings"]


def test_factors_chosen_by_the_piece_would_be_seen(
    in_pieces: Callable[[str], tuple[Path, Package]], tmp_path: Path
) -> None:
    """LongRoPE by the positions of a piece, not of the prompt: the first pieces' are short."""
    _, package = in_pieces("longrope")
    model = onnx.load(package.model)
    function = next(f for f in model.functions if f.name == "prompt_inputs")
    largest = next(node for node in function.node if node.op_type == "ReduceMax")
    largest.input[0] = function.output[1]
    function.node.remove(largest)
    function.node.append(largest)
    (after,) = [node for node in function.node if node.output[0] == function.output[4]]
    function.node.remove(after)
    function.node.append(after)
    wrong = Generator(package, session=session_of(ir.from_proto(model), package.folder))
    right = Generator(package)
    prompt = np.random.default_rng(0).integers(3, 96, size=26).tolist()
    tokens = [
        [found.token_ids for found in generator.generate([prompt], max_new_tokens=8)[0]]
        for generator in (right, wrong)
    ]
    assert tokens[0] != tokens[1]


def test_a_search_in_pieces_is_told_as_one_in_a_whole(
    in_pieces: Callable[[str], tuple[Path, Package]], packages: Callable[[str], Package]
) -> None:
    """``explain`` reads what each step decided; a piece before the last decides nothing."""
    prompt = np.random.default_rng(1).integers(3, 96, size=14).tolist()
    told = [
        explain(package, prompt, num_beams=3, max_new_tokens=6).to_json()
        for package in (in_pieces("gpt2")[1], packages("gpt2"))
    ]
    assert _rounded(told[0]) == _rounded(told[1])


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return round(value, 3)
    if isinstance(value, dict):
        return {name: _rounded(part) for name, part in value.items()}
    return [_rounded(part) for part in value] if isinstance(value, list | tuple) else value


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_the_decoder_stands_once(name: str, packages: Callable[[str], Package]) -> None:
    """Pieces, the prompt's end and the steps go through the same nodes and weights."""
    model = onnx.load(packages(name).model)
    nodes = [node for graph in graphs(model.graph) for node in graph.node]
    layers = sum(node.op_type == "SharedPromptAttention" for node in nodes)
    assert layers == find_adapter(name).tiny_config().num_hidden_layers
    body, _ = call_of(model, "SharedPromptAttention")
    products = [node for node in nodes if node.op_type in ("MatMul", "Gemm")]
    assert all(node in list(body.node) for node in products)
    weights = [node.input[1] for node in products]
    assert len(set(weights)) == len(weights)


def test_the_trace_of_a_file_without_pieces_is_read(packages: Callable[[str], Package]) -> None:
    """As beamgen 0.1 wrote them: no value says which steps decide, because all do."""
    old = ir.load(packages("gpt2").model)
    nodes = ir.traversal.RecursiveGraphIterator(old.graph)
    (decides,) = [v for node in nodes for v in node.outputs if v.name == "chunk/decides"]
    decides.name = "chunk/another"
    told = _trace(old)
    assert told
    assert all(map(np.array_equal, told, _trace(ir.load(packages("gpt2").model))))


def _trace(model: ir.Model) -> list[np.ndarray]:
    session = session_of(with_trace_outputs(model), Path())
    names = [output.name for output in session.get_outputs() if output.name.startswith("trace/")]
    prompt = np.array([[5, 9, 7]])
    return session.run(names, {"input_ids": prompt, "attention_mask": np.ones_like(prompt)})
