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
from collections.abc import Iterable
from pathlib import Path
from typing import Any

_PLACE = re.compile(r"<!-- public names: ([\w ]+) -->")
_LOG = logging.getLogger("mkdocs.hooks.public_names")


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Fill the places in a page that has them (a hook of MkDocs)."""
    if _PLACE.search(markdown) is None:
        return markdown
    homes = _homes(Path(__file__).parents[2] / "beamgen" / "__init__.py")
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
    return f"::: {module}.{name}"


def _homes(source: Path) -> dict[str, list[tuple[str, str]]]:
    """By folder, the modules and names that type checkers are told of."""
    tree = ast.parse(source.read_text(encoding="utf-8"))
    homes = defaultdict(list)
    for module, name in sorted(_imports(tree.body), key=lambda entry: entry[1].lower()):
        homes[module.split(".")[1]].append((module, name))
    return homes


def _imports(body: Iterable[ast.stmt]) -> Iterable[tuple[str, str]]:
    for block in body:
        if isinstance(block, ast.If):
            for statement in block.body:
                if isinstance(statement, ast.ImportFrom) and statement.module:
                    yield from ((statement.module, alias.name) for alias in statement.names)
