"""The README's commands and programs run, in the order in which they stand there."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.warm_commands import warm_commands

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
#: Of ONNX Runtime's and CMake's, in the pages for C++.
BUILD_NAMES = {"ORT_ROOT", "DORT_ROOT", "DCMAKE_BUILD_TYPE"}
BLOCK = re.compile(r"^```(\w+)(?: file=(\S+))?\n(.*?)^```", re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def warm() -> Iterator[Path]:
    with warm_commands() as folder:
        yield folder


def _environment(*paths: Path, warm: Path | None = None) -> dict[str, str]:
    binaries = str(Path(sys.executable).parent)
    front = [str(warm), binaries] if warm else [binaries]
    return {
        **os.environ,
        "PATH": os.pathsep.join([*front, os.environ["PATH"]]),
        "PYTHONPATH": os.pathsep.join(map(str, paths)),
    }


@pytest.mark.parametrize(
    ("page", "shells", "raw"),
    [
        ("README.md", 9, 1),
        pytest.param("docs/from-convert_generation.md", 1, 1, marks=pytest.mark.slow),
        pytest.param("docs/inspect-explain.md", 2, 0, marks=pytest.mark.slow),
        pytest.param("docs/lora.md", 3, 1, marks=pytest.mark.slow),
        pytest.param("docs/quantization.md", 1, 0, marks=pytest.mark.slow),
        pytest.param("docs/text-in-text-out.md", 1, 1, marks=pytest.mark.slow),
    ],
)
def test_the_usage_blocks_run_in_a_clean_folder(
    page: str, shells: int, raw: int, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """As many blocks as are expected, and programs of ONNX Runtime alone among them."""
    # one page in processes of its own, as users have it; the others without their imports
    cold = page == "docs/from-convert_generation.md"
    environment = _environment(warm=None if cold else request.getfixturevalue("warm"))
    text = (ROOT / page).read_text(encoding="utf-8")
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    usage = [(language, code) for language, file, code in BLOCK.findall(text) if not file]
    shell = [code for language, code in usage if language == "sh"]
    # one session: a later block uses what an earlier one made
    python = "\n".join(code for language, code in usage if language == "python")
    assert (len(shell), python.count("import onnxruntime\n")) == (shells, raw)
    for language, code in [*(("sh", code) for code in shell), ("python", python)]:
        program = ["bash", "-euo", "pipefail", "-c"] if language == "sh" else [sys.executable, "-c"]
        result = subprocess.run(
            [*program, code], cwd=tmp_path, text=True, capture_output=True, env=environment
        )
        assert result.returncode == 0, f"{code}\n{result.stdout}\n{result.stderr}"
        assert result.stdout


def test_every_option_of_convert_generation_is_mapped() -> None:
    """Read from the installed script, so that a new one does not go unnoticed."""
    import onnxruntime

    script = Path(onnxruntime.__file__).parent / "transformers" / "convert_generation.py"
    source = script.read_text(encoding="utf-8")
    parser = source[source.index("def parse_arguments") : source.index("parser.parse_args")]
    options = re.findall(r'"(--\w+)"', parser)
    page = (ROOT / "docs" / "from-convert_generation.md").read_text(encoding="utf-8")
    assert len(options) > 40
    assert [option for option in options if option not in page] == []


def test_what_generate_prints_is_what_transformers_prints(tmp_path: Path) -> None:
    """The README's own prompt, on the README's own package."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from beamgen import Generator, export, find_adapter

    export(None, tmp_path / "biogpt", model_class="BioGptModel", settings={"num_beams": 5})
    found = Generator(tmp_path / "biogpt").generate("aspirin is")[0][0].text
    demo = find_adapter("BioGptModel").demo
    tokenizer = AutoTokenizer.from_pretrained(demo)
    model = AutoModelForCausalLM.from_pretrained(demo).eval()
    output = model.generate(
        **tokenizer("aspirin is", return_tensors="pt"), num_beams=5, max_new_tokens=64
    )
    assert found == tokenizer.decode(output[0], skip_special_tokens=True)


def test_the_architecture_shown_is_found_and_conforms(tmp_path: Path) -> None:
    """Its files, as they stand in the README, as an installed distribution."""
    files = {file: code for _, file, code in BLOCK.findall(README) if file}
    assert set(files) == {"my_adapters/llama.py", "pyproject.toml", "test_llama.py"}
    for file, code in files.items():
        (tmp_path / file).parent.mkdir(exist_ok=True)
        (tmp_path / file).write_text(code, encoding="utf-8")
    subprocess.run(
        [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation",
         "--target", str(tmp_path / "site"), str(tmp_path)],
        check=True,
    )  # fmt: skip
    site = _environment(tmp_path / "site")
    listed = subprocess.run(
        [sys.executable, "-m", "beamgen", "list"], text=True, capture_output=True, env=site
    )
    assert "LlamaForCausalLM" in listed.stdout, listed.stderr
    tested = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_llama.py"],
        cwd=tmp_path,
        text=True,
        capture_output=True,
        env=site,
    )
    assert tested.returncode == 0, tested.stdout + tested.stderr


@pytest.mark.parametrize("target", ["demo", "test", "check", "slow", "bench"])
def test_the_makefile_has_the_targets_that_the_texts_name(target: str) -> None:
    result = subprocess.run(["make", "--dry-run", target], cwd=ROOT, text=True, capture_output=True)
    assert result.returncode == 0, result.stderr


def test_no_figure_is_left_to_be_filled_in() -> None:
    for page in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]:
        names = re.findall(r"\b[A-Z]{3,}_[A-Z_]+\b", page.read_text(encoding="utf-8"))
        assert not set(names) - BUILD_NAMES, page


def test_every_link_to_a_file_leads_somewhere() -> None:
    for page in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")]:
        for link in re.findall(r"\]\(([^)#]+)", page.read_text(encoding="utf-8")):
            if "://" not in link:
                assert (page.parent / link).exists(), f"{page.name}: {link}"
