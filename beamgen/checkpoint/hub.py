"""Files of a Hugging Face hub repository, or a folder that already has them."""

from __future__ import annotations

import contextlib
import fnmatch
import re
from collections.abc import Sequence
from pathlib import Path

from beamgen.errors import BeamgenError, one_line

_HUB_ID = re.compile(r"[\w.-]+(/[\w.-]+)?")


def is_hub_id(name: str) -> bool:
    """Whether a name could be that of a repository on the hub."""
    return _HUB_ID.fullmatch(name) is not None and not name.startswith(".")


def download(
    hub_id: str,
    wanted: Sequence[str],
    *,
    weights: str = "*",
    revision: str | None = None,
    what: str,
    refuse: type[BeamgenError],
) -> Path:
    """Fetch what is needed of a repository, or find it in the local cache.

    Args:
        hub_id: ``user/name`` or ``name``.
        wanted: patterns of files.
        weights: pattern of the weight files' names, without ``.safetensors``, or
            ``.bin`` where there are none of those.
        revision: branch, tag or commit.
        what: the kind of thing looked for, for the message.
        refuse: which error to raise.
    """
    import huggingface_hub

    try:
        files = huggingface_hub.list_repo_files(hub_id, revision=revision)
        safe = fnmatch.filter(files, f"{weights}.safetensors")
        patterns = [*wanted, f"{weights}.{'safetensors' if safe else 'bin'}"]
        return Path(
            huggingface_hub.snapshot_download(hub_id, revision=revision, allow_patterns=patterns)
        )
    except Exception as error:  # network, authentication, missing repository or revision
        with contextlib.suppress(Exception):  # not cached: the first error says more
            return Path(
                huggingface_hub.snapshot_download(hub_id, revision=revision, local_files_only=True)
            )
        at = f" at revision {revision}" if revision else ""
        # of requests before huggingface-hub 1, of httpx since
        kinds = {kind.__name__ for kind in type(error).__mro__}
        unreachable = bool(kinds & {"ConnectionError", "ConnectError", "ConnectTimeout"})
        reason = "it cannot be reached" if unreachable else one_line(error, 120)
        raise refuse(
            f"'{hub_id}' is no local folder, and the hub gave no such {what}{at}: {reason}",
            f"check the name and the network, or pass a folder with the {what}'s files",
        ) from error
