"""One server of warm commands for all attacks, and a table of how they ended."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.attack import Attack
from support.peft_folders import save_lora
from support.warm_commands import warm_commands

from beamgen import export

_ENDINGS = pytest.StashKey[dict[str, Counter[int]]]()


@pytest.fixture(scope="session")
def attack(pytestconfig: pytest.Config) -> Iterator[Attack]:
    """Run a hostile command: ``attack(kind, folder, "export", "-m", "ck")``."""
    with warm_commands() as programs:
        found = Attack(programs)
        pytestconfig.stash[_ENDINGS] = found.endings
        yield found


@pytest.fixture(scope="session")
def lora(once: Callable[..., Path], checkpoints: Callable[[str], Path]) -> Path:
    return once("attack/lora", lambda to: save_lora(checkpoints("gpt2"), to))


@pytest.fixture(scope="session")
def slots(once: Callable[..., Path], checkpoints: Callable[[str], Path]) -> Path:
    layers = ["c_attn", "c_proj", "c_fc"]
    return once(
        "attack/slots",
        lambda to: export(checkpoints("gpt2"), to, lora_slots=layers, parity=False),
    )


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """How commands on hostile input ended, by kind and exit code."""
    endings = config.stash.get(_ENDINGS, {})
    if not endings:
        return
    terminalreporter.section("attacks")
    for kind, codes in sorted(endings.items()):
        listed = ", ".join(f"{count} with {code}" for code, count in sorted(codes.items()))
        terminalreporter.line(f"{kind}: {codes.total()} inputs, {listed}")
    terminalreporter.line(f"{sum(c.total() for c in endings.values())} inputs in all")
