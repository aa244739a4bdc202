"""Who may import whom, and what an import may pull in."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import beamgen

ROOT = Path(__file__).parents[1]
ENGINE = sorted((ROOT / "beamgen").rglob("*.py"))
ADAPTERS = sorted((ROOT / "model_adapters").glob("*.py"))
CONTESTANTS = ROOT / "beamgen" / "benchmark" / "contestants"
HEAVY = {"torch", "transformers", "optimum", "onnxruntime", "onnx", "onnxscript", "onnx_ir"}


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


@pytest.mark.parametrize("path", ENGINE, ids=_relative)
def test_only_the_decoder_imports_optimum(path: Path) -> None:
    """And the benchmark, which runs optimum's own models."""
    if path.parent.name not in {"decoder", "contestants"}:
        assert "optimum" not in {_top(m) for m in _imports(path, lazy=True)}


@pytest.mark.parametrize("path", ENGINE, ids=_relative)
def test_two_files_import_peft(path: Path) -> None:
    if _relative(path) not in {"beamgen/lora/peft_model.py", "beamgen/training/trainer.py"}:
        assert "peft" not in {_top(m) for m in _imports(path, lazy=True)}


@pytest.mark.parametrize(
    ("consumer", "home"),
    [
        ("onnxruntime_genai", "beamgen/formats/genai/"),
        ("tritonclient", "beamgen/formats/triton/"),
        ("onnxruntime_extensions", "beamgen/text/"),
    ],
)
def test_what_runs_a_format_is_imported_in_its_own_folder(consumer: str, home: str) -> None:
    importing = [p for p in ENGINE if consumer in {_top(m) for m in _imports(p, lazy=True)}]
    assert importing
    assert all(_relative(path).startswith(home) for path in importing)


@pytest.mark.parametrize(
    ("peer", "homes"),
    [
        ("optimum.onnxruntime", {"ortmodel"}),
        ("optimum.intel", {"optimum_intel"}),
        ("ctranslate2", {"ctranslate2"}),
        ("openvino", {"openvino_genai"}),
        ("openvino_genai", {"openvino_genai"}),
        ("openvino_tokenizers", {"openvino_genai"}),
    ],
)
def test_a_peer_is_imported_in_its_contestant_s_file(peer: str, homes: set[str]) -> None:
    def imports(path: Path) -> bool:
        return any(f"{m}.".startswith(f"{peer}.") for m in _imports(path, lazy=True))

    assert {p for p in ENGINE if imports(p)} == {CONTESTANTS / f"{home}.py" for home in homes}


@pytest.mark.parametrize("path", sorted(CONTESTANTS.glob("*.py")), ids=_relative)
def test_contestants_import_libraries_in_functions(path: Path) -> None:
    allowed = sys.stdlib_module_names | {"beamgen"}
    assert {_top(module) for module in _imports(path, lazy=False)} <= allowed


@pytest.mark.parametrize("path", [p for p in ENGINE if p.parent.name == "search"], ids=_relative)
def test_search_never_imports_torch_or_transformers(path: Path) -> None:
    assert not {_top(m) for m in _imports(path, lazy=True)} & {"torch", "transformers"}


@pytest.mark.parametrize(
    "module",
    [
        "runtime",
        "package",
        "search_config",
        "errors",
        "registry",
        "contrib_op",
        "contrib_io",
        "beam_output",
        "folders",
        "lora/adapter_file",
        "lora/fit",
        "lora/pairs",
        "lora/slots",
    ],
)
def test_what_runs_a_package_never_imports_torch(module: str) -> None:
    imported = {_top(m) for m in _imports(ROOT / "beamgen" / f"{module}.py", lazy=True)}
    assert not imported & {"torch", "onnx_ir", "onnxscript", "optimum"}


def test_the_model_of_the_operators_is_numpy_alone() -> None:
    imported = set(_imports(ROOT / "beamgen" / "parity" / "op_rule.py", lazy=True))
    others = {_top(module) for module in imported} - sys.stdlib_module_names
    assert others == {"numpy", "beamgen"}


@pytest.mark.parametrize("path", [p for p in ENGINE if p.parent.name == "cli"], ids=_relative)
def test_the_command_line_is_a_user_of_the_public_names(path: Path) -> None:
    allowed = {"click", "rich", "beamgen", "beamgen.cli", "beamgen.errors"}
    for module in _imports(path, lazy=True):
        standard = _top(module) in sys.stdlib_module_names
        assert standard or _top(module) == "rich" or module in allowed, module


@pytest.mark.parametrize("path", ADAPTERS, ids=_relative)
def test_adapters_import_little(path: Path) -> None:
    allowed = {"beamgen.adapter", "beamgen.registry"}
    for module in _imports(path, lazy=False):
        assert _top(module) in sys.stdlib_module_names or module in allowed, module
    for module in _imports(path, lazy=True):
        assert _top(module) != "beamgen" or module in allowed, module


@pytest.mark.parametrize("path", ENGINE, ids=_relative)
def test_the_engine_knows_no_architecture_by_name(path: Path) -> None:
    """No identifier or value of the code; docstrings and help texts may give examples."""
    names = {a.name for a in beamgen.adapters()} | {
        name for a in beamgen.adapters() for name in a.class_names
    }
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            assert node.value not in names, node.value
        elif isinstance(node, ast.Name | ast.Attribute):
            word = node.id if isinstance(node, ast.Name) else node.attr
            assert word not in names, word


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
    probe = f"{code}\nimport sys; sys.stderr.write(' '.join(sys.modules))"
    result = subprocess.run([sys.executable, "-c", probe], text=True, capture_output=True)
    assert result.returncode == 0, result.stderr
    assert not {_top(m) for m in result.stderr.split()} & HEAVY


def test_every_public_name_is_there() -> None:
    for name in beamgen.__all__:
        assert getattr(beamgen, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        beamgen.nonsense  # noqa: B018 - the access is the test
