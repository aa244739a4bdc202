"""examples/cpp and examples/csharp, built as docs/native.md says, give what Generator gives."""

from __future__ import annotations

import base64
import hashlib
import os
import re
import shutil
import subprocess
import tarfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import onnxruntime
import pytest
from support.architectures import ARCHITECTURES
from support.peft_folders import save_lora

from beamgen import Generator, Package, export

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"

#: ONNX Runtime 1.29 for Unity: the one package of npm, PyPI and Debian that has the headers.
HEADERS = "com.github.asus4.onnxruntime@0.4.9"
SHA512 = "BkzxduSZ9IkeDP6Q8lz2TFU2ie7hSSvS7ZIfzMooExoq0CNzJnuuGaUJ7IsojBgqO4ouD1jXah8OYyJbCN29Fg=="

IDS = [[5, 6, 7], [11], [20, 3, 8, 9]]
LANGUAGES = ("cpp", "csharp")

Run = Callable[..., subprocess.CompletedProcess[str]]


def _run(command: str, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", "-euo", "pipefail", "-c", command],
        cwd=folder,
        text=True,
        capture_output=True,
        env={**os.environ, **environment},
    )


def _needs(*programs: str) -> None:
    for program in programs:
        if shutil.which(program) is None:
            pytest.skip(f"there is no {program} on this machine")


def _documented(program: str) -> str:
    """The line of docs/native.md that begins with a program's name."""
    page = (ROOT / "docs" / "native.md").read_text(encoding="utf-8").replace("\\\n", " ")
    (line,) = re.findall(rf"^{program} .*$", page, re.MULTILINE)
    return str(line)


@pytest.fixture(scope="session")
def ort_root(once: Callable[..., Path]) -> Path:
    """``$ORT_ROOT``, or the headers of a package of npm's beside the wheel's own library."""
    if "ORT_ROOT" in os.environ:
        return Path(os.environ["ORT_ROOT"])
    _needs("npm")
    libraries = [*(Path(onnxruntime.__file__).parent / "capi").glob("libonnxruntime.so.*")]
    if not libraries:
        pytest.skip("this onnxruntime wheel has no libonnxruntime.so, and ORT_ROOT is not set")

    def write(folder: Path) -> None:
        (folder / "lib").mkdir(parents=True)
        for name in ("libonnxruntime.so", "libonnxruntime.so.1"):
            (folder / "lib" / name).symlink_to(libraries[0])
        (folder / "outcome").write_text(_write_headers(folder))

    folder = once("native/onnxruntime", write)
    if reason := (folder / "outcome").read_text():
        pytest.skip(reason)
    return folder


def _write_headers(folder: Path) -> str:
    """Why there are none, or nothing."""
    done = _run(f"npm pack --silent --fetch-retries=1 {HEADERS}", folder)
    if done.returncode:
        return f"npm cannot get {HEADERS}: " + " ".join(done.stderr.split())[:300]
    packed = folder / done.stdout.split()[-1]
    with packed.open("rb") as file:
        digest = hashlib.file_digest(file, "sha512").digest()
    assert base64.b64encode(digest).decode() == SHA512
    (folder / "include").mkdir()
    with tarfile.open(packed) as archive:
        for member in archive:
            path = Path(member.name)
            if "ios-arm64" in path.parts and path.suffix == ".h":
                content = archive.extractfile(member)
                assert content is not None
                (folder / "include" / path.name).write_bytes(content.read())
    packed.unlink()  # 150 MB
    return ""


@pytest.fixture(scope="session")
def cpp(once: Callable[..., Path], ort_root: Path) -> list[str]:
    """The C++ program, built by the documented line with every warning an error."""
    _needs("g++")

    def write(folder: Path) -> None:
        shutil.copytree(EXAMPLES / "cpp", folder)
        strict = " -O0 -Wall -Wextra -Wpedantic -Werror"
        done = _run(_documented(r"g\+\+") + strict, folder, ORT=str(ort_root))
        assert (done.returncode, done.stderr) == (0, "")

    return [str(once("native/cpp", write) / "generate")]


@pytest.fixture(scope="session")
def csharp(once: Callable[..., Path]) -> list[str]:
    """The C# program, for the .NET that is there, with every warning an error."""
    _needs("dotnet")

    def write(folder: Path) -> None:
        shutil.copytree(EXAMPLES / "csharp", folder)
        major = int(_run("dotnet --version", folder).stdout.split(".")[0])
        framework = f"net{major}.0" if major >= 5 else "netcoreapp3.1"
        strict = f" -o built -p:TargetFramework={framework} -p:TreatWarningsAsErrors=true"
        done = _run(_documented("dotnet build") + strict, folder)
        unreachable = re.search(r"error (NU1101|NU1102|NU1301)[^\n]*", done.stdout)
        assert unreachable or done.returncode == 0, done.stdout
        reason = f"NuGet has no Microsoft.ML.OnnxRuntime here: {unreachable}" if unreachable else ""
        (folder / "outcome").write_text(reason)

    folder = once("native/csharp", write)
    if reason := (folder / "outcome").read_text():
        pytest.skip(reason)
    return ["dotnet", str(folder / "built" / "generate.dll")]


@pytest.fixture
def run(request: pytest.FixtureRequest) -> Run:
    """``run(model, "5 6 7", "--seed", 1)`` in a language."""
    program: list[str] = request.getfixturevalue(request.param)
    return lambda *arguments: subprocess.run(
        [*program, *map(str, arguments)], text=True, capture_output=True
    )


in_each_language = pytest.mark.parametrize("run", LANGUAGES, indirect=True)


def _check(run: Run, generator: Generator, prompts: Sequence[list[int]], **settings: Any) -> Any:
    """Compare a program's lines with Generator, and return the latter's hypotheses."""
    lora = settings.pop("lora", None)
    expected = generator.generate(list(prompts), lora=lora, **settings)
    options = [
        part
        for name, value in settings.items()
        for part in (f"--{name.replace('_', '-')}", _listed(value))
    ]
    if lora is not None:
        options += ["--lora", generator.package.loras[lora]]
    done = run(generator.package.model, *map(_listed, prompts), *options)
    assert (done.returncode, done.stderr) == (0, "")
    found = [line.split("\t") for line in done.stdout.splitlines()]
    flat = [(row, hypothesis) for row, best in enumerate(expected) for hypothesis in best]
    assert [(int(row), reason, [*map(int, ids.split())]) for row, _, reason, ids in found] == [
        (row, hypothesis.finish_reason, hypothesis.token_ids) for row, hypothesis in flat
    ]
    scores = [hypothesis.score for _, hypothesis in flat]
    assert [float(score) for _, score, *_ in found] == pytest.approx(scores, rel=1e-5, abs=2e-5)
    return expected


def _listed(value: Any) -> str:
    numbers = value if isinstance(value, list) else [value]
    return ",".join(str(int(n) if isinstance(n, bool) else n) for n in numbers)


@in_each_language
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_padded_text_prompts_on_the_demo_packages(
    run: Run, name: str, demos: Callable[[str], Package]
) -> None:
    generator = Generator(demos(name))
    prompts = [generator.encode(text) for text in ("aspirin is", "the act of making something")]
    assert len({len(prompt) for prompt in prompts}) == 2
    found = _check(run, generator, prompts, num_return_sequences=3, max_new_tokens=[4, 24])
    reasons = {hypothesis.finish_reason for best in found for hypothesis in best}
    assert reasons == {"eos", "length"}


@in_each_language
def test_any_parameter_is_fed_by_name(run: Run, packages: Callable[[str], Package]) -> None:
    generator = Generator(packages("gpt2"))
    settings = {"num_beams": 4, "num_return_sequences": 4, "max_new_tokens": 8}
    ((seen, *_),) = generator.generate([IDS[0]], **settings)
    eos = [seen.token_ids[3], seen.token_ids[5]]
    penalties = [0.5, 1.0, -1.5]
    found = _check(run, generator, IDS, **settings, eos_token_id=eos, length_penalty=penalties)
    reasons = {hypothesis.finish_reason for best in found for hypothesis in best}
    assert reasons == {"eos", "length"}
    draws = {"num_beams": 1, "do_sample": True, "num_return_sequences": 3, "seed": 2**62 + 8}
    _check(run, generator, IDS, **draws, max_new_tokens=6, temperature=[0.7, 1.0, 1.3])


@pytest.mark.transformers_4
@in_each_language
def test_an_encoder_decoder_reads_the_prompts(run: Run, packages: Callable[[str], Package]) -> None:
    """Of one with positions of a table, which padding before a source would move."""
    generator = Generator(packages("bart_seq2seq"))
    settings = {"num_beams": 3, "num_return_sequences": 3, "max_new_tokens": 6}
    _check(run, generator, IDS, **settings)
    expected = generator.generate(IDS, decoder_prompt=[2, 9], **settings)
    options = ["--num-beams", "3", "--num-return-sequences", "3", "--max-new-tokens", "6"]
    prompts = [" ".join(map(str, ids)) for ids in IDS]
    done = run(generator.package.model, *prompts, *options, "--decoder-input-ids", "2 9")
    assert (done.returncode, done.stderr) == (0, "")
    found = [[*map(int, line.split("\t")[3].split())] for line in done.stdout.splitlines()]
    assert found == [hypothesis.token_ids for best in expected for hypothesis in best]
    for given, cause in (("", "decoder_input_ids has no token ids"), ("2 six", "'six' is no")):
        done = run(generator.package.model, "5", "--decoder-input-ids", given)
        assert cause in done.stderr


@in_each_language
def test_a_lora_and_an_input_without_a_default(
    run: Run, once: Callable[..., Path], checkpoints: Callable[[str], Path], tmp_path: Path
) -> None:
    def write(folder: Path) -> None:
        lora = save_lora(checkpoints("gpt2"), tmp_path / "drugs", target_modules=["c_attn"])
        options = {"lora": [lora], "lora_slots": [], "required": ["seed"], "parity": False}
        export(checkpoints("gpt2"), folder, **options)

    generator = Generator(once("native/slots", write))
    settings = {"max_new_tokens": 6, "num_return_sequences": 2, "do_sample": True, "seed": 3}
    adapted = _check(run, generator, IDS, **settings, lora="drugs")
    plain = generator.generate(IDS, **settings)
    assert plain[0][0].token_ids != adapted[0][0].token_ids
    missing = run(generator.package.model, "5 6 7")
    assert missing.returncode == 1
    assert missing.stderr == "error: the file has no default for seed: give one\n"


@in_each_language
@pytest.mark.parametrize(
    ("arguments", "cause"),
    [
        ([], "usage: generate MODEL.onnx"),
        (["MODEL"], "usage: generate MODEL.onnx"),
        (["nowhere.onnx", "5"], "nowhere.onnx"),
        (["MODEL", "5 99999"], "idx=99999"),
        (["MODEL", "5 -6"], "'5 -6' holds a negative token id"),
        (["MODEL", "5 six"], "'six' is no number of the right kind"),
        (["MODEL", "5 1.5"], "'1.5' is no number of the right kind"),
        (["MODEL", "99999999999999999999"], "'99999999999999999999' is no number"),
        (["MODEL", ""], "a prompt has no token ids"),
        (["MODEL", "5", "--sed", "7"], "the file has no input called sed"),
        (["MODEL", "5", "--num-beams"], "--num-beams has no value"),
        (["MODEL", "5", "--bad-words-ids", "3"], "bad_words_ids is no list"),
        (["MODEL", "5", "--lora", "nowhere.onnx_adapter"], "nowhere.onnx_adapter"),
    ],
)
def test_errors_are_one_line(
    run: Run, arguments: list[str], cause: str, packages: Callable[[str], Package]
) -> None:
    model = str(packages("gpt2").model)
    done = run(*(model if argument == "MODEL" else argument for argument in arguments))
    assert (done.returncode, done.stdout) == (1, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: ")
    assert cause in line


@pytest.mark.slow
def test_cmake_builds_the_same_program(
    ort_root: Path, tmp_path: Path, packages: Callable[[str], Package]
) -> None:
    _needs("cmake", "g++")
    shutil.copytree(EXAMPLES / "cpp", tmp_path / "cpp")
    done = _run(_documented("cmake"), tmp_path / "cpp", ORT=str(ort_root))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "warning" not in done.stdout + done.stderr
    program = str(tmp_path / "cpp" / "build" / "generate")
    generator = Generator(packages("gpt2"))
    _check(
        lambda *arguments: subprocess.run(
            [program, *map(str, arguments)], text=True, capture_output=True
        ),
        generator,
        IDS,
        max_new_tokens=4,
    )
