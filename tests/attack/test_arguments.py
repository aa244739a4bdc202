"""Command lines of any words: an exit code that is documented, and no litter."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import click
import pytest
from click.testing import CliRunner
from hypothesis import strategies as st
from support.hostile_values import TEXTS, run

from beamgen import Package
from beamgen.cli import main

#: Commands that read a package and write nothing, with what they need.
COMMANDS = {
    "generate": ("--ids", "5 9", "--max-new-tokens", "2"),
    "inspect": ("--no-load",),
    "list": (),
    "lora list": (),
}
#: Options whose value is a file to be read or written.
PATHS = {"--catalogue", "--file", "--model"}

NUMBERS = ["-1", "0", "1", "2", "1e400", "nan", "-inf", "9" * 30, "0x5", "1_000", "٣"]
WORDS = ["", "-", "--", "=", "a=", "=5", "none", "null", "[", "[[5]]", "{}", "..", "5 9", "5,9,"]
VALUES = st.sampled_from([*NUMBERS, *WORDS]) | TEXTS.filter(lambda text: "\0" not in text)


def command_of(name: str) -> click.Command:
    found: click.Command = main
    for word in name.split():
        assert isinstance(found, click.Group)
        found = found.get_command(click.Context(found), word) or found
    return found


def options_of(name: str) -> list[str]:
    found = (o for p in command_of(name).params for o in p.opts if isinstance(p, click.Option))
    return sorted(option for option in found if option not in PATHS)


@pytest.mark.parametrize("drawn", [40, pytest.param(1000, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", COMMANDS)
def test_any_words_are_a_command_line(
    name: str,
    drawn: int,
    packages: Callable[[str], Package],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    package = () if name == "list" else ("-m", str(packages("gpt2").folder))
    option = st.tuples(st.sampled_from([*options_of(name), "--nonsense"]), VALUES)
    words = st.lists(option | st.tuples(VALUES), max_size=4)

    def check(drawn_words: list[tuple[str, ...]]) -> None:
        given = [word for pair in drawn_words for word in pair]
        line = [*name.split(), *package, *COMMANDS[name], *given]
        done = CliRunner().invoke(main, line, input="")
        assert done.exit_code in (0, 1, 2), line
        assert done.exception is None or isinstance(done.exception, SystemExit), line
        assert "internal error" not in done.stderr, line
        if done.exit_code == 1:
            error, fix = done.stderr.splitlines()[-2:]
            assert (error[:7], fix[:7]) == ("error: ", "  fix: "), line
        assert list(tmp_path.iterdir()) == [], line

    run(words, drawn, check)
