"""``beamgen package``: one subcommand for each format, with its own options and no others."""

from __future__ import annotations

import ast
import importlib
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from beamgen import FORMATS
from beamgen.cli import main

FORMATS_FOLDER = Path(__file__).parents[2] / "beamgen" / "formats"
SHARED = {"-m", "--model", "-o", "--output", "--force", "--json", "--debug"}


def _run(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["package", *arguments])


def _options(name: str) -> set[str]:
    group = main.get_command(click.Context(main), "package")
    assert isinstance(group, click.Group)
    command = group.get_command(click.Context(group), name)
    assert command is not None
    return {spelling for parameter in command.params for spelling in parameter.opts}


def test_the_group_prints_its_help_with_examples() -> None:
    result = _run()
    for name in FORMATS:
        assert f"\n  {name} " in result.output
        assert f"beamgen package {name} -m" in result.output.split("Examples:")[1]


@pytest.mark.parametrize("name", FORMATS)
def test_each_format_has_what_all_share_and_its_own(name: str) -> None:
    own = importlib.import_module(f"beamgen.formats.{name}.command").command
    own_options = {spelling for parameter in own.params for spelling in parameter.opts}
    assert _options(name) >= SHARED | own_options
    text = _run(name, "--help").stdout
    assert f"  beamgen package {name} -m" in text.split("Examples:")[1]
    form = importlib.import_module(f"beamgen.formats.{name}.format").FORMAT
    assert form.output.format(name="NAME") in text, "where it is written, unless told otherwise"


def test_only_a_format_that_fixes_settings_takes_them() -> None:
    taking = [name for name in FORMATS if "--num-beams" in _options(name)]
    fixing = [
        name
        for name in FORMATS
        if "settings"
        in importlib.import_module(f"beamgen.formats.{name}.format").FORMAT.options.__annotations__
    ]
    assert taking == fixing == ["triton"]
    assert "No such option '--num-beams'" in _run("web", "-m", "x", "--num-beams", "3").stderr


def test_another_formats_option_is_none_of_its_own() -> None:
    for name in FORMATS:
        others = set.union(*(_options(other) for other in FORMATS if other != name))
        for option in others - _options(name):
            result = _run(name, "-m", "x", option, "1")
            assert result.exit_code == 2, option
            assert "No such option" in result.stderr


def test_a_misspelt_format_gets_a_suggestion() -> None:
    assert "did you mean triton?" in _run("trition", "-m", "x").stderr


@pytest.mark.parametrize("name", FORMATS)
def test_its_keyword_arguments_are_those_of_the_format(name: str) -> None:
    own = importlib.import_module(f"beamgen.formats.{name}.command").command
    form = importlib.import_module(f"beamgen.formats.{name}.format").FORMAT
    with click.Context(own) as ctx:
        given = {parameter.name: None for parameter in own.params}
        if "settings" in form.options.__annotations__:
            given["settings"] = {}
        chosen = ctx.invoke(own, **given)
    assert chosen.keys() == form.options.__annotations__.keys()


@pytest.mark.parametrize("name", FORMATS)
def test_a_formats_command_imports_click_and_the_public_names(name: str) -> None:
    tree = ast.parse((FORMATS_FOLDER / name / "command.py").read_text(encoding="utf-8"))
    imported = {
        alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.Import)
        for alias in node.names
    } | {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    others = {
        module for module in imported if module.partition(".")[0] not in sys.stdlib_module_names
    }
    assert others <= {"click", "beamgen", "beamgen.errors"}
