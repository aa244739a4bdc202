"""The whole flow, readable: a checkpoint becomes a package that was proved."""

from __future__ import annotations

import os
from typing import Unpack

from beamgen.errors import NoAdapterError
from beamgen.export.default_trial import with_default_tried
from beamgen.export.prove import Progress
from beamgen.export.request import ExportOptions, export_request
from beamgen.export.write import ExportResult, write_package


def export(
    model: str | os.PathLike[str] | None = None,
    output: str | os.PathLike[str] | None = None,
    *,
    progress: Progress | None = None,
    **options: Unpack[ExportOptions],
) -> ExportResult:
    """Turn a checkpoint into a package, and compare it with HF ``generate``.

    Args:
        model: checkpoint folder or hub id; None takes the demo checkpoint of
            ``model_class``.
        output: the package folder to write; None names it after the checkpoint,
            e.g. ``biogpt-onnx``.
        progress: called with one line as each stage begins.
        options: see ``ExportOptions``.

    Returns:
        The package, and its parity reports. A diverged verdict does not raise:
        the package is there to be looked into.

    Where no adapter knows the architecture, the default adapter is tried on a small random
    model of the config, and the error says whether ``adapter="default"`` would do.

    Raises:
        BeamgenError: with nothing written; an ``AdapterError``, ``CheckpointError``,
            ``SettingError``, ``LoraError``, ``PackageError`` or ``MissingExtraError``.
    """
    try:
        request = export_request(model, output, options)
    except NoAdapterError as error:
        raise with_default_tried(error, model, options) from error
    return write_package(request, progress or (lambda line: None))
