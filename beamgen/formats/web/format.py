"""A static folder for any web server: the search runs in the reader's browser, and is shown."""

from __future__ import annotations

import hashlib
import json
import os
import shlex
import shutil
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict, Unpack

from beamgen.disk import local
from beamgen.errors import PromptError, SettingError
from beamgen.export.prove import Progress
from beamgen.formats.format import Check, Format
from beamgen.formats.web.graph import CONSTRAINT, fed, web_graph
from beamgen.formats.web.modules import ORT_WEB, add_modules
from beamgen.formats.web.node_check import check_in_node
from beamgen.formats.web.texts import add_text
from beamgen.package.folder import MODEL, WEIGHTS, Package
from beamgen.package.manifest import Encoder
from beamgen.runtime.generator import Generator
from beamgen.runtime.texts import encode_text
from beamgen.settings.sources import DECODER_PROMPT
from beamgen.tokenizer.load import load_or_reason

if TYPE_CHECKING:
    from beamgen.tokenizer.tokenizer import Tokenizer

PAGE = "page.json"
VENDOR, MODULES = "vendor", "page"
_SOURCES = Path(__file__).parent / "page"

#: The largest model that a page is made of, in bytes of weights. See docs/web.md.
LARGEST = 1_100_000_000

#: "all" would add a second at loading that no search was seen to win back.
_SESSION = {
    "executionProviders": ["wasm"],
    "graphOptimizationLevel": "extended",
    "logSeverityLevel": 3,
}

#: A number of JavaScript's holds whole numbers up to this.
_SAFE = 2**53

_PLAIN_PROMPT = "The"


class WebOptions(TypedDict, total=False):
    """The keyword arguments of ``package_as(package, "web", ...)``.

    Attributes:
        title: of the page; by default the checkpoint's name.
        examples: prompts that the page offers; they are searched in the check, too.
        node_modules: where npm installed what the page is shipped with; None fetches it.
    """

    title: str | None
    examples: Sequence[str]
    node_modules: str | os.PathLike[str] | None


def write(
    package: Package, folder: Path, say: Progress, *, target: Path, **options: Unpack[WebOptions]
) -> Sequence[Check]:
    """Fill a folder with a page that searches.

    Args:
        package: a loop package.
        folder: to be filled.
        say: called with one line as each stage begins.
        target: what the folder will be called.
        options: see ``WebOptions``.

    Raises:
        SettingError: a browser cannot run this package.
        PromptError: an example is longer than the model has positions for.
        PackageError: something cannot be fetched, or the graph not be read.
    """
    check_fits(package)
    tokenizer, reason = load_or_reason(package.folder)
    encoded = [(text, _encode(tokenizer, text)) for text in options.get("examples", ())]
    check_examples(package, encoded)
    say("copying the page")
    shutil.copyfile(_SOURCES / "index.html", folder / "index.html")
    shutil.copyfile(_SOURCES / "style.css", folder / "style.css")
    (folder / MODULES).mkdir()
    for module in sorted(_SOURCES.glob("*.js")):
        shutil.copyfile(module, folder / MODULES / module.name)
    _write_json(folder / "package.json", {"private": True, "type": "module"})
    say(f"adding {ORT_WEB.spec}")
    given = options.get("node_modules")
    node_modules = None if given is None else local(given)
    add_modules(ORT_WEB, folder / VENDOR, node_modules)
    size = package.manifest.vocab_size
    text = add_text(tokenizer, size, folder, VENDOR, node_modules, reason=_sentence(reason))
    if not encoded and text["kind"] != "tokenizer" and tokenizer is not None:
        # a page of token ids would give its reader nothing to begin with
        encoded = [(_PLAIN_PROMPT, _encode(tokenizer, _PLAIN_PROMPT))]
    say("writing the graph with its trace")
    languages = bool(text.get("languages"))
    (folder / MODEL).write_bytes(web_graph(package, languages=languages))
    page = describe(package, folder, options.get("title"), text, encoded)
    _write_json(folder / PAGE, page)
    say("comparing the page's answers in Node.js")
    chat = bool(text.get("chat"))
    prompts = [ids for _, ids in encoded] or [_first_prompt(package, tokenizer)]
    with_text = tokenizer if text["kind"] == "tokenizer" else None
    generator = Generator(package, verify=False)
    checks, chat_holds = check_in_node(generator, folder, with_text, prompts, chat=chat)
    if chat and not chat_holds:
        text["chat"] = None
        for file in (folder / VENDOR).glob("jinja.*"):
            file.unlink()
        _write_json(folder / PAGE, page)
        checks.append(Check("chat: it was not found to render as HF's does, and left out", None))
    if text["kind"] != "tokenizer":
        offer = "The page takes token ids, and offers those of --example TEXT"
        checks.append(Check(f"text: {text['reason']} {offer}", None))
    if package.manifest.lora_slots:
        checks.append(Check("LoRA: the page is the base model, its slots are empty", None))
    return checks


def check_fits(package: Package) -> None:
    """Refuse what no browser can run.

    Raises:
        SettingError: with the reason.
    """
    manifest = package.manifest
    if manifest.backend != "loop":
        raise SettingError(
            f"a page shows what each step decided, which {manifest.operator} keeps to itself",
            "export the checkpoint with --search loop",
        )
    size = sum(manifest.files[name]["bytes"] for name in (MODEL, WEIGHTS) if name in manifest.files)
    if size > LARGEST:
        raise SettingError(
            f"the model has {size / 1e6:,.0f} MB, and a browser's 4 GB of memory hold one of "
            f"{LARGEST / 1e6:,.0f} MB, with room to search",
            "export a smaller checkpoint, or run it on a server: beamgen package triton",
        )


def check_examples(package: Package, encoded: Sequence[tuple[str, Sequence[int]]]) -> None:
    """Refuse prompts that the page could not search.

    Raises:
        PromptError: one is empty or too long.
    """
    encoder, limits = package.manifest.encoder, package.manifest.limits
    for text, ids in encoded:
        if encoder is None:
            is_long, what, most = limits.room(len(ids)) < 1, "model", limits.max_positions
            cure = "give one that leaves room for an answer"
        else:
            most = encoder.max_positions or len(ids)
            is_long, what, cure = len(ids) > most, "encoder", "give a shorter one"
        if not ids or is_long:
            raise PromptError(
                f"the example {text!r:.60} has {len(ids)} tokens, and the {what} {most} positions",
                cure,
            )


def describe(
    package: Package,
    folder: Path,
    title: str | None,
    text: dict[str, Any],
    encoded: Sequence[tuple[str, Sequence[int]]],
) -> dict[str, Any]:
    """What the page has to know of its model; see docs/web.md."""
    manifest = package.manifest
    search = manifest.search.to_json()
    rows = {row["name"]: row for row in manifest.inputs}
    return {
        "title": title or Path(manifest.source["model"]).name,
        "beamgen": metadata.version("beamgen"),
        "model": _fingerprint(folder, MODEL),
        "runtime": {
            "name": ORT_WEB.spec,
            "module": f"{VENDOR}/ort.js",
            "glue": f"{VENDOR}/ort-wasm.js",
            "wasm": _fingerprint(folder, f"{VENDOR}/ort.wasm"),
        },
        "session_options": _SESSION,
        "vocab_size": manifest.vocab_size,
        "limits": vars(manifest.limits),
        "encoder": None if manifest.encoder is None else _encoder(manifest.encoder),
        "search": {name: _safe(value) for name, value in search.items()},
        "inputs": {
            name: {"dtype": _DTYPES[rows[name]["dtype"]], "value": _value(package, name)}
            for name in fed(package, languages=bool(text.get("languages")))
            if name in rows and name not in (*_PROMPTS, *CONSTRAINT)
        },
        "text": text,
        "examples": [{"text": text, "ids": list(ids)} for text, ids in encoded],
    }


_PROMPTS = ("input_ids", "attention_mask", DECODER_PROMPT.name)


def _encoder(encoder: Encoder) -> dict[str, Any]:
    return {
        "decoder_start_token_id": encoder.decoder_start_token_id,
        "max_positions": encoder.max_positions,
    }


_DTYPES = {"int64": "int64", "float": "float32", "float32": "float32"}


def _value(package: Package, name: str) -> Any:
    """A parameter's default as the graph takes it, whether or not the file has one."""
    return _safe(package.manifest.search.for_prompt(1).inputs()[name].tolist()[0])


def _safe(value: Any) -> Any:
    """Large whole numbers as text: JavaScript would round them."""
    return str(value) if isinstance(value, int) and abs(value) >= _SAFE else value


def _sentence(reason: str | None) -> str | None:
    return None if reason is None else f"{reason[0].upper()}{reason[1:]}."


def _encode(tokenizer: Tokenizer | None, text: str) -> list[int]:
    if tokenizer is None:
        raise PromptError(
            f"the example {text!r:.60} is text, and the package has no tokenizer",
            "leave it out: the page takes token ids",
        )
    return encode_text(tokenizer, text)


def _first_prompt(package: Package, tokenizer: Tokenizer | None) -> list[int]:
    """Any prompt will do: the graph is the same for all."""
    ids = _encode(tokenizer, _PLAIN_PROMPT) if tokenizer is not None else []
    return ids or [min(5, package.manifest.vocab_size - 1)]


def _fingerprint(folder: Path, name: str) -> dict[str, Any]:
    content = (folder / name).read_bytes()
    return {
        "file": name,
        "bytes": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
    }


def _write_json(path: Path, values: Any) -> None:
    path.write_text(json.dumps(values, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


def _after(folder: Path) -> Sequence[str]:
    return (
        f"python -m http.server -d {shlex.quote(str(folder))} 8000",
        "open http://localhost:8000",
    )


FORMAT = Format(
    title="beamgen page",
    mark="beamgen-web.json",
    output="{name}-web",
    options=WebOptions,
    write=write,
    after=_after,
    reads_text=True,
)
