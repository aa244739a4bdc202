"""What every contestant searches: lengths, beams, rows, and the prompts themselves."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from beamgen.errors import SettingError

if TYPE_CHECKING:
    from beamgen.settings.prompts import Ids


@dataclass(frozen=True, order=True)
class Workload:
    """Tokens in, tokens out, for each row."""

    prompt_tokens: int
    new_tokens: int

    @classmethod
    def parse(cls, text: str) -> Workload:
        """``64+64``.

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
