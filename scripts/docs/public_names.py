"""The site's reference of Python: every public name, from the folder that it lives in.

``<!-- public names: runtime settings -->`` in a page becomes the names that ``beamgen`` takes from
those folders, for mkdocstrings to describe. They are read from the source, so that nothing is
imported. A folder that no page names is a warning, with which a strict build fails.
"""

from __future__ import annotations

import ast
import logging
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

_PLACE = re.compile(r"<!-- public names: ([\w ]+) -->")
_LOG = logging.getLogger("mkdocs.hooks.public_names")


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Fill the places in a page that has them (a hook of MkDocs)."""
    if _PLACE.search(markdown) is None:
        return markdown
    homes = _homes()
    named = {folder for place in _PLACE.finditer(markdown) for folder in place[1].split()}
    for folder in sorted(homes.keys() - named):
        _LOG.warning("no page has the public names of beamgen/%s", folder)
    for folder in sorted(named - homes.keys()):
        _LOG.warning("beamgen has no public names in beamgen/%s", folder)
    return _PLACE.sub(
        lambda place: "\n\n".join(
            _entry(module, name)
            for folder in place[1].split()
            for module, name in homes.get(folder, ())
        ),
        markdown,
    )


def _entry(module: str, name: str) -> str:
    """A name, and the table of keyword arguments that it takes, if it takes one."""
    entries = [f"::: {module}.{name}"]
    tree = ast.parse(_source(module).read_text(encoding="utf-8"))
    for statement in tree.body:
        if isinstance(statement, ast.FunctionDef) and statement.name == name:
            options = _unpacked(statement.args.kwarg)
            homes = {imported: home for home, imported in _imports(tree.body)}
            entries += [f"::: {homes.get(option, module)}.{option}" for option in options]
    return "\n\n".join(entries)


def _unpacked(argument: ast.arg | None) -> list[str]:
    """``Options`` of an argument ``**options: Unpack[Options]``."""
    if argument is None or argument.annotation is None:
        return []
    return re.findall(r"^Unpack\[(\w+)\]$", ast.unparse(argument.annotation))


def _source(module: str) -> Path:
    path = Path(__file__).parents[2].joinpath(*module.split("."))
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def _homes() -> dict[str, list[tuple[str, str]]]:
    """By folder, the modules and names that type checkers are told of."""
    tree = ast.parse(_source("beamgen").read_text(encoding="utf-8"))
    blocks = [block.body for block in tree.body if isinstance(block, ast.If)]
    names = [entry for body in blocks for entry in _imports(body)]
    homes = defaultdict(list)
    for module, name in sorted(names, key=lambda entry: entry[1].lower()):
        homes[module.split(".")[1]].append((module, name))
    return homes


def _imports(body: Iterable[ast.stmt]) -> Iterator[tuple[str, str]]:
    """The modules and names of ``from module import name``."""
    for statement in body:
        if isinstance(statement, ast.ImportFrom) and statement.module:
            yield from ((statement.module, alias.name) for alias in statement.names)
