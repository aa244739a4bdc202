"""Parts of the page that ``beamgen explain`` draws with, too: script, style, markup, constants."""

from __future__ import annotations

import json
import re
from functools import cache
from pathlib import Path
from typing import Any

_PAGE = Path(__file__).parent / "page"

_IMPORT = re.compile(r"^import \{ (.+) \} from '\./(\w+)\.js';\n", re.MULTILINE)
_EXPORT = re.compile(r"^export ((?:async )?(?:const|class|function) (\w+))", re.MULTILINE)
_CONSTANT = re.compile(r"^export const (\w+) = (.+);$", re.MULTILINE)


@cache
def constants() -> dict[str, Any]:
    """What ``constants.js`` holds, by name."""
    return {name: json.loads(value) for name, value in _CONSTANT.findall(_read("constants.js"))}


def style() -> str:
    """The page's style sheet."""
    return _read("style.css")


def palettes() -> tuple[str, str]:
    """The page's colours as CSS declarations, on light paper and on dark."""
    light, dark = (
        " ".join(re.findall(r"--[\w-]+: #\w+;", block))
        for block in re.findall(r":root \{(.+?)\}", style(), re.DOTALL)
    )
    return light, dark


def found_markup(answers: str, reasons: str) -> str:
    """The part of the page that shows what a search found.

    Args:
        answers: items of the list that the script fills anew.
        reasons: a section that the page for the browser has not.
    """
    _, _, rest = _read("index.html").partition("<!-- found")
    part = rest.partition("-->")[2].partition("<!-- /found -->")[0]
    answered = part.replace('<ol id="answers">', f'<ol id="answers">{answers}')
    return answered.replace("<!-- reasons -->", reasons)


def script(entry: str) -> str:
    """A module of the page with all that it imports, as one script: no browser imports from a file.

    Each module becomes a function that is called once; ``entry``'s exports are the
    variable of its name.
    """
    modules: dict[str, str] = {}
    _add(entry, modules)
    return "\n".join(["'use strict';", *modules.values()])


def _add(name: str, modules: dict[str, str]) -> None:
    """Put a module behind those that it imports."""
    if name in modules:
        return
    source = _read(f"{name}.js")
    for _, imported in _IMPORT.findall(source):
        _add(imported, modules)
    names = [exported for _, exported in _EXPORT.findall(source)]
    body = _EXPORT.sub(r"\1", _IMPORT.sub(r"const { \1 } = \2;\n", source))
    modules[name] = f"const {name} = (() => {{\n{body}return {{ {', '.join(names)} }};\n}})();"


def _read(name: str) -> str:
    return (_PAGE / name).read_text(encoding="utf-8")
