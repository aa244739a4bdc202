"""The page's own modules, run in Node and compared with the package and its tokenizer."""

from __future__ import annotations

import itertools
import json
import shutil
import subprocess
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from beamgen.formats.format import Check
from beamgen.formats.web.modules import JINJA, ORT_WEB, TOKENIZERS
from beamgen.runtime.generator import Generator
from beamgen.tokenizer.hard_texts import TEXTS

if TYPE_CHECKING:
    from beamgen.tokenizer.tokenizer import Tokenizer

_NEW_TOKENS, _DECODER_PROMPT = 16, 2
_SECONDS = 1800


def check_in_node(
    generator: Generator,
    folder: Path,
    tokenizer: Tokenizer | None,
    prompts: Sequence[Sequence[int]],
    *,
    chat: bool,
) -> tuple[list[Check], bool]:
    """Compare a finished page with what it was made of.

    Args:
        generator: of the page's package.
        folder: the page.
        tokenizer: what the page's has to equal; None where it has none.
        prompts: token ids to search from.
        chat: whether the page has a chat template.

    Returns:
        The checks, and whether the template was found to render as HF's does.
    """
    node = shutil.which("node")
    if node is None:
        return [Check("there is no Node.js to run the page's modules in", None)], False
    config, manifest = generator.search, generator.package.manifest
    longest = max(map(len, prompts)) if manifest.encoder is None else _DECODER_PROMPT + 1
    room = manifest.limits.room(longest)
    settings = {
        "num_return_sequences": config.num_beams,
        "max_new_tokens": min(_NEW_TOKENS, room),
        "seed": 7 if config.do_sample else None,
    }
    texts = TEXTS if tokenizer is not None else ()
    searches = _searches(generator, tokenizer, prompts)
    request = {
        "searches": [{"prompt": prompt, "settings": settings} for prompt, _ in searches],
        "texts": texts,
        "targets": texts if manifest.encoder is not None else (),
        "languages": list(_told(tokenizer)),
        "chats": texts if chat else (),
        "ids": [_ids(tokenizer, text) for text in texts],
    }
    found = _in_node(node, folder, request)
    if isinstance(found, str):
        return [Check(f"the page's modules failed in Node.js: {found}", False)], False
    checks = [_search_check(generator, [asked for _, asked in searches], settings, found)]
    if tokenizer is None:
        return checks, False
    checks.append(_text_check(tokenizer, found))
    if not chat:
        return checks, False
    same = found["chats"] == [_chat_ids(tokenizer, text) for text in texts]
    if same:
        what = f"token ids of {len(texts)} chats by {JINJA.spec}, against the chat template"
        checks.append(Check(f"{what} of the package's tokenizer", True))
    return checks, same


def _in_node(node: str, folder: Path, request: dict[str, Any]) -> dict[str, Any] | str:
    """What the page answers, or why it does not."""
    try:
        done = subprocess.run(
            [node, "page/node.js"],
            cwd=folder,
            input=json.dumps(request),
            capture_output=True,
            text=True,
            encoding="utf-8",
            timeout=_SECONDS,
        )
    except subprocess.TimeoutExpired:
        return f"no answer within {_SECONDS} s"
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if "Error" in line] or [done.stderr]
        return lines[0].strip()[:300]
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def _search_check(
    generator: Generator,
    asked: Sequence[dict[str, Any]],
    settings: dict[str, Any],
    found: dict[str, Any],
) -> Check:
    chosen = {name: value for name, value in settings.items() if value is not None}
    same, answers = True, 0
    for own, record in zip(asked, found["searches"], strict=True):
        (expected,) = generator.generate(**own, **chosen)
        answers += len(expected)
        same &= [h["ids"] for h in record["hypotheses"]] == [e.token_ids for e in expected]
        same &= all(
            abs(h["score"] - e.score) <= 2e-4 * max(1.0, abs(e.score))
            for h, e in zip(record["hypotheses"], expected, strict=False)
        )
    return Check(
        f"tokens and scores of {answers} answers by the page's modules in Node.js "
        f"{found['node'].removeprefix('v')} with {ORT_WEB.spec}, against onnxruntime "
        f"{metadata.version('onnxruntime')}",
        same,
    )


def _text_check(tokenizer: Tokenizer, found: dict[str, Any]) -> Check:
    wrong = [
        text
        for text, ids, decoded in zip(TEXTS, found["texts"], found["ids"], strict=True)
        if ids != _ids(tokenizer, text)
        or decoded != tokenizer.decode(_ids(tokenizer, text), skip_special_tokens=True)
    ]
    wrong += [
        text
        for text, ids in zip(TEXTS, found["targets"], strict=False)
        if ids != tokenizer.encode_target(text)
    ]
    wrong += [
        text
        for (text, code), ids in zip(_told(tokenizer), found["languages"], strict=True)
        if ids != tokenizer.encode(text, src_lang=code)
    ]
    reader = TOKENIZERS.spec if tokenizer.backend is not None else "the page's own reader"
    what = (
        f"token ids of {len(TEXTS)} hard texts by {reader}, and back, "
        "against the package's tokenizer"
    )
    examples = ", ".join(map(repr, wrong[:3]))
    return Check(f"{what}; not those of {examples}" if wrong else what, not wrong)


def _searches(
    generator: Generator, tokenizer: Tokenizer | None, prompts: Sequence[Sequence[int]]
) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """Searches as the page is asked for them, and as ``generate`` is.

    Of an encoder-decoder one goes on from a decoder prompt, and one has another language.
    """
    first = list(prompts[0])
    asked: list[tuple[dict[str, Any], dict[str, Any]]] = [
        ({"ids": list(ids)}, {"prompts": [list(ids)]}) for ids in prompts
    ]
    if generator.package.manifest.encoder is None:
        return asked
    begun = first[:_DECODER_PROMPT]
    asked.append(
        ({"ids": first, "decoder_ids": begun}, {"prompts": [first], "decoder_prompt": [begun]})
    )
    for _, code in _told(tokenizer)[:1]:
        asked.append(({"ids": first, "tgt_lang": code}, {"prompts": [first], "tgt_lang": code}))
    return asked


def _told(tokenizer: Tokenizer | None) -> list[tuple[str, str]]:
    """The hard texts, each in a language of those that there are."""
    codes = [] if tokenizer is None else sorted(tokenizer.languages.ids)
    return list(zip(TEXTS, itertools.cycle(codes), strict=False)) if codes else []


def _ids(tokenizer: Tokenizer | None, text: str) -> list[int]:
    return [] if tokenizer is None else tokenizer.encode(text)


def _chat_ids(tokenizer: Tokenizer, text: str) -> list[int]:
    messages = [{"role": "user", "content": text}]
    return tokenizer.encode(tokenizer.chat_text(messages), add_special_tokens=False)
