"""The search of a request as files: a graph, its weights, its manifest, and the configs."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from beamgen.audio.extractor import extractor_files
from beamgen.export.build import build_graph
from beamgen.export.manifest import manifest_of
from beamgen.export.prove import Progress
from beamgen.export.request import ExportRequest
from beamgen.export.save import save_graph
from beamgen.export.texts import Texts
from beamgen.package import embedded
from beamgen.package.folder import Package, open_package, write_manifest
from beamgen.tokenizer.convert import convert_tokenizer


def write_search(
    request: ExportRequest, folder: Path, texts: Texts | None, say: Progress
) -> Package:
    """Make a package, which nothing was compared with yet, of a request in an empty folder.

    Args:
        request: what is to be written.
        folder: an empty one.
        texts: on which the loss of quality is measured, if any.
        say: called with one line as each stage begins.

    Raises:
        BeamgenError: the folder is of no use.
    """
    with tempfile.TemporaryDirectory(prefix=".decoder-", dir=folder) as scratch:
        built = build_graph(request, Path(scratch), texts, say)
        say("writing the search graph")
        made = manifest_of(request, built.graph, built.precision)
        built.graph.metadata_props.update(embedded.records(made))
        save_graph(built.graph, folder, external_data=built.external_data)
    request.checkpoint.copy_companions(folder)
    if request.hears:
        for name in extractor_files(request.checkpoint.folder):
            shutil.copyfile(request.checkpoint.folder / name, folder / name)
    convert_tokenizer(folder)
    write_manifest(folder, made)
    return open_package(folder, verify=False)
