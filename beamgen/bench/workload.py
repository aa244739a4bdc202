"""What every contestant searches: lengths, beams, rows, and the prompts themselves."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

from beamgen.errors import SettingError
from beamgen.runtime.machine import available_cores

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from beamgen.settings.prompts import Ids


@dataclass(frozen=True, order=True)
class Workload:
    """Tokens in, tokens out, for each row."""

    prompt_tokens: int
    new_tokens: int

    @classmethod
    def parse(cls, text: str) -> Workload:
        """The workload that a text such as ``64+64`` names.

        Raises:
            SettingError: it is not two whole numbers above 0.
        """
        match = re.fullmatch(r"\s*(\d+)\s*\+\s*(\d+)\s*", text)
        if match is None or "0" in match.groups():
            raise SettingError(
                f"'{text}' is no workload", "write prompt tokens + new tokens, such as 64+64"
            )
        return cls(int(match[1]), int(match[2]))

    def __str__(self) -> str:
        """As ``parse`` reads it."""
        return f"{self.prompt_tokens}+{self.new_tokens}"


@dataclass(frozen=True)
class Task:
    """One workload under the conditions that hold for the whole bench.

    Attributes:
        prompt_tokens: S.
        new_tokens: all of them are generated, for no EOS may come.
        num_beams: K.
        batch_size: B.
        threads: of every contestant.
        seed: of the prompts.
    """

    prompt_tokens: int
    new_tokens: int
    num_beams: int
    batch_size: int
    threads: int
    seed: int = 0

    def prompt(self, run: int, vocab_size: int, special_ids: Sequence[int] = ()) -> Ids:
        """Random ids, int64 ``[B, S]``, the same for everybody and others in each run.

        A prompt never comes twice, because some contestants keep the cache of one they
        have seen. Special ids are left out: to some they mean padding.
        """
        import numpy as np

        ids = np.setdiff1d(np.arange(min(3, vocab_size - 1), vocab_size), special_ids)
        draw = np.random.default_rng([self.seed, run])
        return draw.choice(ids, size=(self.batch_size, self.prompt_tokens)).astype(np.int64)

    def features(self, run: int, shape: Sequence[int]) -> npt.NDArray[np.float32]:
        """Random features of a ``shape``, float32 ``[B, *shape]``, as ``prompt`` draws ids."""
        import numpy as np

        draw = np.random.default_rng([self.seed, run])
        return draw.standard_normal((self.batch_size, *shape), np.float32)


@dataclass(frozen=True)
class Conditions:
    """What holds for every contestant and workload of a bench.

    Attributes:
        num_beams: K.
        batch_size: B, prompts of one length.
        threads: of every contestant.
        turns: processes per contestant and workload.
        runs: timed searches per process.
        seed: of the prompts.
        timeout: seconds that any one process may take.
        busy: cores that other processes keep busy in a second series; 0: there is none.
    """

    num_beams: int = 5
    batch_size: int = 1
    threads: int = 1
    turns: int = 3
    runs: int = 3
    seed: int = 0
    timeout: float = 3600.0
    busy: int = 0

    @classmethod
    def from_options(cls, options: Mapping[str, Any]) -> Conditions:
        """The conditions among the options of ``bench``; threads are by default all cores.

        Raises:
            SettingError: a number that has to be above 0 is not.
        """
        given = {each.name: options[each.name] for each in fields(cls) if each.name in options}
        if given.get("threads") is None:
            given["threads"] = available_cores()
        return cls(**given)

    def __post_init__(self) -> None:
        """Refuse numbers that mean nothing."""
        for name in ("num_beams", "batch_size", "threads", "turns", "runs", "timeout"):
            value = getattr(self, name)
            if value <= 0:
                raise SettingError(f"{name} is {value}", "it has to be at least 1")
        if self.busy < 0:
            raise SettingError(f"busy is {self.busy}", "it has to be 0 or a number of cores")

    def task(self, workload: Workload) -> Task:
        """One workload under these conditions."""
        return Task(
            prompt_tokens=workload.prompt_tokens,
            new_tokens=workload.new_tokens,
            num_beams=self.num_beams,
            batch_size=self.batch_size,
            threads=self.threads,
            seed=self.seed,
        )
