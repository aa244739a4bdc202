"""Chat templates: where they stand, and a chat as one of them writes it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

from beamgen.errors import PromptError, one_line
from beamgen.tokenizer.files import CHAT_TEMPLATE, CHAT_TEMPLATES
from beamgen.tokenizer.tokenizer import Messages

DEFAULT = "default"


def read_templates(folder: Path, stored: Any) -> dict[str, str]:
    """Templates by name: those of the files, or else those of the config.

    Args:
        folder: the tokenizer's.
        stored: the config's ``chat_template``: a template, or several with names.

    Raises:
        ValueError: they are of no form that HF reads.

    Source: ``PreTrainedTokenizerBase._from_pretrained``.
    """
    files = {path.stem: path for path in sorted((folder / CHAT_TEMPLATES).glob("*.jinja"))}
    if (folder / CHAT_TEMPLATE).is_file():
        files = {DEFAULT: folder / CHAT_TEMPLATE, **files}
    if files:
        return {name: path.read_text(encoding="utf-8") for name, path in files.items()}
    if isinstance(stored, list):
        stored = {entry["name"]: entry["template"] for entry in stored}
    named = {DEFAULT: stored} if isinstance(stored, str) else stored or {}
    if not all(isinstance(template, str) for template in named.values()):
        raise ValueError("its chat_template is no text")
    return dict(named)


def default_template(templates: Mapping[str, str]) -> str:
    """The template for chats without tools.

    Raises:
        PromptError: there is none.
    """
    if templates.get(DEFAULT):
        return templates[DEFAULT]
    if not any(templates.values()):
        raise PromptError("the package's tokenizer has no chat template", "pass plain text instead")
    raise PromptError(
        f"the tokenizer has chat templates called {', '.join(sorted(templates))}, and none of "
        f"them is the {DEFAULT}",
        f"rename one to {DEFAULT}, or pass plain text instead",
    )


def render(template: str, messages: Messages, variables: Mapping[str, Any]) -> str:
    """A chat as a template writes it.

    Args:
        template: Jinja.
        messages: with ``role`` and ``content`` each.
        variables: special tokens by name, and ``add_generation_prompt``.

    Raises:
        PromptError: the template is damaged, or does not take these messages.

    Source: ``render_jinja_template`` of transformers.
    """
    import jinja2

    try:
        compiled = _compiled(template)
    except jinja2.TemplateError as error:
        raise PromptError(
            f"the tokenizer's chat template is damaged: {one_line(error)}",
            "mend its Jinja, or pass plain text instead",
        ) from error
    try:
        text: str = compiled.render(
            messages=list(messages), tools=None, documents=None, **variables
        )
    except Exception as error:  # jinja's, raise_exception's and Python's own of its expressions
        raise refused(error) from error
    return text


def refused(error: BaseException) -> PromptError:
    """The error to raise where a template does not take messages."""
    return PromptError(
        f"the chat template does not take these messages: {one_line(error)}",
        "pass the roles and contents that it asks for, or plain text",
    )


@lru_cache(maxsize=8)
def _compiled(template: str) -> Any:
    """A template that may run in a sandbox only.

    Source: ``_compile_jinja_template`` of transformers.
    """
    import jinja2
    from jinja2.ext import Extension, loopcontrols
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    class Generation(Extension):
        """``{% generation %}`` marks what an assistant says, for training; here it is its body."""

        tags = {"generation"}  # noqa: RUF012 - jinja's

        def parse(self, parser: Any) -> Any:
            line = next(parser.stream).lineno
            body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
            return jinja2.nodes.Scope(body).set_lineno(line)

    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, loopcontrols]
    )
    environment.filters["tojson"] = _to_json
    environment.globals["raise_exception"] = _raise
    environment.globals["strftime_now"] = lambda form: datetime.now().strftime(form)
    return environment.from_string(template)


def _raise(message: str) -> None:
    import jinja2

    raise jinja2.exceptions.TemplateError(message)


def _to_json(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    """Jinja's own would escape what HTML reads."""
    return json.dumps(
        value,
        ensure_ascii=ensure_ascii,
        indent=indent,
        separators=separators,
        sort_keys=sort_keys,
    )
