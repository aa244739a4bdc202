"""What the parameters of a loop file are fed, from the settings of each row's search."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from beamgen.errors import SettingError
from beamgen.package.manifest import Manifest
from beamgen.settings.config import ResolvedSearch, stacked_inputs
from beamgen.settings.kinds import NO_TOKEN, Arrays
from beamgen.settings.prompts import Ids
from beamgen.settings.setting import IDS, TIMES, Setting
from beamgen.settings.sources import DECODER_PROMPT, AnySource
from beamgen.settings.table import PER_ROW, SETTINGS


def prompt_feeds(input_ids: Ids, attention_mask: Ids, source: AnySource | None) -> Arrays:
    """Prompts ``[B, S]`` by the names of a file's inputs, and what the encoder before it reads."""
    if source is None:
        return {"input_ids": input_ids, "attention_mask": attention_mask}
    return {**source.feeds(), DECODER_PROMPT.name: input_ids}


def _absent(manifest: Manifest, setting: Setting) -> SettingError:
    """The error to raise for a setting that a file has no input for."""
    if setting.asks == TIMES or (setting.asks == IDS and manifest.features is not None):
        return SettingError(f"the package takes no {setting.name}: {setting.asks}", "leave it out")
    return SettingError(
        f"the package takes no {setting.name}: it was exported by an older beamgen",
        "export the checkpoint again",
    )


def parameter_feeds(manifest: Manifest, configs: Sequence[ResolvedSearch]) -> Arrays:
    """Arrays by the names of the file's inputs, prompts and LoRAs left out.

    A file takes the settings that were known when it was written. One that came later may
    be left out where it is off.

    Args:
        manifest: the package's, which names the inputs.
        configs: one for all rows, or one for each.

    Raises:
        SettingError: the file has no input for a setting that is on, or rows differ in what
            all rows of a batch have to share.
    """
    taken = {row["name"]: row["shape"] for row in manifest.inputs}
    for setting in SETTINGS:
        absent = {parameter.name for parameter in setting.parameters} - taken.keys()
        if absent and not all(setting.is_off(vars(config)[setting.name]) for config in configs):
            raise _absent(manifest, setting)
    arrays = configs[0].inputs() if len(configs) == 1 else stacked_inputs(configs)
    return {
        name: _of_all_rows(name, array) if taken[name] == [f"n_{name}"] else array
        for name, array in arrays.items()
        if name in taken
    }


def _of_all_rows(name: str, array: Any) -> Any:
    """A token for each row as the list of one or none that an older file takes for all."""
    if name not in PER_ROW:
        return array
    if len(array) > 1:
        raise SettingError(
            f"the package takes one {name} for all rows: it was exported by an older beamgen",
            "search those prompts in batches of their own, or export the checkpoint again",
        )
    return array[array != NO_TOKEN]
