"""Pages to test, made once, and the servers they are loaded from."""

from __future__ import annotations

import contextlib
import functools
import http.server
import json
import os
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from beamgen import Generator, Package
from beamgen.cli import main

EXAMPLES = ("A doctor is", "aspirin is")

#: A page that can be asked, and one that has answered.
READY = "#submit:not([disabled])"
FOUND = "#results:not([hidden]):not(.stale)"

#: Nothing that a browser would do by itself, over a network or otherwise.
FLAGS = [
    "--no-sandbox",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--disable-quic",
]


@dataclass(frozen=True)
class Page:
    """A page, what it was made of, and what was said when it was made."""

    folder: Path
    package: Package
    output: str

    @functools.cached_property
    def generator(self) -> Generator:
        """The package in Python."""
        return Generator(self.package)

    @property
    def description(self) -> dict[str, Any]:
        """``page.json``."""
        return json.loads((self.folder / "page.json").read_text())


def skip_without(*programs: str) -> None:
    for program in programs:
        if shutil.which(program) is None:
            pytest.skip(f"there is no {program} on this machine")


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Chromium without a window; while it runs no other event loop can."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        pytest.skip("there is no chromium on this machine")
    with playwright.sync_playwright() as running:
        started = running.chromium.launch(executable_path=chromium, args=FLAGS)
        yield started
        started.close()


class Reader:
    """Someone with a page open: what was requested and what the console said is kept."""

    def __init__(self, browser: Any, **context: Any) -> None:
        self.context = browser.new_context(viewport={"width": 1280, "height": 900}, **context)
        self.tab = self.context.new_page()
        self.tab.set_default_timeout(90_000)
        self.requests: list[str] = []
        self.errors: list[str] = []
        self.context.on("request", lambda request: self.requests.append(request.url))
        self.tab.on("pageerror", lambda error: self.errors.append(str(error)))
        self.tab.on(
            "console",
            lambda message: (
                self.errors.append(message.text) if message.type in ("error", "warning") else None
            ),
        )

    def saved(self) -> dict[str, Any]:
        """The record of a search that the page saves."""
        with self.tab.expect_download() as download:
            self.tab.click("#save")
        record: dict[str, Any] = json.loads(Path(download.value.path()).read_text())
        return record

    def text(self, selector: str) -> str:
        return " ".join(self.tab.inner_text(selector).split())

    def fits(self) -> bool:
        """Nothing is wider than the window."""
        return bool(self.tab.evaluate("document.scrollingElement.scrollWidth <= window.innerWidth"))

    def cut_tokens(self) -> list[str]:
        """Tokens of the tree that their boxes do not show in full, but for very long ones."""
        script = """[...document.querySelectorAll('.node .token')]
            .filter((e) => e.scrollWidth > e.clientWidth && e.parentNode.offsetWidth < 210)
            .map((e) => e.textContent)"""
        found: list[str] = self.tab.evaluate(script)
        return found


class Searcher(Reader):
    """A reader of a page that searches."""

    def __init__(self, browser: Any, site: Site, **context: Any) -> None:
        super().__init__(browser, **context)
        self.site = site

    def open(self, *, ready: bool = True) -> None:
        self.tab.goto(self.site.url)
        self.tab.wait_for_selector(READY if ready else "#failure:not([hidden])")

    def search(self, prompt: str, **settings: Any) -> dict[str, Any]:
        """The record that the page saves of a search."""
        self.tab.fill("#prompt", prompt)
        for name, value in settings.items():
            self.tab.fill(f"#{name}", str(value))
        self.tab.click("#submit")
        self.tab.wait_for_selector(f"{FOUND}, [aria-invalid]")
        return self.saved()


@pytest.fixture(scope="session")
def shot(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Reader, str], None]:
    """``shot(reader, "name")`` keeps a picture, for people to look at."""
    chosen = os.environ.get("BEAMGEN_SCREENSHOTS")
    folder = Path(chosen) if chosen else tmp_path_factory.mktemp("screenshots")

    def take(reader: Reader, name: str) -> None:
        reader.tab.wait_for_timeout(600)  # what grows has grown
        reader.tab.screenshot(path=folder / f"{name}.png", full_page=True)

    return take


@pytest.fixture(scope="session")
def page(once: Callable[..., Path], demos: Callable[[str], Package]) -> Page:
    """Of the Phi-3 demo checkpoint, which has a tokenizer and a chat template; read-only."""
    skip_without("node", "npm")
    package = demos("phi3")

    def make(base: Path) -> None:
        base.mkdir()
        examples = [word for text in EXAMPLES for word in ("--example", text)]
        arguments = ["package", "web", "-m", package.folder, "-o", base / "page"]
        done = CliRunner().invoke(main, list(map(str, [*arguments, *examples])))
        if "npm could not fetch" in done.output:
            pytest.skip(done.output.strip())
        assert done.exit_code == 0, done.output
        (base / "output").write_text(done.output)

    base = once("web/phi3", make)
    return Page(base / "page", package, (base / "output").read_text())


@pytest.fixture(scope="session")
def node_modules(page: Page, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What ``--node-modules`` takes, without another download."""
    from beamgen.formats.web.modules import JINJA, ORT_WEB, TOKENIZERS

    folder = tmp_path_factory.mktemp("node_modules")
    for package in (ORT_WEB, TOKENIZERS, JINJA):
        for path, (name, _) in package.files.items():
            (folder / package.name / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(page.folder / "vendor" / name, folder / package.name / path)
    return folder


def in_node(folder: Path, request: dict[str, Any]) -> dict[str, Any]:
    """A page's answers to what ``page/node.js`` takes."""
    done = subprocess.run(
        ["node", "page/node.js"],
        cwd=folder,
        input=json.dumps(request),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


@dataclass
class Site:
    """A folder on localhost; what is in ``instead`` is answered in place of its files."""

    url: str
    instead: dict[str, int | bytes] = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)


@contextlib.contextmanager
def serve(folder: Path) -> Iterator[Site]:
    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            """Nothing."""

        def end_headers(self) -> None:
            for name, value in site.headers.items():
                self.send_header(name, value)
            super().end_headers()

        def do_GET(self) -> None:
            answer = site.instead.get(self.path.partition("?")[0])
            if answer is None:
                super().do_GET()
            elif isinstance(answer, int):
                self.send_error(answer)
            else:
                self.send_response(200)
                self.send_header("Content-Type", "application/octet-stream")
                self.send_header("Cache-Control", "no-store")
                self.end_headers()
                with contextlib.suppress(ConnectionError):  # the browser turned away
                    self.wfile.write(answer)

    handler = functools.partial(Handler, directory=str(folder))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    site = Site(f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield site
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
