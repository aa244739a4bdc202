"""What a ``model.onnx`` says of itself, in its metadata: it may lose its folder."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path, PurePath
from typing import Any

from beamgen.package.json_file import parse_table
from beamgen.package.manifest import Manifest
from beamgen.package.manifest_fields import check_shapes

#: For which program a graph was rewritten.
FORMAT = "beamgen.format"

_MANIFEST, _PARITY = "beamgen.manifest", "beamgen.parity"

#: Of the manifest; inputs and outputs stand in the graph itself.
_FIELDS = ("schema_version", "adapter", "backend", "source", "dtype", "vocab_size", "limits",
           "search", "rules", "versions", "precision", "encoder")  # fmt: skip


def records(manifest: Manifest) -> dict[str, str]:
    """The metadata that a graph carries; of folders the names alone."""
    values = manifest.to_json()
    about = {name: values[name] for name in _FIELDS if name in values} | {
        "source": source_of(manifest)
    }
    return {_MANIFEST: json.dumps(about, ensure_ascii=False)}


def source_of(manifest: Manifest) -> dict[str, Any]:
    """What a package was made of, for files that travel: of folders the names alone."""
    return {name: _without_path(value) for name, value in manifest.source.items()}


def _without_path(value: Any) -> Any:
    """Of an absolute path the last part; hub ids have a slash, too, but are not absolute."""
    is_path = isinstance(value, str) and PurePath(value).is_absolute()
    return PurePath(value).name if is_path else value


def append_parity(model: Path, verdict: Mapping[str, Any]) -> None:
    """Add a verdict to a file's metadata without reading or rewriting the file.

    Serialized messages may be concatenated: their repeated fields are, too, which
    the metadata is.

    Source: https://protobuf.dev/programming-guides/encoding/#last-one-wins
    """
    import onnx

    text = json.dumps(verdict, ensure_ascii=False)
    entry = onnx.StringStringEntryProto(key=_PARITY, value=text)
    with model.open("ab") as stream:
        stream.write(onnx.ModelProto(metadata_props=[entry]).SerializeToString())


def read(metadata: Mapping[str, str]) -> tuple[dict[str, Any] | None, dict[str, Any] | None]:
    """The manifest's fields and the parity verdict, where a file has them.

    Raises:
        ValueError: they are damaged.
    """
    manifest, parity = (
        parse_table(metadata[key]) if key in metadata else None for key in (_MANIFEST, _PARITY)
    )
    if manifest is not None:
        # the rules are not in older files, and an encoder is not in every one
        check_shapes(manifest, set(_FIELDS) - {"schema_version", "rules", "encoder"})
    if parity is not None:
        check_shapes({"parity": parity}, ["parity"])
    return manifest, parity
