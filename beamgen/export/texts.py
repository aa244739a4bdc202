"""The text on which quality is measured."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from beamgen.adapter import DecoderAdapter
from beamgen.checkpoint.checkpoint import Checkpoint
from beamgen.errors import SettingError, one_line
from beamgen.quantization.record import Wanted
from beamgen.tokenizer.load import load_tokenizer

#: Longer texts are cut: a perplexity over short contexts is one, too.
_LONGEST = 512


@dataclass(frozen=True)
class Texts:
    """Texts on which quality is measured, as token ids.

    Attributes:
        source: what the user named, or the demo checkpoint's own.
        rows: two ids or more each.
    """

    source: str
    rows: tuple[tuple[int, ...], ...]

    @property
    def predicted(self) -> int:
        """How many tokens are predicted: all but the first of each text."""
        return sum(len(row) - 1 for row in self.rows)


def texts_of(wanted: Wanted, checkpoint: Checkpoint, adapter: DecoderAdapter) -> Texts | None:
    """The text that was asked for, or a demo checkpoint's held-out one, or None.

    A line is a text, or a chat as a JSON list of messages, for the chat template.

    Raises:
        SettingError: the file cannot be read or holds no text, or there is no tokenizer.
    """
    path, source = wanted.text, str(wanted.text)
    if wanted.name == "fp32":
        return None
    if path is None:
        if checkpoint.origin["kind"] != "demo" or adapter.held_out is None:
            return None
        path, source = adapter.held_out, f"{adapter.name}'s held-out definitions"
    lines = read_lines(path)
    tokenizer = load_tokenizer(
        checkpoint.tokenizer_folder, trust_remote_code=checkpoint.trust_remote_code
    )
    if tokenizer is None:
        raise SettingError(
            f"{checkpoint.source} has no tokenizer to read {path} with",
            "leave the text out: the loss is then not measured",
        )
    room = adapter.position_limits(checkpoint.config)
    longest = min(room.recompute_boundary or room.max_positions, _LONGEST)
    rows = []
    for number, line in enumerate(lines, start=1):
        if line.startswith("[{"):
            try:
                chat = tokenizer.chat_text(json.loads(line), add_generation_prompt=False)
                ids = tokenizer.encode(chat, add_special_tokens=False)
            except Exception as error:  # json's, and what the template does not take
                raise SettingError(
                    f"line {number} of {path} is no chat: {one_line(error)}",
                    'a chat is [{"role": "user", "content": "..."}, ...]',
                ) from error
        else:
            ids = tokenizer.encode(line)
        rows.append(tuple(ids[:longest]))
    rows = [row for row in rows if len(row) > 1]
    if not rows:
        raise SettingError(f"{path} holds no text", "write one text a line")
    return Texts(source, tuple(rows))


def read_lines(path: Path) -> list[str]:
    """The lines of a text file.

    Raises:
        SettingError: it cannot be read.
    """
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or one_line(error)
        raise SettingError(
            f"cannot read the text {path}: {reason}", "name a UTF-8 file, one text a line"
        ) from error
