"""A file that was written before a setting was known goes on without it, and says so."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from beamgen import BeamgenError, Package
from beamgen.runtime.feeds import parameter_feeds
from beamgen.settings.table import PARAMETERS

LATER = "encoder_no_repeat_ngram_size"


def test_a_setting_that_the_file_does_not_know_may_be_off(
    packages: Callable[[str], Package],
) -> None:
    manifest = packages("gpt2").manifest
    search = manifest.search.for_prompt(5)
    assert list(parameter_feeds(manifest, [search])) == [p.name for p in PARAMETERS]
    older = replace(manifest, inputs=[row for row in manifest.inputs if row["name"] != LATER])
    assert LATER not in parameter_feeds(older, [search])
    assert LATER not in parameter_feeds(older, [search, search])
    on = replace(search, **{LATER: 2})
    with pytest.raises(BeamgenError, match=f"the package takes no {LATER}"):
        parameter_feeds(older, [search, on])


def test_a_file_that_takes_one_first_token_for_all_rows_is_fed_it_as_a_list(
    packages: Callable[[str], Package],
) -> None:
    manifest, name = packages("gpt2").manifest, "forced_bos_token_id"
    older = replace(
        manifest,
        inputs=[
            {**row, "shape": [f"n_{name}"]} if row["name"] == name else row
            for row in manifest.inputs
        ],
    )
    none = manifest.search.for_prompt(1)
    some, other = replace(none, **{name: 0}), replace(none, **{name: 7})
    for config, new, old in ((none, [-1], []), (some, [0], [0])):
        for rows in ([config], [config, config]):
            assert parameter_feeds(manifest, rows)[name].tolist() == new
            assert parameter_feeds(older, rows)[name].tolist() == old
    assert parameter_feeds(manifest, [some, none, other])[name].tolist() == [0, -1, 7]
    with pytest.raises(BeamgenError, match=f"takes one {name} for all rows"):
        parameter_feeds(older, [some, none])
