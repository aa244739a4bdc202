"""The package folder: what `export` writes and everything else reads."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shlex
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from beamgen.errors import LoraError, PackageError, RulesError, close_matches, one_line
from beamgen.lora.slots import ADAPTER_SUFFIX
from beamgen.package import embedded
from beamgen.package.folders import check_replaceable, new_folder
from beamgen.package.manifest import SCHEMA_VERSION, Manifest

MANIFEST = "beamgen.json"
MODEL = "model.onnx"
WEIGHTS = "model.onnx.data"
ADAPTERS = "adapters"

#: What every folder holds that a format was written to, and no package.
_OF_A_FORMAT = "beamgen-*.json"

_CHUNK = 1 << 22  # bytes hashed at a time


@dataclass(frozen=True)
class Package:
    """An opened package folder."""

    folder: Path
    manifest: Manifest

    @property
    def model(self) -> Path:
        """The file that holds the whole search."""
        return self.folder / MODEL

    @property
    def loras(self) -> dict[str, Path]:
        """The ``.onnx_adapter`` files in ``adapters/``, by name."""
        files = sorted((self.folder / ADAPTERS).glob(f"*{ADAPTER_SUFFIX}"))
        return {path.stem: path for path in files if not path.name.startswith(".")}

    def lora_path(self, name: str) -> Path:
        """The ``.onnx_adapter`` file of a LoRA of this package.

        Raises:
            LoraError: there is none of that name.
        """
        paths = self.loras
        if not self.manifest.lora_slots:
            merged = self.manifest.source.get("lora")
            raise LoraError(
                f"{self.folder} has no slots for LoRAs"
                + (f"; {merged} is merged into it" if merged else ""),
                "generate without a LoRA, or export the checkpoint with --lora-slots",
            )
        if name not in paths:
            there = f"there are {', '.join(paths)}" if paths else "the package has none"
            raise LoraError(
                f"there is no LoRA called '{name}'",
                close_matches(name, paths) or f"{there}; beamgen lora convert adds one",
            )
        return paths[name]


def open_package(folder: str | os.PathLike[str], *, verify: bool = True) -> Package:
    """Read a package folder.

    Args:
        folder: what ``beamgen export`` wrote.
        verify: compare every file with the manifest's size and SHA-256.

    Raises:
        PackageError: missing, of another schema, damaged or edited.
    """
    path = Path(folder)
    manifest_path = path / MANIFEST
    written_for = next((mark.name for mark in sorted(path.glob(_OF_A_FORMAT))), None)
    if written_for is not None and not manifest_path.is_file():
        raise PackageError(
            f"{path} is no package: it holds {written_for}, which `beamgen package` writes for "
            "another program",
            "name the package that it was made of",
        )
    if path.name == MODEL and (path.parent / MANIFEST).is_file():
        raise PackageError(f"{path} is one file of a package", f"name its folder: {path.parent}")
    if not manifest_path.is_file():
        reason = "is not a folder" if not path.is_dir() else f"holds no {MANIFEST}"
        raise PackageError(
            f"{path} is not a beamgen package: it {reason}",
            "write one with `beamgen export`, and name its folder",
        )
    try:
        values = json.loads(manifest_path.read_text(encoding="utf-8"))
        schema = values["schema_version"]
        manifest = Manifest.from_json(values) if schema == SCHEMA_VERSION else None
    except RulesError as error:
        raise PackageError(f"{path}: {error.cause}", "pip install --upgrade beamgen") from error
    except Exception as error:  # any damage to the text shows up as some other error
        raise PackageError(
            f"{manifest_path} is damaged: {type(error).__name__}: {one_line(error)}",
            "export the checkpoint again",
        ) from error
    if manifest is None:
        older = isinstance(schema, int) and schema < SCHEMA_VERSION
        raise PackageError(
            f"{path} has schema version {schema}; this beamgen reads {SCHEMA_VERSION}",
            "export the checkpoint again" if older else "pip install --upgrade beamgen",
        )
    if verify:
        _verify(path, manifest)
    return Package(path, manifest)


@contextlib.contextmanager
def new_package_folder(target: Path, *, force: bool) -> Iterator[Path]:
    """A folder to fill, which becomes the package when the block ends well.

    Raises:
        PackageError: see ``folders.new_folder``.
    """
    with new_folder(target, mark=MANIFEST, kind="beamgen package", force=force) as folder:
        yield folder


def check_target(target: Path, *, force: bool) -> None:
    """Refuse an output folder early, before any work is done.

    Raises:
        PackageError: see ``new_package_folder``.
    """
    check_replaceable(target, mark=MANIFEST, kind="beamgen package", force=force)


def write_manifest(folder: Path, manifest: Manifest) -> Manifest:
    """Record every file of ``folder`` in the manifest and write it, in one rename."""
    files = {
        path.relative_to(folder).as_posix(): _fingerprint(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != MANIFEST
    }
    complete = replace(manifest, files=files)
    _write_json(folder / MANIFEST, complete.to_json())
    return complete


def stamp_parity(package: Package, verdict: dict[str, Any], lora: str | None = None) -> Package:
    """Write a parity verdict into ``beamgen.json``: the package's own, or that of a LoRA."""

    def stamped(manifest: Manifest) -> Manifest:
        if lora is None:
            return replace(manifest, parity=verdict)
        about = {**manifest.loras.get(lora, {}), "parity": verdict}
        return replace(manifest, loras={**manifest.loras, lora: about})

    return _rewritten(package, stamped)


def seal_parity(package: Package) -> Package:
    """Write the manifest's parity verdict into ``model.onnx``, too, for who has that file alone."""
    embedded.append_parity(package.model, package.manifest.parity or {})
    entry = {MODEL: _fingerprint(package.model)}
    return _rewritten(
        package, lambda manifest: replace(manifest, files={**manifest.files, **entry})
    )


def record_lora(package: Package, name: str, about: dict[str, Any]) -> Package:
    """Enter a LoRA's file into the manifest, and what is known of it."""
    entry = {_lora_file(name): _fingerprint(package.lora_path(name))}
    return _rewritten(
        package,
        lambda manifest: replace(
            manifest,
            files={**manifest.files, **entry},
            loras={**manifest.loras, name: about},
        ),
    )


def forget_lora(package: Package, name: str) -> Package:
    """Strike a LoRA out of the manifest."""
    file = _lora_file(name)
    return _rewritten(
        package,
        lambda manifest: replace(
            manifest,
            files={path: entry for path, entry in manifest.files.items() if path != file},
            loras={lora: about for lora, about in manifest.loras.items() if lora != name},
        ),
    )


def _lora_file(name: str) -> str:
    return f"{ADAPTERS}/{name}{ADAPTER_SUFFIX}"


def _rewritten(package: Package, change: Callable[[Manifest], Manifest]) -> Package:
    """Change the manifest as it is on disk now: another command may have changed it, too."""
    manifest = change(open_package(package.folder, verify=False).manifest)
    _write_json(package.folder / MANIFEST, manifest.to_json())
    return replace(package, manifest=manifest)


def _verify(folder: Path, manifest: Manifest) -> None:
    wrong = []
    for name, expected in manifest.files.items():
        path = folder / name
        if not path.is_file():
            wrong.append(f"{name} is missing")
        elif path.stat().st_size != expected["bytes"]:
            wrong.append(f"{name} has {path.stat().st_size} bytes, not {expected['bytes']}")
        elif _fingerprint(path)["sha256"] != expected["sha256"]:
            wrong.append(f"{name} was changed")
    if wrong:
        raise PackageError(
            f"{folder} is damaged or was edited: {'; '.join(wrong)}",
            "copy or export it again; to take it as it is: "
            f"beamgen generate -m {shlex.quote(str(folder))} --no-verify",
        )


def _fingerprint(path: Path) -> dict[str, Any]:
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while chunk := stream.read(_CHUNK):
            digest.update(chunk)
    return {"sha256": digest.hexdigest(), "bytes": path.stat().st_size}


def _write_json(path: Path, values: dict[str, Any]) -> None:
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text(json.dumps(values, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    partial.replace(path)
