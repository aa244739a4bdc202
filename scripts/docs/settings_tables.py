"""The site's tables of settings, from the rows in ``beamgen.settings``.

In a page ``<!-- settings -->`` becomes a table of all settings, ``<!-- parameters -->`` one of the
graph's inputs that hold them, and ``<!-- refused -->`` one of HF's fields that are refused.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from beamgen import SearchConfig
from beamgen.settings.hf_fields import AROUND_SEARCH, REFUSED
from beamgen.settings.setting import IDS, REQUIRED, TIMES, Setting
from beamgen.settings.table import SETTINGS, parameters_with


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Fill the places in a page that has them (a hook of MkDocs)."""
    for place, table in (
        ("<!-- settings -->", _settings),
        ("<!-- parameters -->", _parameters),
        ("<!-- refused -->", _refused),
    ):
        if place in markdown:
            markdown = markdown.replace(place, "\n".join(table()))
    return markdown


def _settings() -> Iterable[str]:
    yield "| setting | default | a row its own | on the command line | meaning |"
    yield "|---|---|---|---|---|"
    for setting in SETTINGS:
        own = "yes" if setting.per_row else ""
        yield (
            f"| `{setting.name}` | {_default(setting)} | {own} | `{_option(setting)}` "
            f"| {setting.meaning} |"
        )


def _default(setting: Setting) -> str:
    if setting.default is REQUIRED:
        return "the checkpoint's"
    return "" if setting.default in (None, ()) else f"{setting.default}"


def _option(setting: Setting) -> str:
    if setting.name == "constraint":
        return "--regex, --json-schema, --catalogue, --constraint"
    if setting.name == "stop_strings":
        return "--stop-string"
    return f"--{setting.name.replace('_', '-')}" if setting.option else "--set"


def _parameters() -> Iterable[str]:
    defaults = SearchConfig(eos_token_id=(), pad_token_id=0).for_prompt(1).inputs()
    of_checkpoint = {setting.name for setting in SETTINGS if setting.default is REQUIRED}
    yield "| input | type, shape | default | meaning |"
    yield "|---|---|---|---|"
    for parameter in parameters_with({IDS, TIMES}):
        values = ", ".join(f"{number:g}" for number in defaults[parameter.name].flat)
        default = "the checkpoint's" if parameter.name in of_checkpoint else values or "none"
        shape = f"`[{', '.join(parameter.axes)}]`"
        yield (
            f"| `{parameter.name}` | {parameter.dtype} {shape} | {default} | {parameter.meaning} |"
        )


def _refused() -> Iterable[str]:
    yield "| field of `GenerationConfig`, argument of `generate` | why |"
    yield "|---|---|"
    for name, reason in sorted({**REFUSED, **AROUND_SEARCH}.items()):
        yield f"| `{name}` | {reason} |"
