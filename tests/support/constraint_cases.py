"""Patterns and schemas by which constraints are held against HF's generate."""

from __future__ import annotations

from typing import Any

#: 40 regular expressions; the second is Python's, where it writes one otherwise.
PATTERNS: tuple[tuple[str, str | None], ...] = (
    (r" [0-9]+ mg", None),
    (r" (yes|no|maybe)", None),
    (r" [0-9]{1,3}(\.[0-9]{1,2})? (mg|g|ml)", None),
    (r" [0-9]{4}-[0-9]{2}-[0-9]{2}", None),
    (r" (0[1-9]|1[0-2])/(19|20)[0-9]{2}", None),
    (r" [A-Z]{3}-[0-9]{4}", None),
    (r" [a-z]+( [a-z]+){0,3}", None),
    (r" a (drug|plant|animal) used (to|for|in) [a-z]{3,12}", None),
    (r" \w{1,12}", None),
    (r" [[:alpha:]]{2,8}[[:digit:]]?", r" [A-Za-z]{2,8}[0-9]?"),
    (r" (?i:aspirin|ibuprofen)", None),
    (r" \p{Lu}\p{Ll}{1,6}", r" [^\W\d_a-zß-öø-ÿ]\w{1,6}"),
    (r" [à-ÿ]{2,4}", None),
    (r" [\u03b1-\u03c9]{1,3}[0-9]", None),
    (r" [一-龥]{1,2}", None),
    (r" (é|è|ê)+x", None),
    (r" .{3,9}", None),
    (r" [^a-z]{2,6}", None),
    (r" (ab|cd|ef){2,4}", None),
    (r" ((a|b)(c|d)){1,3}e", None),
    (r" x?y*z+", None),
    (r"", None),
    (r".*", None),
    (r"[^.]*\.", None),
    (r" [01]{8}", None),
    (r" 0x[0-9a-f]{2,4}", None),
    (r" \([0-9]{3}\) [0-9]{3}-[0-9]{4}", None),
    (r" [a-z]+@[a-z]+\.(com|org)", None),
    (r" https?://[a-z]{2,8}\.org(/[a-z]{1,5})?", None),
    (r" (mon|tues|wednes|thurs|fri|satur|sun)day", None),
    (r" [a-z]{2,6}, [a-z]{2,6} and [a-z]{2,6}", None),
    (r" \$[1-9][0-9]{0,2}(,[0-9]{3})*", None),
    (r" ([0-9a-f]{2}:){3}[0-9a-f]{2}", None),
    (r" -?[0-9]+(e-?[0-9])?", None),
    (r" \"[a-z ]{1,12}\"", None),
    (r" <b>[a-z]{1,8}</b>", None),
    (r"\n- [a-z ]{2,10}(\n- [a-z ]{2,10})?", None),
    (r"\t[a-z]{2,5}\r?\n", None),
    (r" [🙂-🙏]{1,2}", None),
    (r" (the|a)( (very|quite)){0,2} (small|large) [a-z]{3,7}", None),
)

#: Those that words of letters and digits match, as Moses' rules write them.
WORDS = (
    r"(yes|no|maybe)", r"[a-z]+( [a-z]+){0,3}",
    r"a (drug|plant|animal) used (to|for|in) [a-z]{3,12}",
    r"[0-9]{1,3} mg", r"[A-Za-z]{2,8}[0-9]?", r"(?i:aspirin|ibuprofen)", r"[01]{8}",
    r"(the|a)( (very|quite)){0,2} (small|large) [a-z]{3,7}", r"[0-9a-f]{2,4}", r"[a-z0-9]{4,9}",
    r"(mon|tues|wednes|thurs|fri|satur|sun)day", r"((a|b)(c|d)){1,3}e", r"x?y*z+", r"[a-z]{20,30}",
    r"[A-Z]{3}[0-9]{4}", r"(an? )?[a-z]+ing", r".*", r"\w{1,12}", r"used to treat [a-z ]{4,20}",
    r"(ab|cd|ef){2,4}",
)  # fmt: skip


def _of(required: list[str] | None = None, /, **properties: Any) -> dict[str, Any]:
    names = list(properties) if required is None else required
    return {"type": "object", "properties": properties, "required": names}


_NAME = {"type": "string", "minLength": 1, "maxLength": 10}
_WORD = {"type": "string", "pattern": "^[a-z]{2,8}$"}
_AMOUNT = _of(value={"type": "number"}, unit={"enum": ["mg", "g", "ml"]})

#: 20 JSON schemas, of the kinds that people ask services for.
SCHEMAS: tuple[dict[str, Any], ...] = (
    _of(name=_NAME, kind={"enum": ["drug", "plant", "animal"]}),
    _of(drug=_WORD, dose=_AMOUNT),
    _of(type={"const": "Point"}, coordinates={
        "type": "array", "items": {"type": "integer"}, "minItems": 2, "maxItems": 2}),
    _of(date={"type": "string", "format": "date"}, title=_WORD),
    _of(["id"], id={"type": "integer"}, note=_WORD),
    _of(tags={"type": "array", "items": _WORD, "minItems": 1, "maxItems": 3}),
    _of(ok={"type": "boolean"}, error={"type": ["string", "null"], "maxLength": 8}),
    {"type": "array", "items": {"enum": ["a", "b", "c"]}, "minItems": 1, "maxItems": 4},
    {"enum": ["positive", "negative", "neutral"]},
    {"anyOf": [{"type": "integer"}, {"type": "null"}]},
    {"$defs": {"amount": _AMOUNT}, **_of(low={"$ref": "#/$defs/amount"})},
    _of(person=_of(first=_WORD, last=_WORD)),
    _of(question=_NAME, answer={"type": "boolean"}),
    _of(city=_WORD, zip={"type": "string", "pattern": "^[0-9]{5}$"}),
    _of(x={"type": "number"}, y={"type": "number"}),
    {"type": "array", "prefixItems": [{"type": "integer"}, {"type": "boolean"}, _WORD]},
    _of(time={"type": "string", "format": "time"}),
    _of(tool={"const": "search"}, arguments=_of(query=_NAME)),
    {"type": "array", "items": _of(k=_WORD, v={"type": "integer"}), "minItems": 1, "maxItems": 2},
    {"oneOf": [{"type": "string", "maxLength": 5}, {"type": "integer"}, {"type": "boolean"}]},
)  # fmt: skip
