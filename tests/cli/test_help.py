"""Every command has help with examples, and shows it without loading what it would run."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from beamgen import CONTESTANTS
from beamgen.cli import main
from beamgen.cli._groups import FoundCommands, modules

HEAVY = {"torch", "transformers", "optimum", "onnxruntime", "onnx", "onnxscript", "onnx_ir"}


def _paths(group: click.Group, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for name in group.list_commands(click.Context(group)):
        command = group.get_command(click.Context(group), name)
        yield (*path, name)
        if isinstance(command, click.Group):
            yield from _paths(command, (*path, name))


PATHS = list(_paths(main))


@pytest.mark.parametrize("path", PATHS, ids=" ".join)
def test_every_command_has_help_with_examples(path: tuple[str, ...]) -> None:
    result = CliRunner().invoke(main, [*path, "--help"])
    assert result.exit_code == 0
    examples = result.stdout.split("Example", 1)[1]
    group = any(other[:-1] == path for other in PATHS)
    named = f"  beamgen {' '.join(path)}"
    assert any(line.startswith(f"  {named}") for line in examples.splitlines())
    assert "--json" in result.stdout or group, "its commands have their own"


def test_the_help_lists_every_command() -> None:
    result = CliRunner().invoke(main, ["--help"])
    names = {path[0] for path in PATHS}
    assert {"export", "finetune", "generate", "list", "lora", "package", "parity"} <= names
    assert all(f"  {name} " in result.stdout for name in names)


def test_help_of_every_command_imports_nothing_heavy() -> None:
    probe = f"""
import sys
from beamgen.cli import main
for path in {[(), *PATHS]}:
    try:
        main([*path, "--help"])
    except SystemExit:
        pass
print("IMPORTED", *{{name.partition(".")[0] for name in sys.modules}})
"""
    result = subprocess.run([sys.executable, "-c", probe], text=True, capture_output=True)
    assert result.returncode == 0, result.stderr
    assert not {*result.stdout.split("IMPORTED ")[1].split()} & HEAVY


def test_options_stand_in_sections() -> None:
    text = CliRunner().invoke(main, ["export", "--help"]).stdout
    settings = text.split("Search settings, under Hugging Face's names:")[1].split("Examples:")[0]
    assert "--num-beams" in settings
    assert "--precision" not in settings
    assert "--precision" in text.split("Precision:")[1].split("LoRA:")[0]


def test_bench_names_all_contestants() -> None:
    text = "".join(CliRunner().invoke(main, ["bench", "--help"]).stdout.split())
    assert all(name in text for name in CONTESTANTS)


def test_a_new_command_is_a_file_and_no_list(tmp_path: Path) -> None:
    (tmp_path / "hello.py").write_text("")
    (tmp_path / "_shared.py").write_text("")
    command = click.Command("hello", callback=lambda: click.echo("hi"))
    group = FoundCommands(names=lambda: modules(tmp_path), load=lambda name: command)
    assert group.list_commands(click.Context(group)) == ["hello"]
    assert CliRunner().invoke(group, ["hello"]).stdout == "hi\n"
    assert "Did you mean hello?" in CliRunner().invoke(group, ["helo"]).stderr
