"""The package folder: what `export` writes and everything else reads."""

from __future__ import annotations

import contextlib
import os
import shlex
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from beamgen.disk import local, replacing
from beamgen.errors import LoraError, PackageError, RulesError, close_matches, one_line
from beamgen.lora.slots import ADAPTER_SUFFIX
from beamgen.package import embedded
from beamgen.package.folders import Kind, check_replaceable, new_folder
from beamgen.package.json_file import read_json, to_text
from beamgen.package.manifest import SCHEMA_VERSION, Manifest
from beamgen.package.verify import check_files, fingerprint, settle
from beamgen.package.workspace import put_back

MANIFEST = "beamgen.json"
MODEL = "model.onnx"
WEIGHTS = "model.onnx.data"
ADAPTERS = "adapters"

#: What every folder holds that a format was written to, and no package.
_OF_A_FORMAT = "beamgen-*.json"

#: What every checkpoint holds.
CONFIG = "config.json"
_CURE = "write one with `beamgen export`, and name its folder"

#: What an export writes, and may replace.
PACKAGE = Kind("beamgen package", MANIFEST)


@dataclass(frozen=True)
class Package:
    """An opened package folder.

    Attributes:
        folder: where it is.
        manifest: what it says of itself.
        staged: files of LoRAs that are not in it yet, by name.
    """

    folder: Path
    manifest: Manifest
    staged: Mapping[str, Path] = field(default_factory=dict)

    @property
    def model(self) -> Path:
        """The file that holds the whole search."""
        return self.folder / MODEL

    @property
    def loras(self) -> dict[str, Path]:
        """The ``.onnx_adapter`` files in ``adapters/``, by name, and those that are staged."""
        files = sorted((self.folder / ADAPTERS).glob(f"*{ADAPTER_SUFFIX}"))
        there = {path.stem: path for path in files if not path.name.startswith(".")}
        return {**there, **self.staged}

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
                "leave the LoRA out, or export the checkpoint with --lora-slots",
            )
        if name not in paths:
            there = f"there are {', '.join(paths)}" if paths else "the package has none"
            raise LoraError(
                f"there is no LoRA called '{name}'",
                close_matches(name, paths) or f"{there}; beamgen lora convert adds one",
            )
        return paths[name]


def refuse_encoder(package: Package, what: str) -> None:
    """Refuse a package of an encoder-decoder for what does not know encoders yet.

    Args:
        package: any.
        what: does not, as a sentence's subject and verb: ``explain reads``.

    Raises:
        PackageError: it is of one.
    """
    if package.manifest.encoder is not None:
        raise PackageError(
            f"{package.folder} holds an encoder-decoder, and {what} decoders alone",
            f"search with it as it is: beamgen generate -m {shlex.quote(str(package.folder))}",
        )


def open_package(folder: str | os.PathLike[str], *, verify: bool = True) -> Package:
    """Read a package folder.

    Args:
        folder: what ``beamgen export`` wrote.
        verify: compare every file with the manifest's size and SHA-256.

    Raises:
        PackageError: missing, of another schema, damaged or edited.
    """
    path = local(folder)
    put_back(path)
    try:
        manifest = read_manifest(path)
        settle(path, manifest.files)
        check_files(path, manifest.files, verify=verify)
    except OSError as error:
        raise PackageError(
            f"cannot read {error.filename or path}: {error.strerror}", "check its permissions"
        ) from error
    return Package(path, manifest)


def read_manifest(path: Path) -> Manifest:
    """What a package says of itself.

    Raises:
        PackageError: see ``open_package``.
    """
    manifest_path = path / MANIFEST
    if not manifest_path.is_file():
        raise _no_package(path)
    try:
        values = read_json(manifest_path)
        schema = values["schema_version"]
        manifest = Manifest.from_json(values) if schema == SCHEMA_VERSION else None
    except OSError:
        raise
    except RulesError as error:
        raise PackageError(f"{path}: {error.cause}", "pip install --upgrade beamgen") from error
    except Exception as error:  # any damage to the text shows up as some other error
        reason = "" if isinstance(error, ValueError) else f"{type(error).__name__}: "
        raise PackageError(
            f"{manifest_path} is damaged: {reason}{one_line(error)}", "export the checkpoint again"
        ) from error
    if manifest is None:
        older = isinstance(schema, int) and schema < SCHEMA_VERSION
        raise PackageError(
            f"{path} has schema version {schema!r:.40}; this beamgen reads {SCHEMA_VERSION}",
            "export the checkpoint again" if older else "pip install --upgrade beamgen",
        )
    return manifest


def _no_package(path: Path) -> PackageError:
    """Why a folder without a manifest is none."""
    written_for = next((mark.name for mark in sorted(path.glob(_OF_A_FORMAT))), None)
    if written_for is not None:
        return PackageError(
            f"{path} is no package: it holds {written_for}, which `beamgen package` writes for "
            "another program",
            "name the package that it was made of",
        )
    if path.name == MODEL and (path.parent / MANIFEST).is_file():
        return PackageError(f"{path} is one file of a package", f"name its folder: {path.parent}")
    if path.is_dir():
        reason, cure = f"it holds no {MANIFEST}", _CURE
        if (path / CONFIG).is_file() and not os.path.lexists(path / MANIFEST):
            reason = "it is a checkpoint, which is to be exported first"
            cure = f"beamgen export -m {shlex.quote(str(path))}, and name the folder that it writes"
    else:
        reason = "it is not a folder"
        beside = path.parent.iterdir() if path.parent.is_dir() else ()
        cure = (
            close_matches(str(path), [str(each) for each in beside if (each / MANIFEST).is_file()])
            or _CURE
        )
    return PackageError(f"{path} is not a beamgen package: {reason}", cure)


@contextlib.contextmanager
def new_package_folder(target: Path, *, force: bool, inputs: Iterable[Path] = ()) -> Iterator[Path]:
    """A folder to fill, which becomes the package when the block ends well.

    Raises:
        PackageError: see ``folders.new_folder``.
    """
    with new_folder(target, PACKAGE, force=force, inputs=inputs) as folder:
        yield folder


def check_target(target: Path, *, force: bool, inputs: Iterable[Path] = ()) -> None:
    """Refuse an output folder early, before any work is done.

    Raises:
        PackageError: see ``folders.check_replaceable``.
    """
    check_replaceable(target, PACKAGE, force=force, inputs=inputs)


def write_manifest(folder: Path, manifest: Manifest) -> Manifest:
    """Record every file of ``folder`` in the manifest and write it, in one rename."""
    files = {
        path.relative_to(folder).as_posix(): fingerprint(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != MANIFEST
    }
    complete = replace(manifest, files=files)
    with replacing(folder / MANIFEST) as partial:
        partial.write_text(to_text(complete.to_json()), encoding="utf-8")
    return complete


def stamp_parity(package: Package, verdict: dict[str, Any], lora: str | None = None) -> Package:
    """Write a parity verdict into ``beamgen.json``: the package's own, or that of a LoRA."""

    def stamped(manifest: Manifest) -> Manifest:
        if lora is None:
            return replace(manifest, parity=verdict)
        about = {**manifest.loras.get(lora, {}), "parity": verdict}
        return replace(manifest, loras={**manifest.loras, lora: about})

    return rewritten(package, stamped)


def seal_parity(package: Package) -> Package:
    """Write the manifest's parity verdict into ``model.onnx``, too, for who has that file alone.

    The package is one that is being made: between the two files it does not verify.
    """
    embedded.append_parity(package.model, package.manifest.parity or {})
    entry = {MODEL: fingerprint(package.model)}
    return rewritten(package, lambda manifest: replace(manifest, files={**manifest.files, **entry}))


def rewritten(package: Package, change: Callable[[Manifest], Manifest]) -> Package:
    """Change the manifest as it is on disk now: another command may have changed it, too."""
    with replacing(package.folder / MANIFEST) as partial:
        manifest = change(read_manifest(package.folder))
        partial.write_text(to_text(manifest.to_json()), encoding="utf-8")
    return replace(package, manifest=manifest)
