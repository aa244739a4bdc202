"""Texts on which tokenizers come to differ, drawn anew from a seed."""

from __future__ import annotations

import random
from collections.abc import Sequence
from functools import cache
from pathlib import Path

_SPACES = (
    "",
    " ",
    "  ",
    "\t",
    "\n",
    "\r\n",
    "\n\n",
    "\u00a0",
    "\u2003",
    "\u3000",
    " \n ",
    "\u200b",
)
_WRITTEN = r"""
a I é ß Ω ж 中 한 ש न ก 1 ½ ² _ - . , ! ? ' " & < > | [ ] { } ( ) @ # $ % ^ * = + ~ \ /
don't I'll they've U.S.A. a.m. e.g. naïve café Ⅳ 日本語 你好世界。 안녕하세요 مرحبا שָׁלוֹם नमस्ते
ภาษาไทย Привет 😀 🇩🇪 👍🏽 &amp; &lt;s&gt; @-@ -- ... … “quoted” 0x1F 3.14 1,000
12345678901234567890
http://x.y/z?q=1&r=2 a@b.org def return <div> </div> {{x}} x+=1; // /* */ \n aaaaaaaaaaaaaaaa
▁ ▁▁ Ġ Ċ ##ing </w> <0x0A> <| |> `code` f(x):
"""
_PARTS = (
    *_WRITTEN.split(),
    *("cafe\u0301", "\ufb01ne", "\uac01", "\u1100\u1161\u11a8", "\u0627", "\uff0c", "\u2018s"),
    *("👩\u200d👩\u200d👧", "\U00020bb7", "\ufeff", "\u202eabc\u202c", "\u0000", "\u007f"),
    *("\u0301", "\ufffd", "\ufdd0", "    return x"),
)


@cache
def _words() -> list[str]:
    readme = Path(__file__).parents[2] / "README.md"
    return readme.read_text(encoding="utf-8").split()


def odd_texts(count: int, seed: int, special: Sequence[str] = ()) -> list[str]:
    """Real words, odd characters, the special tokens' own spellings, any code points at all."""
    chosen = random.Random(seed)
    spelled = [*special, *(token[:-1] for token in special), *(f"{t}{t}" for t in special)]

    def words() -> str:
        begin = chosen.randrange(len(_words()))
        return " ".join(_words()[begin : begin + chosen.randrange(12)])

    def parts() -> str:
        return "".join(
            chosen.choice(_PARTS) + chosen.choice(_SPACES) for _ in range(chosen.randrange(12))
        )

    def specials() -> str:
        pool = [*spelled, chosen.choice(_PARTS), words(), *_SPACES[:4]] if spelled else [words()]
        return "".join(
            chosen.choice(pool) + chosen.choice(_SPACES[:5]) for _ in range(chosen.randrange(10))
        )

    def code_points() -> str:
        planes = (0x80, 0x800, 0xD800, 0x10000, 0x110000)
        drawn = (chosen.randrange(chosen.choice(planes)) for _ in range(chosen.randrange(20)))
        return "".join(chr(c) for c in drawn if not 0xD800 <= c < 0xE000)

    return [chosen.choice((words, parts, parts, specials, code_points))() for _ in range(count)]
