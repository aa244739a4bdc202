"""The graph of each backend as text, so that a change of it is seen in review.

``pytest tests/search/test_golden.py --update-golden`` writes the files anew.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable
from pathlib import Path

import onnx_ir as ir
import pytest
from support.printed_graph import printed

from beamgen import SearchConfig, find_adapter
from beamgen.decoder.contrib_step import ContribStep
from beamgen.decoder.export import export_decoder
from beamgen.decoder.graph import DecoderGraph
from beamgen.decoder.loop_step import LoopStep
from beamgen.decoder.single_step import SingleStep
from beamgen.decoder.traced_step import TracedStep
from beamgen.search.contrib import build_contrib
from beamgen.search.loop import build_loop
from beamgen.search.one_step import build_step
from beamgen.settings.rules import RULES
from beamgen.testing import tiny_model

GOLDEN = Path(__file__).parent / "golden"
CONFIG = SearchConfig((2,), 0, num_beams=4, max_new_tokens=8)

BACKENDS: dict[str, tuple[type[TracedStep], Callable[[DecoderGraph], ir.Model]]] = {
    "loop": (LoopStep, lambda decoder: build_loop(decoder, CONFIG, RULES["4.57"])),
    "contrib": (ContribStep, lambda decoder: build_contrib(decoder, CONFIG)),
    "step": (SingleStep, build_step),
}


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_graph_is_the_one_that_was_reviewed(
    backend: str, tmp_path: Path, pytestconfig: pytest.Config
) -> None:
    make_step, build = BACKENDS[backend]
    adapter = find_adapter("gpt2")
    config = adapter.tiny_config()
    config.n_layer = 1
    found = printed(build(export_decoder(adapter, tiny_model(config), tmp_path, make_step)))
    path = GOLDEN / f"{backend}.txt"
    if pytestconfig.getoption("--update-golden"):
        path.write_text(found, encoding="utf-8")
    expected = path.read_text(encoding="utf-8")
    difference = difflib.unified_diff(
        expected.splitlines(), found.splitlines(), path.name, "this build", lineterm="", n=2
    )
    assert found == expected, (
        "the graph is another one; if that is meant, write it anew with\n"
        "    pytest tests/search/test_golden.py --update-golden\n" + "\n".join(difference)
    )


def test_what_other_rules_change_in_the_graph_was_reviewed(
    tmp_path: Path, pytestconfig: pytest.Config
) -> None:
    """The lines that are there under the newest rules alone, and those that are not."""
    adapter = find_adapter("gpt2")
    config = adapter.tiny_config()
    config.n_layer = 1
    decoder = export_decoder(adapter, tiny_model(config), tmp_path)
    oldest, newest = (
        printed(build_loop(decoder, CONFIG, RULES[release])).splitlines()
        for release in ("4.57", "5.24")
    )
    lines = difflib.unified_diff(oldest, newest, n=0, lineterm="")
    found = "\n".join(line for line in lines if not line.startswith(("---", "+++", "@@"))) + "\n"
    path = GOLDEN / "loop-5.24.diff"
    if pytestconfig.getoption("--update-golden"):
        path.write_text(found, encoding="utf-8")
    assert found == path.read_text(encoding="utf-8"), "pytest --update-golden writes it anew"
