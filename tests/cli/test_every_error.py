"""Every error of the source has a cause and a cure in a line each, and names what there is."""

from __future__ import annotations

import ast
import inspect
import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from beamgen import errors
from beamgen.settings.hf_fields import REFUSED
from beamgen.settings.table import BY_NAME

ROOT = Path(__file__).parents[2]

KINDS = {
    name
    for name, kind in vars(errors).items()
    if inspect.isclass(kind) and issubclass(kind, errors.BeamgenError)
}
EXTRAS = set(
    tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
)


@dataclass(frozen=True)
class Raised:
    """A call of an error's constructor, or of what takes its cause and cure."""

    place: str
    kind: str
    arguments: tuple[ast.expr, ...]

    def __str__(self) -> str:
        return self.place


def _raised() -> Iterator[Raised]:
    for path in sorted((ROOT / "beamgen").rglob("*.py")):
        module = path.relative_to(ROOT / "beamgen").as_posix()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call):
                name = getattr(node.func, "attr", getattr(node.func, "id", ""))
                if name in KINDS:
                    place = f"{module}:{node.lineno}"
                    yield Raised(place, name, (*node.args, *(k.value for k in node.keywords)))


RAISED = list(_raised())


def _texts(node: ast.expr) -> list[str]:
    """What an expression may be, of each branch; ``{}`` is what is put in."""
    if isinstance(node, ast.IfExp):
        return _texts(node.body) + _texts(node.orelse)
    if isinstance(node, ast.BoolOp):
        return [text for value in node.values for text in _texts(value)]
    if isinstance(node, ast.BinOp):
        pairs = zip(_texts(node.left) or ["{}"], _texts(node.right) or ["{}"], strict=False)
        return ["".join(pair) for pair in pairs]
    if isinstance(node, ast.JoinedStr):
        parts = [p.value if isinstance(p, ast.Constant) else "{}" for p in node.values]
        return ["".join(map(str, parts))]
    return [node.value] if isinstance(node, ast.Constant) and isinstance(node.value, str) else []


CURES = [
    (raised, text)
    for raised in RAISED
    if raised.kind != "MissingExtraError" and len(raised.arguments) > 1
    for text in _texts(raised.arguments[1])
]


def test_the_source_is_walked() -> None:
    assert {"BeamgenError", "CheckpointError", "LoraError", "MissingExtraError"} <= KINDS
    assert len(RAISED) > 150
    assert len(CURES) > 120


@pytest.mark.parametrize("raised", RAISED, ids=str)
def test_an_error_has_a_cause_and_a_cure(raised: Raised) -> None:
    wanted = 3 if raised.kind == "MissingExtraError" else 2
    starred = any(isinstance(argument, ast.Starred) for argument in raised.arguments)
    assert starred or len(raised.arguments) == wanted


@pytest.mark.parametrize(("raised", "cure"), CURES, ids=lambda value: str(value)[:60])
def test_a_cure_is_a_line_that_says_what_to_do(raised: Raised, cure: str) -> None:
    assert "\n" not in cure
    assert len(cure.strip()) > 3, "nothing to do"
    assert not cure.endswith("."), "cures are no sentences with a full stop"
    for extra in re.findall(r"beamgen\[([^\]]+)\]", cure):
        assert extra == "{}" or set(extra.split(",")) <= EXTRAS
    for name in re.findall(r"--set '?(\w+)=", cure):
        # an encoder-decoder's own, which is no input of the file
        known = {*BY_NAME, *REFUSED, "decoder_start_token_id"}
        assert name in known, f"--set {name}"


def test_every_extra_that_an_error_names_is_there() -> None:
    named = [
        (raised, text)
        for raised in RAISED
        if raised.kind == "MissingExtraError" and len(raised.arguments) > 1
        for text in _texts(raised.arguments[1])
    ]
    assert len(named) > 5
    for raised, extra in named:
        assert extra in EXTRAS, raised
