"""Pages to test, made once, and the servers they are loaded from."""

from __future__ import annotations

import contextlib
import functools
import http.server
import json
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
