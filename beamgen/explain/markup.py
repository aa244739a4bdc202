"""Text in XML and HTML."""

from __future__ import annotations

from html import escape as _escape


def escape(text: str) -> str:
    """For XML and HTML, which hold no control characters: their pictures stand for them."""
    return _escape("".join(_shown(char) for char in text))


def _shown(char: str) -> str:
    if char < " " and char not in "\t\n\r":
        return chr(0x2400 + ord(char))
    unfit = char in "\ufffe\uffff" or "\ud800" <= char <= "\udfff"
    return "\N{REPLACEMENT CHARACTER}" if unfit else char
