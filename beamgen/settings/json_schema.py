"""What of JSON Schema outlines-core heeds: what it would pass over is refused by name.

Source: ``outlines_core.json_schema`` 0.2.14, tried keyword by keyword.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from beamgen.errors import SettingError, close_matches

#: Keywords that say nothing about a text.
_NOTES = frozenset(
    (
        "$anchor", "$comment", "$defs", "$id", "$schema", "default", "definitions", "deprecated",
        "description", "examples", "readOnly", "title", "writeOnly",
    )
)  # fmt: skip

#: Keywords by which a schema is told apart, and what may stand beside each.
_BESIDE = {
    "$ref": frozenset[str](),
    "const": frozenset({"type"}),
    "enum": frozenset({"type"}),
    "anyOf": frozenset[str](),
    "oneOf": frozenset[str](),
    "allOf": frozenset[str](),
    "properties": frozenset({"type", "required", "additionalProperties"}),
    "prefixItems": frozenset({"type", "minItems", "maxItems", "items"}),
    "items": frozenset({"type", "minItems", "maxItems"}),
    "pattern": frozenset({"type"}),
    "format": frozenset({"type"}),
    "type": frozenset(
        (
            "additionalProperties", "maxItems", "maxLength", "maxProperties", "minItems",
            "minLength", "minProperties", "required",
        )
    ),
}  # fmt: skip
_KNOWN = _NOTES | set(_BESIDE) | frozenset[str]().union(*_BESIDE.values())

#: Parts of a pattern that take more than what may stand in a JSON string as it is.
_OPEN = re.compile(r"""\[\^|\\[DWSPsnrtfvx"\\]|"|\(\?""")
_CLASS = re.compile(r"\[(?!\^)(?:\\.|[^\]\\])*\]")

_TYPES: Mapping[str, tuple[type, ...]] = {
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "null": (type(None),),
    "object": (dict,),
    "array": (list,),
}


def check_schema(schema: Any) -> None:
    """Refuse what a text would be allowed to break.

    Raises:
        SettingError: with the place and the keyword.
    """
    for where, each in _schemas(schema, "#"):
        if not isinstance(each, Mapping):
            raise _refused(where, f"is {json.dumps(each)}", "give it a type")
        said = each.keys() - _NOTES
        unknown = sorted(said - _KNOWN)
        if unknown:
            cure = close_matches(unknown[0], _KNOWN) or (
                "leave it out and check the answer, or say it as enum, pattern or anyOf"
            )
            raise _refused(where, f"says '{unknown[0]}', which no automaton here heeds", cure)
        lead = next((name for name in _BESIDE if name in said), None)
        beside = sorted(said - {lead} - _BESIDE[lead]) if lead else sorted(said)
        if beside:
            raise _refused(
                where,
                f"says '{beside[0]}' beside '{lead}', which passes over it"
                if lead
                else f"says '{beside[0]}' and no type",
                "say one of them only, or give a type",
            )
        _check_values(where, each)


def _check_values(where: str, schema: Mapping[str, Any]) -> None:
    properties = schema.get("properties")
    if properties is not None:
        odd = [name for name in properties if json.dumps(name, ensure_ascii=False) != f'"{name}"']
        if odd:
            raise _refused(where, f"has the property {odd[0]!r}", "give it a name without escapes")
        missing = sorted(set(schema.get("required", ())) - set(properties))
        if missing:
            raise _refused(where, f"requires '{missing[0]}', which is no property", "define it")
    elif schema.get("required"):
        raise _refused(where, "requires properties that it does not define", "define them")
    if "prefixItems" in schema and {"minItems", "maxItems"} & schema.keys():
        raise _refused(where, "says how many items beside 'prefixItems'", "leave it out")
    pattern = schema.get("pattern")
    if pattern is not None:
        bare = _CLASS.sub("", str(pattern))
        inside = "".join(_CLASS.findall(str(pattern)))
        if _OPEN.search(bare) or _OPEN.search(inside) or re.search(r"(?<!\\)\.", bare):
            raise _refused(
                where,
                f"has the pattern {pattern!r}, which may take a quote or a control character",
                "name the characters that may come, as in [A-Za-z0-9 ]",
            )
    kinds = schema.get("type")
    if kinds is not None:
        given = [*schema.get("enum", ()), *([schema["const"]] if "const" in schema else [])]
        wrong = [value for value in given if not _is_a(value, kinds)]
        if wrong:
            raise _refused(where, f"lists {wrong[0]!r}, which is no {kinds}", "leave it out")
    if len(schema.get("allOf", ())) > 1:
        raise _refused(where, "says 'allOf' of several", "write them as one schema")
    if "oneOf" in schema and not _are_apart(schema["oneOf"]):
        raise _refused(
            where, "says 'oneOf' of what a value may be two of", "say 'anyOf', or give types apart"
        )


def _is_a(value: Any, kinds: str | list[str]) -> bool:
    for kind in [kinds] if isinstance(kinds, str) else kinds:
        if isinstance(value, bool):
            if kind == "boolean":
                return True
        elif isinstance(value, _TYPES.get(kind, ())):
            return True
    return False


def _are_apart(schemas: Any) -> bool:
    """Whether no value can be of two schemas, by their types or listed values."""
    types: list[str] = []
    listed: list[str] = []
    for schema in schemas:
        if not isinstance(schema, Mapping):
            return False
        if "const" in schema or "enum" in schema:
            values = schema.get("enum", [schema.get("const")])
            listed += {json.dumps(value) for value in values}
        elif isinstance(schema.get("type"), str):
            types.append("number" if schema["type"] == "integer" else schema["type"])
        else:
            return False
    of_listed = [kind for value in listed for kind in types if _is_a(json.loads(value), kind)]
    return len(set(types)) == len(types) and len(set(listed)) == len(listed) and not of_listed


def _schemas(schema: Any, where: str) -> Iterator[tuple[str, Any]]:
    """A schema and those in it, each with its place."""
    yield where, schema
    if not isinstance(schema, Mapping):
        return
    for name in ("properties", "$defs", "definitions"):
        of_names = schema.get(name)
        for key, each in (of_names if isinstance(of_names, Mapping) else {}).items():
            yield from _schemas(each, f"{where}/{name}/{key}")
    for name in ("anyOf", "oneOf", "allOf", "prefixItems"):
        several = schema.get(name)
        for place, each in enumerate(several if isinstance(several, list) else []):
            yield from _schemas(each, f"{where}/{name}/{place}")
    for name in ("items", "additionalProperties"):
        if isinstance(schema.get(name), Mapping):
            yield from _schemas(schema[name], f"{where}/{name}")


def _refused(where: str, found: str, cure: str) -> SettingError:
    return SettingError(f"the JSON schema at {where} {found}", cure)
