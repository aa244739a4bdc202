"""An explanation as one HTML file that needs nothing else: the page's own script, inlined."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterator
from importlib import metadata
from typing import Any

from beamgen.explain.markup import escape
from beamgen.formats.web.page_parts import constants, found_markup, script, style

#: What follows a prompt that is too long for a title.
_TITLE_CHARS = 80

_STYLE = """
.plain .drawn { display: none; }
.reasons ul { margin: 0.9rem 0 0; padding-left: 1.2rem; }
.reasons .hint { margin-top: 0.75rem; }
"""

_START = """
document.body.classList.remove('plain');
new results.Results().show(JSON.parse(document.getElementById('record').textContent));
"""


def page(record: dict[str, Any]) -> str:
    """Write the page that shows a search.

    Without JavaScript it has the answers and what decided between them.

    Args:
        record: ``Explanation.to_json()``.
    """
    css, code = style() + _STYLE, f"{script('results')}{_START}"
    settings = ", ".join(f"{name} {_shown(value)}" for name, value in record["settings"].items())
    found = found_markup("".join(_answers(record)), "\n".join(_reasons(record)))
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; \
script-src '{_hash(code)}'; style-src '{_hash(css)}'; base-uri 'none'; form-action 'none'">
<title>{escape(_title(record))}: beams</title>
<style>{css}</style>
</head>
<body class="plain">
<header class="masthead">
<p class="eyebrow">One beam search, step by step</p>
<h1>{escape(_title(record))}</h1>
<p class="lede">{escape(settings)}</p>
</header>
<main>
<div id="results">{found}</div>
</main>
<footer><p>Made with beamgen {metadata.version("beamgen")}.</p></footer>
<script type="application/json" id="record">{_json(record)}</script>
<script>{code}</script>
</body>
</html>
"""


def _title(record: dict[str, Any]) -> str:
    """What was searched for: a prompt, or what an encoder read."""
    kind = "source" if "source" in record else "prompt"
    text: str | None = record[kind]["text"]
    if text is None:
        return f"{kind.capitalize()} of {len(record[kind]['ids'])} tokens"
    line = " ".join(text.split())
    return line if len(line) <= _TITLE_CHARS else f"{line[: _TITLE_CHARS - 1]}…"


def _shown(value: Any) -> str:
    """A setting's value; ids side by side."""
    return " ".join(map(str, value)) or "none" if isinstance(value, list) else str(value)


def _answers(record: dict[str, Any]) -> Iterator[str]:
    prompt = _text(record["prompt"])
    for found in record["hypotheses"]:
        ending = constants()["ENDINGS"][found["finish_reason"]]
        yield (
            f'<li><div class="answer"><span class="place">{found["rank"] + 1}</span>'
            f'<span class="text"><span class="given">{prompt}</span>{_text(found)}</span>'
            f'<span class="facts"><span class="score">{found["score"]:.4f}</span>'
            f"<span>{len(found['ids'])} tokens, {ending}</span></span></div></li>"
        )


def _text(of: dict[str, Any]) -> str:
    return escape(of["text"] if of["text"] is not None else " ".join(map(str, of["ids"])))


def _reasons(record: dict[str, Any]) -> Iterator[str]:
    sentences = [*record["why"], f"the search ended because {record['stopped']}"]
    yield '<section class="reasons" aria-labelledby="reasons-title">'
    yield '<h2 id="reasons-title">Why the first won</h2>'
    yield "<ul>"
    for sentence in sentences:
        yield f"<li>{escape(f'{sentence[:1].upper()}{sentence[1:]}.')}</li>"
    yield "</ul>"
    yield '<noscript><p class="hint">The tree of beams needs JavaScript.</p></noscript>'
    yield "</section>"


def _json(record: dict[str, Any]) -> str:
    """Nothing in it ends the element that it stands in."""
    return json.dumps(record, allow_nan=False).replace("<", "\\u003c")


def _hash(content: str) -> str:
    """The inline script or style that a Content-Security-Policy allows."""
    digest = hashlib.sha256(content.encode("utf-8")).digest()
    return f"sha256-{base64.b64encode(digest).decode()}"
