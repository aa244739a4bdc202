"""Pages of text encoder-decoders: in Node and in a browser the package's tokens and scores."""

from __future__ import annotations

import json
import random
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support.odd_texts import odd_texts
from support.packaged import check_verified
from support.spm_tokenizers import PUBLISHED, publish
from support.web_site import Page, Reader, Site, in_node, serve

from beamgen import BeamgenError, Generator, Package, explain, package_as
from beamgen.formats.web.format import write
from beamgen.formats.web.texts import add_text
from beamgen.package.manifest import Encoder
from beamgen.tokenizer.convert import convert_tokenizer
from beamgen.tokenizer.hard_texts import TEXTS
from beamgen.tokenizer.load import load_tokenizer

pytestmark = pytest.mark.transformers_4  # whose tokenizers the checkpoints have

EXAMPLE = "the old woman and the beam search"
SETTINGS = {"num_beams": 3, "num_return_sequences": 3, "max_new_tokens": 6}

MakePage = Callable[[str], Page]


@pytest.fixture(scope="module")
def pages(
    once: Callable[..., Path], text_packages: Callable[[str], Package], node_modules: Path
) -> MakePage:
    """``pages("t5")``: the page of that package; read-only."""

    def make(name: str) -> Page:
        package = text_packages(name)

        def package_page(base: Path) -> None:
            base.mkdir()
            options = {"examples": [EXAMPLE], "node_modules": node_modules}
            done = package_as(package, "web", base / "page", **options)
            check_verified(done)
            (base / "output").write_text("\n".join(check.what for check in done.checks))

        base = once(f"web/{name}", package_page)
        return Page(base / "page", package, (base / "output").read_text())

    return make


def _same(record: dict[str, Any], expected: list[Any]) -> None:
    assert [each["ids"] for each in record["hypotheses"]] == [each.token_ids for each in expected]
    assert [each["text"] for each in record["hypotheses"]] == [each.new_text for each in expected]
    scores = [each["score"] for each in record["hypotheses"]]
    assert scores == pytest.approx([each.score for each in expected], rel=1e-4, abs=1e-4)


#: As a page is asked, and ``generate``.
ASKED: dict[str, list[tuple[dict[str, Any], dict[str, Any]]]] = {
    "t5": [
        ({"text": EXAMPLE}, {"prompts": EXAMPLE}),
        (
            {"text": "a doctor", "decoder_text": "the"},
            {"prompts": "a doctor", "decoder_prompt": "the"},
        ),
        (
            {"ids": [5, 9, 7, 1], "decoder_ids": [0, 7]},
            {"prompts": [5, 9, 7, 1], "decoder_prompt": [0, 7]},
        ),
    ],
    "marian": [
        (
            {"text": f">>fra<< {EXAMPLE}", "decoder_text": "hcraes"},
            {"prompts": f">>fra<< {EXAMPLE}", "decoder_prompt": "hcraes"},
        ),
    ],
    "mbart_seq2seq": [
        (
            {"text": EXAMPLE, "src_lang": "ja_XX", "tgt_lang": "de_DE"},
            {"prompts": EXAMPLE, "src_lang": "ja_XX", "tgt_lang": "de_DE"},
        ),
        (
            {"text": EXAMPLE, "tgt_lang": "ro_RO", "decoder_text": "a"},
            {"prompts": EXAMPLE, "tgt_lang": "ro_RO", "decoder_prompt": "a"},
        ),
    ],
}


@pytest.mark.parametrize(
    "name",
    [each if each == "t5" else pytest.param(each, marks=pytest.mark.slow) for each in ASKED],
)
def test_the_answers_in_node_are_the_packages(name: str, pages: MakePage) -> None:
    page = pages(name)
    asked = ASKED[name]
    searches = [{"prompt": prompt, "settings": SETTINGS} for prompt, _ in asked]
    found = in_node(page.folder, {"searches": searches})
    tokenizer = page.generator.tokenizer
    for record, (_, given) in zip(found["searches"], asked, strict=True):
        (expected,) = page.generator.generate(**given, **SETTINGS)
        _same(record, expected)
        assert record["prompt"]["ids"] == expected[0].prompt_ids
        source = record["source"]["ids"]
        if isinstance(given["prompts"], str):
            own = {"src_lang": given.get("src_lang")}
            assert source == page.generator.encode(given["prompts"], **own)
        assert record["source"]["text"] == tokenizer.decode(source, skip_special_tokens=True)
        assert next(iter(record)) == "source"
        told = explain(page.package, given.pop("prompts"), **given, **SETTINGS, verify=False)
        told = json.loads(json.dumps(told.to_json()))
        assert (record["source"], record["prompt"]) == (told["source"], told["prompt"])
        for step, other in zip(record["steps"], told["steps"], strict=True):
            for each, same in zip(step["continuations"], other["continuations"], strict=True):
                kept = ("rank", "parent", "token", "text", "fate", "beam")
                assert [each[name] for name in kept] == [same[name] for name in kept]
    assert "tokens and scores of" in page.output
    reader = "the page's own reader" if name == "marian" else "@huggingface/tokenizers"
    assert f"hard texts by {reader}" in page.output


@pytest.mark.slow
def test_a_search_from_the_command_line(pages: MakePage) -> None:
    page = pages("mbart_seq2seq")
    pairs = [f"{name}={value}" for name, value in SETTINGS.items()]

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        command = ["node", "page/node.js", *words]
        return subprocess.run(command, cwd=page.folder, capture_output=True, text=True)

    done = run(EXAMPLE, *pairs, "src_lang=ja_XX", "tgt_lang=de_DE", "decoder_prompt=a")
    given = {"src_lang": "ja_XX", "tgt_lang": "de_DE", "decoder_prompt": "a"}
    (expected,) = page.generator.generate(EXAMPLE, **given, **SETTINGS)
    _same(json.loads(done.stdout), expected)
    for words, message in (
        ((EXAMPLE, "tgt_lang=de"), "This model knows no language de. It has ar_AR, cs_CZ"),
        ((EXAMPLE, "src_lang=de"), "This model knows no language de."),
        (("word " * 200,), "tokens and this model reads 128 at most. Shorten the text."),
    ):
        refused = run(*words)
        assert refused.returncode == 1
        (line,) = refused.stderr.strip().splitlines()
        assert message in line, line


@pytest.mark.slow
def test_a_decoder_that_begins_with_its_language(
    text_packages: Callable[[str], Package], node_modules: Path, tmp_path: Path
) -> None:
    """The language is the start then, and nothing is forced behind it."""
    package = text_packages("mbart_seq2seq")
    assert package.manifest.encoder is not None
    ids = Generator(package, load=False).tokenizer.languages.ids
    encoder = replace(package.manifest.encoder, decoder_start_token_id=ids["ro_RO"])
    begun = replace(package, manifest=replace(package.manifest, encoder=encoder))
    done = package_as(begun, "web", tmp_path / "page", node_modules=node_modules)
    check_verified(done)  # one of its searches has another language
    for words in ("", "a"):
        prompt = {"text": EXAMPLE, "tgt_lang": "de_DE", "decoder_text": words}
        found = in_node(done.folder, {"searches": [{"prompt": prompt, "settings": SETTINGS}]})
        given = {"tgt_lang": "de_DE"} | ({"decoder_prompt": words} if words else {})
        (expected,) = Generator(begun).generate(EXAMPLE, **given, **SETTINGS)
        (record,) = found["searches"]
        _same(record, expected)
        assert record["prompt"]["ids"] == expected[0].prompt_ids
        assert record["prompt"]["ids"][0] == ids["de_DE"]


COUNT = 1500


def _check_reader(name: str, count: int, node_modules: Path, tmp_path: Path) -> None:
    """Ids of sources and translations, and texts, by the page's modules alone."""
    folder = publish(name, tmp_path / "published")
    convert_tokenizer(folder)
    own = load_tokenizer(folder)
    assert own is not None
    text = add_text(own, len(own), tmp_path, "vendor", node_modules)
    assert text["kind"] == "tokenizer"
    modules = Path(write.__code__.co_filename).parent / "page"
    (tmp_path / "page").symlink_to(modules)
    (tmp_path / "page.json").write_text(json.dumps({"text": text}))
    draw = random.Random(count)
    special = sorted(own.special_tokens.values())[:20]
    texts = [*TEXTS, *odd_texts(count, 21, [*special, ">>fra<<", ">>"])]
    codes = sorted(own.languages.ids)
    told = [(each, draw.choice(codes)) for each in texts] if codes else []
    lists = [[draw.randrange(len(own)) for _ in range(draw.randrange(12))] for _ in range(count)]
    script = """
        import { readFileSync } from 'node:fs';
        import { openText } from './page/text.js';
        const root = new URL(`file://${process.cwd()}/`);
        const read = async (path) => JSON.parse(readFileSync(path));
        const page = await read('page.json');
        const text = await openText(page, read, (path) => import(new URL(path, root)));
        const { texts, told, lists } = await read(0);
        console.log(JSON.stringify({
            encoded: texts.map((each) => text.encode(each)),
            targets: texts.map((each) => text.encodeTarget(each)),
            told: told.map(([each, src_lang]) => text.encode(each, { src_lang })),
            decoded: lists.map((each) => text.decode(each)),
        }));
    """
    done = subprocess.run(
        ["node", "--preserve-symlinks", "--input-type=module", "-e", script],
        cwd=tmp_path,
        input=json.dumps({"texts": texts, "told": told, "lists": lists}),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    for each, ids, target in zip(texts, found["encoded"], found["targets"], strict=True):
        assert ids == own.encode(each), each
        assert target == own.encode_target(each), each
    for (each, code), ids in zip(told, found["told"], strict=True):
        assert ids == own.encode(each, src_lang=code), each
    for ids, shown in zip(lists, found["decoded"], strict=True):
        assert shown == own.decode(ids, skip_special_tokens=True), ids


READ = [
    name
    for name, (_, _, fields) in PUBLISHED.items()
    if not fields.keys() & {"split_special_tokens", "clean_up_tokenization_spaces"}
]


@pytest.mark.slow
@pytest.mark.parametrize("name", READ)
def test_a_page_reads_text_as_the_package_does(
    name: str, node_modules: Path, tmp_path: Path
) -> None:
    _check_reader(name, COUNT, node_modules, tmp_path)


@pytest.mark.parametrize("name", ["t5", "two models", "one model"])
def test_a_page_reads_some_text_as_the_package_does(
    name: str, node_modules: Path, tmp_path: Path
) -> None:
    _check_reader(name, COUNT // 10, node_modules, tmp_path)


@pytest.mark.parametrize("name", ["two models, more tokens", "two models, split"])
def test_what_the_page_cannot_read_leaves_ids(name: str, tmp_path: Path) -> None:
    own = load_tokenizer(publish(name, tmp_path / "published"))
    text = add_text(own, len(own), tmp_path, "vendor")
    assert text["kind"] == "pieces"
    assert "no form that runs in a browser" in text["reason"]


def test_an_example_that_cannot_be_read_is_refused(
    text_packages: Callable[[str], Package], tmp_path: Path
) -> None:
    package = text_packages("t5")
    short = replace(package, manifest=replace(package.manifest, encoder=Encoder(0, 4)))
    with pytest.raises(BeamgenError, match="tokens, and the encoder 4 positions"):
        package_as(short, "web", tmp_path / "page", examples=[EXAMPLE])
    assert not (tmp_path / "page").exists()


# In a browser.

_READY = "#submit:not([disabled])"
_DONE = "#results:not([hidden]):not(.stale), [aria-invalid]"


@pytest.fixture(scope="module")
def site(pages: MakePage) -> Iterator[Site]:
    with serve(pages("mbart_seq2seq").folder) as served:
        yield served


@pytest.fixture(scope="module")
def reader(browser: Any, site: Site) -> Iterator[Reader]:
    opened = Reader(browser, color_scheme="light")
    opened.tab.goto(site.url)
    opened.tab.wait_for_selector(_READY)
    yield opened
    opened.context.close()


def _search(reader: Reader) -> dict[str, Any]:
    reader.tab.click("#submit")
    reader.tab.wait_for_selector(_DONE)
    return reader.saved()


def test_a_source_is_read_in_its_language_and_answered_in_another(
    reader: Reader, pages: MakePage, shot: Callable[[Reader, str], None]
) -> None:
    page = pages("mbart_seq2seq")
    assert reader.text("#prompt-label") == "Text to read"
    assert reader.text("#lede").startswith("Give the model a text.")
    assert reader.tab.input_value("#prompt") == EXAMPLE
    assert reader.tab.input_value("#src_lang") == "en_XX"
    assert "German (de_DE)" in reader.text("#tgt_lang")
    reader.tab.select_option("#src_lang", "ja_XX")
    reader.tab.select_option("#tgt_lang", "de_DE")
    for name, value in SETTINGS.items():
        reader.tab.fill(f"#{name}", str(value))
    record = _search(reader)
    languages = {"src_lang": "ja_XX", "tgt_lang": "de_DE"}
    (expected,) = page.generator.generate(EXAMPLE, **languages, **SETTINGS)
    _same(record, expected)
    assert f"{len(record['source']['ids'])} tokens" in reader.text("#prompt-count")
    shot(reader, "source-1280-light")
    reader.tab.fill("#decoder_prompt", "a")
    record = _search(reader)
    (expected,) = page.generator.generate(EXAMPLE, decoder_prompt="a", **languages, **SETTINGS)
    _same(record, expected)
    assert reader.text(".tree .root") == "start"
    for button, answer in zip(reader.tab.query_selector_all(".answer"), expected, strict=True):
        assert answer.text in " ".join(button.inner_text().split())
    reader.tab.fill("#decoder_prompt", "")


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("prompt", " ", "The text is empty. Write something for the model to read."),
        ("prompt", "word " * 200, "this model reads 128 at most. Shorten the text."),
        ("decoder_prompt", "a " * 200, "The beginning of the answer has"),
    ],
)
def test_what_is_wrong_is_said_where_it_is(
    field: str, value: str, message: str, reader: Reader
) -> None:
    before = reader.tab.input_value(f"#{field}")
    reader.tab.fill(f"#{field}", value)
    reader.tab.click("#submit")
    reader.tab.wait_for_selector(f"#{field}[aria-invalid='true']")
    assert message in reader.text(f"#{field}-error")
    assert reader.tab.evaluate("document.activeElement.id") == field
    reader.tab.fill(f"#{field}", before)
    assert not reader.tab.is_visible(f"#{field}-error")


def test_a_phone_shows_all_of_it_and_nothing_failed(
    reader: Reader, shot: Callable[[Reader, str], None]
) -> None:
    reader.tab.set_viewport_size({"width": 375, "height": 700})
    reader.tab.emulate_media(color_scheme="dark")
    _search(reader)
    assert reader.fits()
    shot(reader, "source-375-dark")
    unnamed = """[...document.querySelectorAll('input, textarea, select')]
        .filter((e) => !e.labels.length).map((e) => e.id)"""
    assert reader.tab.evaluate(unnamed) == []
    assert reader.errors == []
