"""A package is written in another format, and checked with what will run it."""

from __future__ import annotations

import importlib
import json
import os
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from beamgen.disk import local
from beamgen.errors import PackageError, SettingError, close_matches
from beamgen.export.prove import Progress
from beamgen.formats.format import FORMATS, Check, Format, Packaged
from beamgen.package import embedded
from beamgen.package.folder import MODEL, Package, refuse_encoder
from beamgen.package.folders import Kind, check_replaceable, holds, new_folder, note_files


def package_as(
    package: Package,
    format: str,
    output: str | os.PathLike[str] | None = None,
    *,
    force: bool = False,
    progress: Progress | None = None,
    **options: Any,
) -> Packaged:
    """Write a package in another format, and check it with what will run it.

    Args:
        package: what ``export`` wrote; it is read, not changed.
        format: one of ``FORMATS``.
        output: the folder to write; None names it after the package.
        force: replace an existing folder of that format, in one exchange.
        progress: called with one line as each stage begins.
        options: of the format, see ``beamgen.formats.FORMAT.format``.

    Raises:
        SettingError: there is no such format, it has no such option, or it cannot hold
            this package.
        PackageError: the folder may not be replaced, or cannot be written.
        MissingExtraError: what writes the format is not installed.
    """
    form = _find(format)
    _check_options(format, form, options)
    _check_encoder(package, format, form)
    name = package.folder.resolve().name.removesuffix("-onnx")
    target = local(output if output is not None else form.output.format(name=name))
    if holds(package.folder, target):
        raise PackageError(f"{target} lies in the package itself", "choose another --output")
    kind = Kind(form.title, form.mark)
    check_replaceable(target, kind, force=force, inputs=[package.folder])
    say = progress or (lambda line: None)
    with new_folder(target, kind, force=force, inputs=[package.folder]) as folder:
        checks = form.write(package, folder, say, target=target, **options)
        if not (folder / form.mark).is_file():
            _write_mark(folder / form.mark, format, package, checks)
        note_files(folder, kind)
    return Packaged(target, format, checks, form.after(target))


def _check_encoder(package: Package, name: str, form: Format) -> None:
    """Refuse an encoder for a format that takes none, or none of its kind.

    Raises:
        PackageError: see ``refuse_encoder``.
        SettingError: the encoder reads no text.
    """
    if not form.reads_text:
        refuse_encoder(package, f"the {name} format takes")
    features = package.manifest.features
    if features is not None:
        raise SettingError(
            f"the encoder of {package.folder} reads {features[0]}, and the {name} format takes "
            "texts and token ids",
            f"feed its {MODEL}, which any ONNX Runtime runs",
        )


def _find(name: str) -> Format:
    if name not in FORMATS:
        raise SettingError(
            f"there is no format called '{name}'",
            close_matches(name, FORMATS) or f"there are {', '.join(FORMATS)}",
        )
    form: Format = importlib.import_module(f"beamgen.formats.{name}.format").FORMAT
    return form


def _check_options(name: str, form: Format, options: Mapping[str, Any]) -> None:
    """Refuse what a format does not take."""
    unknown = sorted(options.keys() - form.options.__annotations__.keys())
    if unknown == ["settings"]:
        raise SettingError(
            f"the {name} format fixes no {', '.join(options['settings'])}",
            "set it where the search is called, or export with it as a default",
        )
    if unknown:
        raise SettingError(
            f"the {name} format takes no {', '.join(unknown)}", "leave it out, or name another"
        )


def _write_mark(path: Path, name: str, package: Package, checks: Sequence[Check]) -> None:
    """Write the file by which the folder is known as ours, with what was checked."""
    about = {
        "beamgen": metadata.version("beamgen"),
        "format": name,
        "source": embedded.source_of(package.manifest),
        "checks": [vars(check) for check in checks],
    }
    text = json.dumps(about, indent=2, ensure_ascii=False)
    path.write_text(text + "\n", encoding="utf-8")
