"""An extra that a message names brings what is missing."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path

import pytest

from beamgen import Package
from beamgen.errors import extra_with

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
DISTRIBUTIONS = metadata.packages_distributions()


def _names(requirements: list[str]) -> set[str]:
    found = (re.match(r"[\w.-]+", requirement) for requirement in requirements)
    return {match[0].lower().replace("_", "-") for match in found if match}


BASE = _names(PROJECT["dependencies"])
EXTRAS = {extra: _names(wanted) for extra, wanted in PROJECT["optional-dependencies"].items()}


def _raised() -> Iterator[tuple[str, ast.Call, ast.Try | None]]:
    """Each ``MissingExtraError(...)`` with the module and the ``try`` in which it stands."""

    def visit(node: ast.AST, around: ast.Try | None) -> Iterator[tuple[ast.Call, ast.Try | None]]:
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "MissingExtraError":
            yield node, around
        for child in ast.iter_child_nodes(node):
            yield from visit(child, node if isinstance(node, ast.Try) else around)

    for path in sorted((ROOT / "beamgen").rglob("*.py")):
        for call, around in visit(ast.parse(path.read_text(encoding="utf-8")), None):
            yield path.relative_to(ROOT).with_suffix("").as_posix(), call, around


RAISED = list(_raised())
assert RAISED


def _modules(statements: list[ast.stmt]) -> Iterator[str]:
    """What they import as they run: not in functions, not for types."""
    for statement in statements:
        if isinstance(statement, ast.Import):
            yield from (alias.name for alias in statement.names)
        elif isinstance(statement, ast.ImportFrom):
            yield statement.module or ""
            yield from (f"{statement.module}.{alias.name}" for alias in statement.names)


def _needed(statements: list[ast.stmt], seen: set[str]) -> set[str]:
    """Modules of other libraries that are loaded then, by beamgen's own, too."""
    needed = set()
    for module in _modules(statements):
        top = module.partition(".")[0]
        if top != "beamgen" and top not in sys.stdlib_module_names:
            needed.add(top)
        for file in (f"{module.replace('.', '/')}.py", f"{module.replace('.', '/')}/__init__.py"):
            if top == "beamgen" and (ROOT / file).is_file() and file not in seen:
                seen.add(file)
                needed |= _needed(ast.parse((ROOT / file).read_text(encoding="utf-8")).body, seen)
    return needed


def _is_brought(module: str, extra: str) -> bool:
    """By the extra or the base install; a library of several distributions by any of them."""
    named = {name.lower().replace("_", "-") for name in DISTRIBUTIONS.get(module, [module])}
    return bool((named | {module.replace("_", "-")}) & (BASE | EXTRAS[extra]))


@pytest.mark.parametrize(
    ("call", "around"),
    [pytest.param(call, around, id=f"{where}:{call.lineno}") for where, call, around in RAISED],
)
def test_the_extra_that_is_named_brings_what_is_missing(
    call: ast.Call, around: ast.Try | None
) -> None:
    _, extra, missing = call.args
    if not isinstance(extra, ast.Constant):
        assert ast.unparse(extra) == "extra"  # found by ``extra_with``, see below
        return
    assert extra.value in EXTRAS
    if isinstance(missing, ast.Constant):
        assert missing.value in EXTRAS[extra.value]
    for module in _needed(around.body, set()) if around else ():
        assert _is_brought(module, extra.value), module


def test_of_two_extras_the_smaller_is_found() -> None:
    assert extra_with("sacremoses") == "biogpt"
    assert extra_with("onnxscript") == min(
        (extra for extra, wanted in EXTRAS.items() if "onnxscript" in wanted),
        key=lambda extra: len(EXTRAS[extra]),
    )
    assert extra_with("click") is None
    assert extra_with("nonsense") is None


#: What a base install lacks.
ABSENT = [
    *("accelerate", "onnxscript", "optimum", "peft"),
    *("sacremoses", "sentencepiece", "torch", "transformers"),
]


def _run_without_extras(code: str) -> None:
    assert not set(ABSENT) & BASE
    code = f"import sys; sys.modules |= dict.fromkeys({ABSENT})\n{code}"
    result = subprocess.run([sys.executable, "-c", code], text=True, capture_output=True)
    assert result.returncode == 0, result.stderr


def test_every_public_name_is_there_without_extras() -> None:
    _run_without_extras(
        "import beamgen\nfor name in beamgen.__all__: assert getattr(beamgen, name) is not None"
    )


def test_a_package_is_generated_from_explained_and_described_without_extras(
    packages: Callable[[str], Package],
) -> None:
    folder = str(packages("gpt2").folder)
    _run_without_extras(
        "import beamgen\n"
        "from beamgen.formats.web.graph import web_graph\n"
        f"package = beamgen.open_package({folder!r})\n"
        "assert beamgen.Generator(package).generate([[5, 6, 7]], max_new_tokens=3)\n"
        "assert beamgen.explain(package, [5, 6, 7], max_new_tokens=3).steps\n"
        f"assert beamgen.describe({folder!r}).functions\n"
        "assert web_graph(package)"
    )
