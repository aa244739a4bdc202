"""The site's tables of ``beamgen.json``, from its JSON Schema.

``<!-- schema -->`` in a page becomes a table of the manifest's fields and one for each of the
objects in it.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

_PLACE = "<!-- schema -->"
_SCHEMA = Path(__file__).parents[2] / "docs" / "beamgen.schema.json"

Schema = dict[str, Any]


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Fill the place in a page that has it (a hook of MkDocs)."""
    if _PLACE not in markdown:
        return markdown
    schema = json.loads(_SCHEMA.read_text(encoding="utf-8"))
    objects = [part for part in schema["$defs"].values() if "properties" in part]
    sections = [f"### `{part['title']}`\n\n{_table(part)}" for part in objects]
    return markdown.replace(_PLACE, "\n\n".join([_table(schema), *sections]))


def _table(schema: Schema) -> str:
    rows = [
        f"| `{name}`{'' if name in schema['required'] else ' (optional)'} | {_type(field)} "
        f"| {field.get('description', '')} | {_example(field)} |"
        for name, field in schema["properties"].items()
    ]
    return "\n".join(["| field | type | meaning | example |", "|---|---|---|---|", *rows])


def _type(field: Schema) -> str:
    """In words; an object of its own by its section's title."""
    if "$ref" in field:
        return _reference(field["$ref"])
    if "oneOf" in field:
        return " or ".join(map(_type, field["oneOf"]))
    if "enum" in field or "const" in field:
        values = field.get("enum", [field.get("const")])
        return " or ".join(f"`{json.dumps(value)}`" for value in values)
    types = [field["type"]] if isinstance(field["type"], str) else field["type"]
    if types == ["array"]:
        return f"list of {_type(field['items'])}"
    if types == ["object"]:
        return f"object of {_type(field['additionalProperties'])} by name"
    return " or ".join(types)


def _reference(reference: str) -> str:
    name = reference.rpartition("/")[2]
    if name == "shape":
        return "list of integer or string"
    title = json.loads(_SCHEMA.read_text(encoding="utf-8"))["$defs"][name]["title"]
    anchor = "".join(letter for letter in title.lower() if letter.isalnum() or letter in "-_")
    return f"[{title}](#{anchor})"


def _example(field: Schema) -> str:
    return ", ".join(f"`{json.dumps(example)}`" for example in field.get("examples", ()))
