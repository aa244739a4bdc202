"""The commands and programs of README and docs run, in the order in which they stand there."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from support.pages import ROOT, blocks, read_page
from support.warm_commands import warm_commands

from beamgen import export


@dataclass(frozen=True)
class Page:
    """A page, and what is expected of it.

    Attributes:
        name: its path.
        shells: blocks of commands in it.
        programs: blocks of Python in it.
        demo: whether it says that it uses the package of the page "Start".
    """

    name: str
    shells: int
    programs: int
    demo: bool = False


#: What ``make test`` runs.
QUICK = [
    Page("README.md", 2, 1),
    Page("docs/generate.md", 2, 3, demo=True),
    Page("docs/ci.md", 1, 0, demo=True),
]
SLOW = [
    Page("docs/start.md", 3, 2),
    Page("docs/adding-an-architecture.md", 1, 0),
    Page("docs/deploy.md", 1, 0),
    Page("docs/how-it-works.md", 1, 9),
    Page("docs/finetune.md", 1, 0),
    Page("docs/settings.md", 2, 1, demo=True),
    Page("docs/batch.md", 1, 1, demo=True),
    Page("docs/constraints.md", 2, 1),
    Page("docs/encoder-decoder.md", 2, 1),
    Page("docs/export.md", 1, 1),
    Page("docs/parity.md", 1, 1, demo=True),
    Page("docs/from-convert_generation.md", 1, 1),
    Page("docs/genai.md", 1, 1),
    Page("docs/inspect-explain.md", 2, 1),
    Page("docs/lora.md", 3, 2),
    Page("docs/quantization.md", 1, 0),
    Page("docs/speech.md", 1, 1),
    Page("docs/text-in-text-out.md", 1, 2),
    Page("docs/transformers.md", 1, 0),
]
#: In processes of its own, as users have it; the others without their imports.
COLD = "docs/from-convert_generation.md"


@pytest.fixture(scope="module")
def warm() -> Iterator[Path]:
    with warm_commands() as folder:
        yield folder


@pytest.fixture(scope="module")
def demo(once: Callable[..., Path]) -> Path:
    """The package that ``beamgen export --model-class BioGptModel --num-beams 5`` writes."""
    options = {"model_class": "BioGptModel", "settings": {"num_beams": 5}, "parity": False}
    return once("docs/biogpt-onnx", lambda to: export(None, to, **options))


def _environment(*paths: Path, warm: Path | None = None) -> dict[str, str]:
    binaries = str(Path(sys.executable).parent)
    front = [str(warm), binaries] if warm else [binaries]
    return {
        **os.environ,
        "PATH": os.pathsep.join([*front, os.environ["PATH"]]),
        "PYTHONPATH": os.pathsep.join(map(str, [*paths, ROOT])),
    }


@pytest.mark.parametrize(
    "page",
    [*QUICK, *(pytest.param(page, marks=pytest.mark.slow) for page in SLOW)],
    ids=lambda page: page.name,
)
def test_a_page_runs_in_a_clean_folder(
    page: Page, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """As many blocks as are expected; first the commands, then the programs in one session."""
    shells = [block.code for block in blocks(page.name, "sh")]
    programs = [block.code for block in blocks(page.name, "python")]
    assert (len(shells), len(programs)) == (page.shells, page.programs)
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    if page.demo:
        shutil.copytree(request.getfixturevalue("demo"), tmp_path / "biogpt-onnx")
    warm = None if page.name == COLD else request.getfixturevalue("warm")
    runs = [["bash", "-euo", "pipefail", "-c", code] for code in shells]
    if programs:
        runs.append([sys.executable, "-c", "\n".join(programs)])
    for run in runs:
        result = subprocess.run(
            run, cwd=tmp_path, text=True, capture_output=True, env=_environment(warm=warm)
        )
        assert result.returncode == 0, f"{run[-1]}\n{result.stdout}\n{result.stderr}"
        assert result.stdout


def test_every_page_with_commands_is_run() -> None:
    """A page with an ``sh`` block that no test runs promises what nobody holds."""
    written = {
        page.relative_to(ROOT).as_posix()
        for page in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]
        if list(blocks(page.relative_to(ROOT).as_posix(), "sh"))
    }
    assert written == {page.name for page in [*QUICK, *SLOW]}


def test_every_option_of_convert_generation_is_mapped() -> None:
    """Read from the installed script, so that a new one does not go unnoticed."""
    import onnxruntime

    script = Path(onnxruntime.__file__).parent / "transformers" / "convert_generation.py"
    source = script.read_text(encoding="utf-8")
    parser = source[source.index("def parse_arguments") : source.index("parser.parse_args")]
    options = re.findall(r'"(--\w+)"', parser)
    page = read_page("docs/from-convert_generation.md")
    assert len(options) > 40
    assert [option for option in options if option not in page] == []


def test_what_generate_prints_is_what_transformers_prints(tmp_path: Path) -> None:
    """The README's own prompt, on the README's own package."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from beamgen import Generator, find_adapter

    export(None, tmp_path / "biogpt", model_class="BioGptModel", settings={"num_beams": 5})
    found = Generator(tmp_path / "biogpt").generate("aspirin is")[0][0].text
    demo = find_adapter("BioGptModel").demo
    tokenizer = AutoTokenizer.from_pretrained(demo)
    model = AutoModelForCausalLM.from_pretrained(demo).eval()
    output = model.generate(
        **tokenizer("aspirin is", return_tensors="pt"), num_beams=5, max_new_tokens=64
    )
    assert found == tokenizer.decode(output[0], skip_special_tokens=True)


@pytest.mark.slow
def test_the_architecture_shown_is_found_and_conforms(tmp_path: Path) -> None:
    """Its files, as they stand in the page, as an installed distribution."""
    files = {
        block.title: block.code
        for language in ("python", "toml")
        for block in blocks("docs/adding-an-architecture.md", language, titled=True)
    }
    assert set(files) == {
        "my_adapters/olmo.py", "my_adapters/refused.py", "pyproject.toml", "test_olmo.py"
    }  # fmt: skip
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
    assert "OlmoForCausalLM" in listed.stdout, "no adapter of beamgen's own: " + listed.stderr
    assert not listed.stderr
    tested = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_olmo.py"],
        cwd=tmp_path,
        text=True,
        capture_output=True,
        env=site,
    )
    assert tested.returncode == 0, tested.stdout + tested.stderr
