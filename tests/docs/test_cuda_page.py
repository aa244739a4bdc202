"""The page of CUDA names every operator that exported files hold."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import onnx
import onnx.inliner
import pytest
from support.pages import read_page, table_below

from beamgen import Package, export
from beamgen.package.folder import MODEL

#: Gone before nodes are placed.
FOLDED = {"Constant", "CastLike"}


def _operators(graph: onnx.GraphProto) -> Iterator[str]:
    for node in graph.node:
        yield node.op_type
        for attribute in node.attribute:
            if attribute.HasField("g"):
                yield from _operators(attribute.g)


def _held(file: Path) -> set[str]:
    model = onnx.inliner.inline_local_functions(onnx.load(file))
    return set(_operators(model.graph)) - FOLDED


@pytest.fixture(scope="module")
def named() -> set[str]:
    rows = table_below(read_page("docs/cuda.md"), "Every operator")
    return {row[0].strip("`") for row in rows}


@pytest.mark.parametrize("architecture", ["gpt2", "phi3", "t5"])
def test_the_page_names_every_operator(
    architecture: str, packages: Callable[[str], Package], named: set[str]
) -> None:
    assert _held(packages(architecture).model) - named == set()


@pytest.mark.parametrize("precision", ["w16", "int8", "int4"])
def test_the_page_names_those_of_fewer_bits(
    precision: str, checkpoints: Callable[[str], Path], tmp_path: Path, named: set[str]
) -> None:
    export(checkpoints("gpt2"), tmp_path / "p", precision=precision, parity=False)
    assert _held(tmp_path / "p" / MODEL) - named == set()
