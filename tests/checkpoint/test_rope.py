"""What transformers 5 says of rotary positions, told to 4.57; NumPy says what is right."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support import numpy_phi3
from support.odd_checkpoints import edit_config, file_greedy, numpy_greedy

from beamgen import BeamgenError, export, open_checkpoint
from beamgen.checkpoint.rope import in_old_keys
from beamgen.parity.report import Verdict

PARAMETERS = ("rope_theta", "rope_scaling", "partial_rotary_factor", "rope_local_base_freq")
OLD_KEYS = ("rope_theta", "rope_scaling", "partial_rotary_factor")
LONG = {
    "rope_type": "longrope",
    "rope_theta": 50.0,
    "partial_rotary_factor": 0.5,
    "short_factor": [1.0, 2.0, 1.5, 3.0],
    "long_factor": [2.0, 9.0, 4.0, 5.0],
    "original_max_position_embeddings": 32,
}


@pytest.fixture
def phi3(checkpoints: Callable[[str], Path], tmp_path: Path) -> Path:
    return Path(shutil.copytree(checkpoints("phi3"), tmp_path / "phi3"))


@pytest.mark.parametrize(
    ("rope", "changes"),
    [
        pytest.param(
            {"rope_type": "default", "rope_theta": 20.0, "partial_rotary_factor": 1.0},
            {},
            marks=pytest.mark.slow,
        ),
        pytest.param(
            {"rope_type": "default", "rope_theta": 500000.0, "partial_rotary_factor": 0.5},
            {},
            marks=pytest.mark.slow,
        ),
        (LONG, {"original_max_position_embeddings": 32}),
    ],
    ids=["theta", "partial", "longrope"],
)
def test_a_config_of_transformers_5_gives_the_tokens_of_its_tensors(
    phi3: Path, tmp_path: Path, rope: dict[str, Any], changes: dict[str, Any]
) -> None:
    before = numpy_greedy(numpy_phi3, phi3, 12)
    edit_config(phi3, OLD_KEYS, rope_parameters=rope, **changes)
    right = numpy_greedy(numpy_phi3, phi3, 12)
    assert right != before, "the keys matter"
    done = export(phi3, tmp_path / "package")
    assert file_greedy(done.package, 12) == right
    assert done.parity is not None
    assert done.parity.verdict is Verdict.EXACT
    long = [(7 * place) % 90 + 3 for place in range(40)]  # beyond the boundary of 32
    assert file_greedy(done.package, 5, long) == numpy_greedy(numpy_phi3, phi3, 5, long)


@pytest.mark.parametrize(
    ("rope", "old"),
    [
        ({"rope_theta": 5.0}, {"rope_theta": 5.0, "rope_scaling": None}),
        ({"rope_type": "default", "rope_theta": None}, {"rope_scaling": None}),
        (
            {"rope_type": "yarn", "rope_theta": 5.0, "factor": 4.0, "beta_fast": 16,
             "original_max_position_embeddings": 64},
            {"rope_theta": 5.0, "rope_scaling": {"type": "yarn", "factor": 4.0, "beta_fast": 16,
             "original_max_position_embeddings": 64}},
        ),
        (
            {"type": "longrope", "factor": 4.0, "short_factor": [1.0], "long_factor": [2.0],
             "original_max_position_embeddings": 64},
            {"original_max_position_embeddings": 64,
             "rope_scaling": {"type": "longrope", "short_factor": [1.0], "long_factor": [2.0]}},
        ),
        (
            {"full_attention": {"rope_theta": 5.0}, "sliding_attention": {"rope_theta": 5.0}},
            {"rope_theta": 5.0, "rope_scaling": None},
        ),
        (
            {"full_attention": {"rope_theta": 5.0, "rope_type": "linear", "factor": 8.0},
             "sliding_attention": {"rope_theta": 3.0, "rope_type": "default"}},
            {"rope_theta": 5.0, "rope_scaling": {"type": "linear", "factor": 8.0},
             "rope_local_base_freq": 3.0},
        ),
    ],
)  # fmt: skip
def test_the_keys_of_4_57(rope: dict[str, Any], old: dict[str, Any]) -> None:
    given = {"max_position_embeddings": 256, "rope_parameters": rope}
    assert in_old_keys(given, "it", PARAMETERS) == {"max_position_embeddings": 256, **old}


def test_a_factor_of_longrope_counts_where_it_is_not_that_of_the_lengths() -> None:
    """4.57 takes the factor from the lengths, unless it is told what to multiply by."""
    rope = {**LONG, "factor": 2.0}
    found = in_old_keys({"max_position_embeddings": 256, "rope_parameters": rope}, "", PARAMETERS)
    assert found["rope_scaling"]["attention_factor"] == pytest.approx(1.0954451)  # sqrt(1 + 1/5)


def test_the_boundary_of_longrope_counts_where_5_looks_for_it() -> None:
    """4.57 reads it beside ``rope_scaling`` alone."""
    scaling = {k: v for k, v in LONG.items() if "_factor" in k or k == "rope_type"}
    inside = {**scaling, "original_max_position_embeddings": 32}
    found = in_old_keys({"rope_theta": 9.0, "rope_scaling": inside}, "it", PARAMETERS)
    assert found["original_max_position_embeddings"] == 32
    assert "original_max_position_embeddings" not in found["rope_scaling"]


def test_names_that_some_classes_have_for_a_key() -> None:
    rope = {"rope_theta": 5.0, "partial_rotary_factor": 0.25}
    found = in_old_keys({"rope_parameters": rope}, "it", ("rotary_emb_base", "rotary_pct"))
    assert found == {"rotary_emb_base": 5.0, "rotary_pct": 0.25, "rope_scaling": None}


@pytest.mark.parametrize(
    ("changes", "cause"),
    [
        (
            {"rope_parameters": {"full_attention": {"rope_theta": 5.0}, "other": None}},
            "differ by kind of layer (full_attention, other)",
        ),
        ({"rope_parameters": {"rope_theta": 5.0}, "rope_theta": 6.0}, "but rope_theta is 6.0"),
        ({"rope_parameters": 5}, "rope_parameters is 5, not an object"),
    ],
)
@pytest.mark.transformers_4
def test_what_4_57_has_no_keys_for_is_refused(
    phi3: Path, changes: dict[str, Any], cause: str
) -> None:
    edit_config(phi3, OLD_KEYS)
    edit_config(phi3, **changes)
    with pytest.raises(BeamgenError) as error:
        open_checkpoint(phi3)
    assert cause in error.value.cause
