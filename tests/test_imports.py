"""What an import may pull in, where the contracts in pyproject.toml cannot say it."""

from __future__ import annotations

import ast
import functools
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import beamgen

ROOT = Path(__file__).parents[1]
HEAVY = {"torch", "transformers", "optimum", "onnxruntime", "onnx", "onnxscript", "onnx_ir"}


def _files(folder: str) -> list[Path]:
    """Of one folder with all below it, which is there and not empty."""
    found = sorted((ROOT / folder).rglob("*.py"))
    assert found, folder
    return found


def _imports(path: Path, *, lazy: bool) -> Iterator[str]:
    """Modules a file imports; type-checking blocks never count, functions if ``lazy``."""

    def visit(node: ast.AST) -> Iterator[str]:
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            return
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and not lazy:
            return
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or ""
        for child in ast.iter_child_nodes(node):
            yield from visit(child)

    yield from visit(ast.parse(path.read_text(encoding="utf-8")))


def _top(module: str) -> str:
    return module.partition(".")[0]


def _relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


# Import-linter sees distributions' first names only, and these two share theirs.
@pytest.mark.parametrize(
    ("peer", "home"), [("optimum.onnxruntime", "ortmodel"), ("optimum.intel", "optimum_intel")]
)
def test_a_peer_is_imported_in_its_contestant_s_file(peer: str, home: str) -> None:
    def imports(path: Path) -> bool:
        return any(f"{m}.".startswith(f"{peer}.") for m in _imports(path, lazy=True))

    importing = [_relative(path) for path in _files("beamgen") if imports(path)]
    assert importing == [f"beamgen/bench/contestants/{home}.py"]


# All are listed, whichever libraries are installed.
@pytest.mark.parametrize("path", _files("beamgen/bench/contestants"), ids=_relative)
def test_contestants_import_libraries_in_functions(path: Path) -> None:
    allowed = sys.stdlib_module_names | {"beamgen"}
    assert {_top(module) for module in _imports(path, lazy=False)} <= allowed


# A contract says what may not be imported; here it is all but NumPy.
@pytest.mark.parametrize("name", ["rule", "rule_scores"])
def test_the_rule_of_the_operators_is_numpy_alone(name: str) -> None:
    imported = set(_imports(ROOT / "beamgen" / "parity" / "contrib" / f"{name}.py", lazy=True))
    others = {_top(module) for module in imported} - sys.stdlib_module_names
    assert others == {"numpy", "beamgen"}


# It is the first user of the API: what it needs and cannot import, others cannot either.
@pytest.mark.parametrize("path", _files("beamgen/cli"), ids=_relative)
def test_the_command_line_is_a_user_of_the_public_names(path: Path) -> None:
    allowed = {"click", "rich", "beamgen", "beamgen.cli", "beamgen.errors"}
    for module in _imports(path, lazy=True):
        standard = _top(module) in sys.stdlib_module_names
        own = _top(module) == "rich" or module.startswith("beamgen.cli.")
        assert standard or own or module in allowed, module


# An adapter of somebody else's has no more to build on.
@pytest.mark.parametrize("path", _files("model_adapters"), ids=_relative)
def test_adapters_import_little(path: Path) -> None:
    allowed = {"beamgen.adapter", "beamgen.seq2seq_adapter", "beamgen.errors", "beamgen.registry"}
    # what several share, which is held to the same
    allowed |= {
        f"model_adapters.{path.stem}"
        for path in _files("model_adapters")
        if path.stem.startswith("_")
    }
    for module in _imports(path, lazy=False):
        assert _top(module) in sys.stdlib_module_names or module in allowed, module
    for module in _imports(path, lazy=True):
        assert _top(module) != "beamgen" or module in allowed, module


#: An architecture's name in other libraries' words, which the code has to use.
FOREIGN = {"_set_bert_normalizer", "fix_mistral_regex", "m2m100", "Whisper"}
#: HF's type of any two models joined, which is the word for all that have an encoder, too.
GENERAL = {"encoder-decoder", "encoder_decoder"}
#: In these, help texts show what may be typed.
SHOWN = re.compile(r"^beamgen/(cli/\w+|formats/\w+/command)\.py$")


@functools.cache
def _architectures() -> re.Pattern[str]:
    """Any name that an adapter has, whatever its case, as words of their own."""
    adapters = beamgen.adapters()
    names = {n for a in adapters for n in (a.name, a.model_type, *a.class_names)} - GENERAL
    names |= {re.sub(r"[-_]", "", name) for name in names}
    any_of_them = "|".join(sorted(map(re.escape, names), key=len, reverse=True))
    return re.compile(rf"(?<![a-z0-9])(?:{any_of_them})(?![a-z0-9])", re.IGNORECASE)


def _documentation(tree: ast.AST) -> set[ast.AST]:
    """The docstrings: texts that stand by themselves."""
    return {
        n.value
        for n in ast.walk(tree)
        if isinstance(n, ast.Expr) and isinstance(n.value, ast.Constant)
    }


def _words(node: ast.AST) -> str:
    """What a node says: the value of a text, or its identifiers."""
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, str) else ""
    fields = ("id", "attr", "name", "arg", "asname", "module")
    said = (getattr(node, field, None) for field in fields)
    return " ".join(word for word in said if isinstance(word, str))


@pytest.mark.parametrize("path", _files("beamgen"), ids=_relative)
def test_the_engine_knows_no_architecture_by_name(path: Path) -> None:
    """No identifier and no text of the code; docstrings and help texts may give examples."""
    known, tree = _architectures(), ast.parse(path.read_text(encoding="utf-8"))
    documented = _documentation(tree)
    for node in ast.walk(tree):
        words = _words(node)
        if node in documented or words in FOREIGN:
            continue
        if isinstance(node, ast.Constant) and SHOWN.match(_relative(path)):
            words = "" if " " in words.strip() else words
        assert not known.search(words), words


def test_names_of_architectures_are_seen() -> None:
    known = _architectures()
    for word in ("GPT2LMHeadModel", "is_gpt2", "openai-gpt", "openai_gpt", "the Llama way", "opt"):
        assert known.search(word), word
    for word in ("option", "philox", "bertrand", "adopt"):
        assert not known.search(word), word


@pytest.mark.parametrize(
    "code",
    [
        "import beamgen",
        "from beamgen import BeamgenError, DecoderAdapter, register, adapters; adapters()",
        "from beamgen.cli import main\ntry: main(['--help'])\nexcept SystemExit: pass",
        "from beamgen.cli import main\ntry: main(['list'])\nexcept SystemExit: pass",
        "from beamgen.cli import main\ntry: main(['export', '--help'])\nexcept SystemExit: pass",
        "from beamgen.cli import main\ntry: main(['finetune', '--help'])\nexcept SystemExit: pass",
        "from beamgen.cli import main\ntry: main(['bench', '--help'])\nexcept SystemExit: pass",
        "from beamgen import CONTESTANTS",
        "from beamgen.cli import main\ntry: main(['lora', '--help'])\nexcept SystemExit: pass",
    ],
)
def test_looking_around_imports_nothing_heavy(code: str) -> None:
    assert not _loaded_by(code) & HEAVY


# Contracts read imports; this is what they do, those of parents' __init__ included.
@pytest.mark.parametrize(
    ("module", "needs"),
    [
        ("beamgen.parity.contrib.rule", set()),
        ("beamgen.runtime.generator", set()),
        ("beamgen.search.traced", {"onnx", "onnx_ir"}),
        ("beamgen.search.loop", {"onnx", "onnx_ir", "onnxscript"}),
    ],
)
def test_a_module_loads_no_heavy_library_but(module: str, needs: set[str]) -> None:
    assert _loaded_by(f"import {module}") & HEAVY == needs


def _loaded_by(code: str) -> set[str]:
    """First names of the modules that a fresh process has loaded in the end."""
    probe = f"{code}\nimport sys; sys.stderr.write(' '.join(sys.modules))"
    result = subprocess.run([sys.executable, "-c", probe], text=True, capture_output=True)
    assert result.returncode == 0, result.stderr
    return {_top(module) for module in result.stderr.split()}


def test_every_public_name_is_there() -> None:
    for name in beamgen.__all__:
        assert getattr(beamgen, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        beamgen.nonsense  # noqa: B018 - the access is the test
