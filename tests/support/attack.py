"""Commands on hostile input: a result or an error of two lines, and nothing half-written."""

from __future__ import annotations

import os
import subprocess
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from support.pages import ROOT
from support.warm_commands import MEMORY, SECONDS

#: What one command may take: minutes less than a hang, gigabytes less than the machine's.
_SECONDS, _BYTES = 60, 16 * 2**30

_RESULT, _ERROR, _USAGE, _DIVERGED = 0, 1, 2, 3


@dataclass(frozen=True)
class Answer:
    """How a command ended.

    Attributes:
        code: its exit code.
        stdout, stderr: what it printed.
        seconds: how long it took.
        left: names that its folder holds now and did not before.
    """

    code: int
    stdout: str
    stderr: str
    seconds: float
    left: list[str]

    def problems(self) -> list[str]:
        """What no command may do, whatever it is given."""
        said = self.stdout + self.stderr
        found = [f"{word!r} is told" for word in ("Traceback", "internal error") if word in said]
        if self.code not in (_RESULT, _ERROR, _USAGE, _DIVERGED):
            found.append(f"exit code {self.code} after {self.seconds:.0f} s: it crashed or hung")
        if self.code == _ERROR:
            lines = self.stderr.strip().splitlines()[-2:]
            marks = [line.strip().partition(": ")[0] for line in lines]
            if marks != ["error", "fix"] or not all(line.partition(": ")[2] for line in lines):
                found.append("no line of cause and one of cure")
        hidden = [name for name in self.left if name.startswith(".")]
        found += [f"{name} was left behind" for name in hidden]
        if self.left and self.code in (_ERROR, _USAGE):
            found.append(f"half-written: {', '.join(self.left)}")
        return found


@dataclass
class Attack:
    """Runs commands, and counts how they end.

    Attributes:
        programs: the folder that ``warm_commands`` gives.
        endings: by kind of input, how often each exit code.
    """

    programs: Path
    endings: dict[str, Counter[int]] = field(default_factory=dict)

    def __call__(
        self, kind: str, folder: Path, *arguments: object, seconds: int = _SECONDS
    ) -> Answer:
        """Run a command in a folder, and let it be an error to break what all hold.

        Raises:
            AssertionError: it crashed, hung, told an internal error, or left litter.
        """
        before = set(os.listdir(folder))
        began = time.perf_counter()
        done = subprocess.run(
            [str(self.programs / "beamgen"), *map(str, arguments)],
            cwd=folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            env={**os.environ, "PYTHONPATH": str(ROOT), SECONDS: str(seconds), MEMORY: str(_BYTES)},
        )
        answer = Answer(
            done.returncode,
            done.stdout.decode("utf-8", "replace"),
            done.stderr.decode("utf-8", "replace"),
            time.perf_counter() - began,
            sorted(set(os.listdir(folder)) - before),
        )
        self.endings.setdefault(kind, Counter())[answer.code] += 1
        problems = answer.problems()
        assert not problems, "\n".join([*problems, answer.stdout[-2000:], answer.stderr[-4000:]])
        return answer
