"""Lines of a file as bytes, with their places; a line of any length costs bounded memory."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

#: Bytes of a line that is still a row.
LONGEST_LINE = 1 << 24

_BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True)
class Line:
    """One line.

    Attributes:
        content: with its end; its beginning alone, where it is too long.
        stop: the byte behind it.
        length: in bytes, with its end.
    """

    content: bytes
    stop: int
    length: int

    @property
    def is_too_long(self) -> bool:
        """Whether it is more than a row may be."""
        return self.length > LONGEST_LINE

    def text(self) -> str:
        """It as text.

        Raises:
            ValueError: why it is none.
        """
        if self.is_too_long:
            raise ValueError(f"the line has {self.length:,} bytes, more than {LONGEST_LINE:,}")
        try:
            return self.content.rstrip(b"\r\n").decode("utf-8")
        except UnicodeDecodeError as error:
            byte = self.content[error.start]
            raise ValueError(f"not UTF-8: byte 0x{byte:02X} at {error.start + 1}") from None


def lines(stream: BinaryIO, stop: int | None = None) -> Iterator[Line]:
    """The lines from where a stream stands, up to a byte of the file or its end."""
    place = stream.tell()
    while stop is None or place < stop:
        head = stream.readline(LONGEST_LINE + 1)
        if not head:
            return
        length = len(head)
        piece = head
        while not piece.endswith(b"\n") and (piece := stream.readline(1 << 20)):
            length += len(piece)
        content = head.removeprefix(_BOM) if place == 0 else head
        place += length
        yield Line(content, place, length)
