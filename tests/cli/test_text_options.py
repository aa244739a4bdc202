"""Text on the command line: what a tokenizer adds, what it cannot read, and where there is none."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from support.architectures import ARCHITECTURES
from support.retold import with_files
from transformers import AutoTokenizer

from beamgen import Generator, Package, find_adapter
from beamgen.cli import main

Demos = Callable[[str], Package]

#: What a base install with the extra biogpt lacks.
ABSENT = ["accelerate", "onnxscript", "optimum", "peft", "sentencepiece", "torch", "transformers"]


def _run(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def _lines(result: Result) -> list[str]:
    assert result.exit_code == 1, result.output
    assert "internal error" not in result.stderr
    lines = result.stderr.strip().splitlines()
    assert [line[:7] for line in lines] == ["error: ", "  fix: "]
    return lines


@pytest.fixture
def wordless(demos: Demos, tmp_path: Path) -> Package:
    """A package whose tokenizer does not load."""
    return with_files(demos("gpt2"), tmp_path / "package", tokenizer_json="{")


def test_ids_are_taken_and_shown_where_the_tokenizer_does_not_load(
    wordless: Package, demos: Demos
) -> None:
    found = _run(
        "generate", "-m", wordless.folder, "--no-verify", "--ids", "5 6", "--max-new-tokens", 3
    )
    (expected,) = Generator(demos("gpt2")).generate([[5, 6]], max_new_tokens=3)
    assert found.exit_code == 0, found.output
    assert found.stdout.split() == [str(i) for i in [5, 6, *expected[0].token_ids]]
    (line,) = found.stderr.strip().splitlines()
    assert line.startswith("warning: token ids, and no text: cannot load the tokenizer in")
    refused = _run("generate", "-m", wordless.folder, "--no-verify", "-p", "text")
    assert "pass token ids" in _lines(refused)[1]


def test_export_says_beforehand_that_there_will_be_no_text(
    checkpoints: Callable[[str], Path], tmp_path: Path
) -> None:
    folder = tmp_path / "checkpoint"
    folder.mkdir()
    for path in checkpoints("gpt2").iterdir():
        (folder / path.name).symlink_to(path)
    own = {"tokenizer_class": "Own", "auto_map": {"AutoTokenizer": ["own.Own", None]}}
    (folder / "tokenizer_config.json").write_text(json.dumps(own))
    (folder / "own.py").write_text("raise SystemExit('it ran')")
    done = _run(
        "export", "-m", folder, "-o", tmp_path / "package", "--no-parity", "--trust-remote-code"
    )
    assert done.exit_code == 0, done.output
    said = "warning: the package will take token ids only, no text: cannot load the tokenizer"
    assert said in done.stderr
    assert "the checkpoint's tokenizer does not load: generate takes --ids" in done.stdout
    assert done.stdout.strip().splitlines()[-1].endswith('--ids "1 2 3"')
    assert not (tmp_path / "package" / "own.py").exists()


def test_no_special_tokens(demos: Demos) -> None:
    arguments = ("generate", "-m", demos("biogpt").folder, "--max-new-tokens", 2, "--json")
    found = _run(*arguments, "-p", "aspirin is", "--no-special-tokens")
    expected = AutoTokenizer.from_pretrained(find_adapter("biogpt").demo)(
        "aspirin is", add_special_tokens=False
    )
    assert json.loads(found.stdout)["hypotheses"][0]["prompt_ids"] == expected["input_ids"]
    for given in (["--ids", "5 6"], ["--chat", "-p", "hi"]):
        assert (
            "--no-special-tokens was given"
            in _lines(_run(*arguments, *given, "--no-special-tokens"))[0]
        )
        explained = ("explain", "-m", demos("biogpt").folder, *given, "--no-special-tokens")
        assert "--no-special-tokens was given" in _lines(_run(*explained))[0]


def test_an_empty_prompt_is_searched(demos: Demos) -> None:
    arguments = ("generate", "-m", demos("gpt2").folder, "--max-new-tokens", 4)
    text, ids = _run(*arguments, "-p", ""), _run(*arguments, "--ids", "")
    assert (text.exit_code, text.stderr) == (0, "")
    assert text.stdout == ids.stdout != ""


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_bytes_that_are_no_utf_8(name: str, demos: Demos) -> None:
    command = [sys.executable, "-m", "beamgen", "generate", "-m", str(demos(name).folder)]
    found = subprocess.run(
        [*map(os.fsencode, command), b"-p", b"a \xff b"], capture_output=True, text=True
    )
    assert (found.returncode, found.stdout) == (1, "")
    cause, cure = found.stderr.strip().splitlines()
    assert cause == "error: the text is no Unicode: character 3 is the byte 0xFF"
    assert cure == "  fix: pass it as UTF-8"


def _without(absent: list[str], *arguments: object) -> subprocess.CompletedProcess[str]:
    """Run a command where some packages are not installed."""
    code = (
        f"import sys; sys.modules |= dict.fromkeys({absent})\nfrom beamgen.cli import main\nmain()"
    )
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)], capture_output=True, text=True
    )


@pytest.mark.parametrize(
    "name", ["biogpt", *(pytest.param(name, marks=pytest.mark.slow) for name in ("gpt2", "phi3"))]
)
def test_a_base_install_generates_the_same_ids_and_texts(name: str, demos: Demos) -> None:
    """In a process that has neither torch nor transformers; HF's tokenizer is the measure."""
    prompts = ["aspirin is", "", "</s> <s> x", "naïve 日本語 😀"]
    given: list[Any] = [part for prompt in prompts for part in ("-p", prompt)]
    arguments = ["generate", "-m", demos(name).folder, *given, "--max-new-tokens", 6, "--json"]
    done = _without(ABSENT, *arguments, "--num-return-sequences", 2)
    assert (done.returncode, done.stderr) == (0, "")
    hf = AutoTokenizer.from_pretrained(find_adapter(name).demo)
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    for prompt, row in zip(prompts, rows, strict=True):
        for found in row["hypotheses"]:
            ids = [*found["prompt_ids"], *found["token_ids"]]
            assert found["prompt_ids"] == (hf(prompt)["input_ids"] or [hf.bos_token_id])
            assert found["text"] == hf.decode(ids, skip_special_tokens=True)
    again = Generator(demos(name)).generate(prompts, max_new_tokens=6, num_return_sequences=2)
    assert [[h["token_ids"] for h in row["hypotheses"]] for row in rows] == [
        [h.token_ids for h in best] for best in again
    ]


def test_a_chat_in_a_base_install(demos: Demos) -> None:
    arguments = ["generate", "-m", demos("phi3").folder, "--chat", "-p", "What is a whale?"]
    done = _without(ABSENT, *arguments, "--json", "--max-new-tokens", 1)
    assert (done.returncode, done.stderr) == (0, "")
    expected = AutoTokenizer.from_pretrained(find_adapter("phi3").demo).apply_chat_template(
        [{"role": "user", "content": "What is a whale?"}],
        add_generation_prompt=True,
        return_dict=True,
    )
    assert json.loads(done.stdout)["hypotheses"][0]["prompt_ids"] == expected["input_ids"]


def test_a_base_install_names_the_extra_that_a_command_needs(demos: Demos, tmp_path: Path) -> None:
    folder = demos("gpt2").folder
    other = with_files(
        demos("gpt2"), tmp_path / "p", tokenizer_config_json={"tokenizer_class": "XGLMTokenizer"}
    )
    for arguments, extra in (
        (["export", "--model-class", "gpt2", "-o", tmp_path / "new"], "export"),
        (["parity", "-m", folder], "export"),
        (["package", "genai", "-m", folder, "-o", tmp_path / "genai"], "export"),
        (["generate", "-m", other.folder, "--no-verify", "-p", "x"], "transformers"),
    ):
        done = _without([*ABSENT, "onnxruntime_genai"], *arguments)
        assert (done.returncode, done.stdout) == (1, ""), done.stderr
        cause, cure = done.stderr.strip().splitlines()
        assert "which is not installed" in cause
        assert cure == f"  fix: pip install 'beamgen[{extra}]'"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["p"]
    for arguments in (["list"], ["inspect", "-m", folder], ["lora", "list", "-m", folder]):
        assert _without(ABSENT, *arguments).returncode == 0, arguments
