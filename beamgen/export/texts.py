"""The text on which quality is measured."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from beamgen.adapter import DecoderAdapter
from beamgen.checkpoint.checkpoint import Checkpoint
from beamgen.errors import SettingError, one_line
from beamgen.quantization.record import Wanted
from beamgen.seq2seq_adapter import Seq2SeqAdapter
from beamgen.tokenizer.load import load_tokenizer
from beamgen.tokenizer.tokenizer import Tokenizer

#: Longer texts are cut: a perplexity over short contexts is one, too.
_LONGEST = 512


@dataclass(frozen=True)
class Texts:
    """Texts on which quality is measured, as token ids.

    Attributes:
        named: what the user named, or the demo checkpoint's own.
        rows: two ids or more each; behind an encoder they begin with the decoder's start.
        sources: what an encoder reads before each row; empty where there is none.
    """

    named: str
    rows: tuple[tuple[int, ...], ...]
    sources: tuple[tuple[int, ...], ...] = ()

    @property
    def predicted(self) -> int:
        """How many tokens are predicted: all but the first of each text."""
        return sum(len(row) - 1 for row in self.rows)


def texts_of(
    wanted: Wanted, checkpoint: Checkpoint, adapter: DecoderAdapter, start: Sequence[int] = ()
) -> Texts | None:
    """The text that was asked for, or a demo checkpoint's held-out one, or None.

    A line is a text, or a chat as a JSON list of messages, for the chat template. Of an
    encoder-decoder it is what the encoder reads and what is right, with a tab between them, or a
    JSON object of both, ``prompt`` and ``completion``.

    Args:
        wanted: names the text, if anybody does.
        checkpoint: whose tokenizer reads it.
        adapter: the architecture's.
        start: ids with which a decoder behind an encoder begins.

    Raises:
        SettingError: the file cannot be read or holds no text, or there is no tokenizer.
    """
    path, named = wanted.text, str(wanted.text)
    if wanted.name == "fp32":
        return None
    if path is None:
        if checkpoint.origin["kind"] != "demo" or adapter.held_out is None:
            return None
        path, named = adapter.held_out, f"{adapter.name}'s held-out texts"
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
    numbered = ((f"line {number} of {path}", line) for number, line in enumerate(lines, start=1))
    if isinstance(adapter, Seq2SeqAdapter):
        if not any(source.name == "input_ids" for source in adapter.sources(checkpoint.config)):
            raise SettingError(
                f"{checkpoint.source} reads no text, and {path} holds texts",
                "leave the text out: the loss is then not measured",
            )
        pairs = [_pair(tokenizer, line, where) for where, line in numbered if line.strip()]
        most = min(adapter.source_positions(checkpoint.config) or _LONGEST, _LONGEST)
        pairs = [(read[:most], [*start, *said][:longest]) for read, said in pairs if read and said]
    else:
        pairs = [([], _ids(tokenizer, line, where)[:longest]) for where, line in numbered]
        pairs = [(read, row) for read, row in pairs if len(row) > 1]
    if not pairs:
        raise SettingError(f"{path} holds no text", "write one text a line")
    sources, rows = ([tuple(each) for each in column] for column in zip(*pairs, strict=True))
    return Texts(named, tuple(rows), tuple(sources) if any(sources) else ())


def _ids(tokenizer: Tokenizer, line: str, where: str) -> list[int]:
    """The ids of a text, or of a chat."""
    if not line.startswith("[{"):
        return tokenizer.encode(line)
    try:
        chat = tokenizer.chat_text(json.loads(line), add_generation_prompt=False)
        return tokenizer.encode(chat, add_special_tokens=False)
    except Exception as error:  # json's, and what the template does not take
        raise SettingError(
            f"{where} is no chat: {one_line(error)}",
            'a chat is [{"role": "user", "content": "..."}, ...]',
        ) from error


def _pair(tokenizer: Tokenizer, line: str, where: str) -> tuple[list[int], list[int]]:
    """The ids that an encoder reads, and those that the decoder is to give."""
    try:
        if line.startswith("{"):
            pair = json.loads(line)
            read, said = pair["prompt"], pair["completion"]
        else:  # what is right, too, may follow
            read, said, *_ = line.split("\t")
        return tokenizer.encode(read), tokenizer.encode_target(said, add_special_tokens=True)
    except Exception as error:  # json's, and what a tokenizer raises of what is no text
        raise SettingError(
            f"{where} is no pair of texts: {one_line(error)}",
            'a line is {"prompt": "...", "completion": "..."}, or the two with a tab between them',
        ) from error


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
