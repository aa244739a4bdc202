"""The npm packages that a page is shipped with: pinned, fetched, and held against their hashes."""

from __future__ import annotations

import base64
import hashlib
import io
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from beamgen.errors import PackageError


@dataclass(frozen=True)
class NpmPackage:
    """One package of the npm registry, of which a page takes some files.

    Attributes:
        name: as npm knows it.
        version: the one that was tested.
        integrity: SHA-512 of its tarball, base64, as package-lock.json holds it.
        files: by path in the package, the name in the page's ``vendor/`` and the
            SHA-256. Names end in .js because some servers send .mjs as plain bytes,
            which browsers do not run.
    """

    name: str
    version: str
    integrity: str
    files: Mapping[str, tuple[str, str]]

    @property
    def spec(self) -> str:
        """As ``npm install`` takes it."""
        return f"{self.name}@{self.version}"


ORT_WEB = NpmPackage(
    "onnxruntime-web",
    "1.30.0",
    "q0y+JrrtukXSzsBWEMccVfqX25LRmosXHF+CaRJmg8pZClzcV7svNc4rKY3jL02Vb7QmRMDs1SigqR4CXAfKYQ==",
    {
        "dist/ort.wasm.min.mjs": (
            "ort.js",
            "219e6a1fc8a9938268d18efca3c91d310bd2f4a59bbd13744df5b2b7fc6cee3b",
        ),
        "dist/ort-wasm-simd-threaded.mjs": (
            "ort-wasm.js",
            "e13f7f94fc51b4ca72b12faeb1ee95f4ace6dfbc8939bc718aabdc0a27c4299b",
        ),
        "dist/ort-wasm-simd-threaded.wasm": (
            "ort.wasm",
            "3398c10d07d229bd91b364548e130e0e51a8e5704b88c7c083ebbeb78842dee2",
        ),
    },
)
TOKENIZERS = NpmPackage(
    "@huggingface/tokenizers",
    "0.2.0",
    "LidMHe1FpcSYH4vcSjXooda34pC0M8m1gmDOv7SQi6Iv+ib1zX7J3sHBCC9/3FPCkn2k1b55FneVqMRxrr99pg==",
    {
        "dist/tokenizers.min.mjs": (
            "tokenizers.js",
            "258e46332101335ce8d95aed7745b19ac3b46d37f3e159a89cf894c2ea9b1d3a",
        ),
    },
)
JINJA = NpmPackage(
    "@huggingface/jinja",
    "0.5.11",
    "YzEzwM5oQf4r0vs7ifWQ+yuVR1YkAHrjERQ+a8WRsStHHp4NRBg+NesjiFc+X2AFUpRvvrIeHDS1xFy9jY/IjQ==",
    {
        "dist/index.js": (
            "jinja.js",
            "c8871915dfa68f976c11540c33fc9341c0810ebe29adb7027b8d51f2a8044936",
        ),
    },
)

_SECONDS = 600


def add_modules(package: NpmPackage, folder: Path, node_modules: Path | None = None) -> None:
    """Put a package's files into ``folder``.

    Args:
        package: which.
        folder: gets the files, under the names they have in a page.
        node_modules: a folder in which npm installed it; None fetches it with ``npm pack``.

    Raises:
        PackageError: it cannot be fetched, or is not what was pinned.
    """
    folder.mkdir(exist_ok=True)
    contents = _installed(package, node_modules) if node_modules else _fetched(package)
    for path, (name, sha256) in package.files.items():
        if hashlib.sha256(contents[path]).hexdigest() != sha256:
            raise PackageError(
                f"{path} is not that of {package.spec}",
                f"npm install {package.spec}, and try again",
            )
        (folder / name).write_bytes(contents[path])


def _installed(package: NpmPackage, node_modules: Path) -> dict[str, bytes]:
    folder = node_modules / package.name
    try:
        return {path: (folder / path).read_bytes() for path in package.files}
    except OSError as error:
        raise PackageError(
            f"{error.filename} cannot be read: {error.strerror}",
            f"npm install {package.spec}, and pass its node_modules as --node-modules",
        ) from error


def _fetched(package: NpmPackage) -> dict[str, bytes]:
    npm = shutil.which("npm")
    if npm is None:
        raise PackageError(
            f"the page is shipped with {package.spec}, and there is no npm to fetch it",
            "install Node.js; or npm install "
            f"{' '.join(each.spec for each in (ORT_WEB, TOKENIZERS, JINJA))} "
            "elsewhere, and pass its node_modules as --node-modules",
        )
    with tempfile.TemporaryDirectory() as scratch:
        command = [npm, "pack", package.spec, "--ignore-scripts", "--loglevel=error"]
        try:
            done = subprocess.run(
                command, cwd=scratch, capture_output=True, text=True, timeout=_SECONDS
            )
            said = done.stderr
        except subprocess.TimeoutExpired:
            said = f"no answer within {_SECONDS} s"
        tarballs = list(Path(scratch).glob("*.tgz"))
        if len(tarballs) != 1:
            raise PackageError(
                f"npm could not fetch {package.spec}: {' '.join(said.split())[:200]}",
                "try again; or install it elsewhere, and pass its node_modules as --node-modules",
            )
        tarball = tarballs[0].read_bytes()
    if base64.b64encode(hashlib.sha512(tarball).digest()).decode() != package.integrity:
        raise PackageError(
            f"what npm fetched is not {package.spec}: its SHA-512 is another",
            "set npm's registry to one that has the package unchanged: npm config get registry",
        )
    with tarfile.open(fileobj=io.BytesIO(tarball)) as archive:
        found = {path: archive.extractfile(f"package/{path}") for path in package.files}
        return {path: file.read() for path, file in found.items() if file is not None}
