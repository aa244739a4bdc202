"""A LoRA comes into a package, or leaves it: its file and the manifest's entry together."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from beamgen.disk import partial_of, sweep_partials
from beamgen.lora.slots import ADAPTER_SUFFIX
from beamgen.package.folder import ADAPTERS, Package, read_manifest, rewritten
from beamgen.package.verify import fingerprint, settle


@contextlib.contextmanager
def staged_lora(package: Package, name: str) -> Iterator[Package]:
    """A package that has a LoRA of that name, whose file the block is to write and to record.

    Before ``record_lora`` nothing of it is in the package, to which it then belongs at
    once: whoever opens the package moves the file to its place, should a kill have kept
    this process from it.
    """
    path = package.folder / lora_file(name)
    path.parent.mkdir(exist_ok=True)
    sweep_partials(path.parent)
    with partial_of(path) as partial:
        try:
            yield replace(package, staged={**package.staged, name: partial})
        finally:
            settle(package.folder, read_manifest(package.folder).files)
    with contextlib.suppress(OSError):  # it holds a LoRA
        path.parent.rmdir()


def record_lora(package: Package, name: str, about: dict[str, Any]) -> Package:
    """Enter a LoRA's file into the manifest, and what is known of it."""
    entry = {lora_file(name): fingerprint(package.lora_path(name))}
    recorded = rewritten(
        package,
        lambda manifest: replace(
            manifest,
            files={**manifest.files, **entry},
            loras={**manifest.loras, name: about},
        ),
    )
    settle(package.folder, entry)
    return replace(recorded, staged={})


def forget_lora(package: Package, name: str) -> Package:
    """Strike a LoRA out of the manifest."""
    file = lora_file(name)
    return rewritten(
        package,
        lambda manifest: replace(
            manifest,
            files={path: entry for path, entry in manifest.files.items() if path != file},
            loras={lora: about for lora, about in manifest.loras.items() if lora != name},
        ),
    )


def lora_file(name: str) -> str:
    """A LoRA's file in its package."""
    return f"{ADAPTERS}/{name}{ADAPTER_SUFFIX}"
