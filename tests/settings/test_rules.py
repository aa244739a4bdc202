"""Which release of transformers follows which rules, and what is not compared."""

from __future__ import annotations

from importlib import metadata

import pytest

from beamgen import BeamgenError
from beamgen.settings.rules import (
    RULES,
    TESTED,
    UNSAID,
    check_comparable,
    installed_rules,
    rules_named,
)


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch):
    """``install("5.24.1")``: as if that transformers were there; None: as if none were."""

    def as_if(version: str | None) -> None:
        def found(name: str) -> str:
            if version is None:
                raise metadata.PackageNotFoundError(name)
            return version

        monkeypatch.setattr(metadata, "version", found)

    return as_if


@pytest.mark.parametrize(
    ("version", "release"),
    [("4.57.0", "4.57"), ("4.57.6", "4.57"), ("5.24.0", "5.24"), ("5.24.3", "5.24")],
)
def test_the_installed_release_says_the_rules(install, version: str, release: str) -> None:
    install(version)
    assert installed_rules() is RULES[release]


@pytest.mark.parametrize("version", ["4.56.2", "4.58.0", "5.0.0", "5.18.0", "5.23.1", "5.25.0"])
def test_a_release_that_nobody_tried_is_refused(install, version: str) -> None:
    install(version)
    with pytest.raises(BeamgenError) as error:
        installed_rules()
    assert f"transformers {version} is installed" in error.value.cause
    assert "4.57 and 5.24" in error.value.cause
    assert error.value.cure == "pip install 'transformers==5.24.*'"


def test_without_transformers_its_extra_is_named(install) -> None:
    install(None)
    with pytest.raises(BeamgenError) as error:
        installed_rules()
    assert error.value.cure == "pip install 'beamgen[export]'"


def test_the_differences_begin_with_the_releases_that_made_them() -> None:
    """As read in the sources of 4.57.6, 5.17.0, 5.18.0, 5.20.0, 5.22.2, 5.23.0 and 5.24.0."""
    names = [name for name in vars(UNSAID) if name != "release"]
    begin = {name: next(r for r, rules in RULES.items() if getattr(rules, name)) for name in names}
    assert begin == {
        "null_is_default": "5.18",  # 5.0, to which no rules belong
        "twenty_counts_prompt": "5.18",  # the same
        "bias_reaches_back": "5.18",
        "constraint_wins": "5.18",
        "penalty_spares_padding": "5.23",
        "penalty_reaches_beams": "5.23",  # 5.20, with which no rules begin
        "draws_are_sorted": "5.24",
        "chains_share_constraint": "5.24",
    }
    for name in names:
        held = [getattr(rules, name) for rules in RULES.values()]
        assert held == sorted(held), "what was changed stays so"


def test_every_tested_release_has_rules_that_begin_no_later() -> None:
    assert {f"{major}.{minor}" for major, minor in TESTED} <= RULES.keys()
    assert UNSAID is RULES["4.57"]


def test_rules_are_found_by_their_release() -> None:
    assert rules_named("5.18").constraint_wins
    for wrong in ("5.17", "5.24.0", ""):
        with pytest.raises(BeamgenError, match="no rules of generate begin with"):
            rules_named(wrong)


@pytest.mark.parametrize(
    ("version", "release", "cure"),
    [
        (
            "4.57.6",
            "5.24",
            "in an environment of its own: pip install 'beamgen[export]' 'transformers==5.24.*'",
        ),
        (
            "5.24.0",
            "4.57",
            "in an environment of its own: pip install 'beamgen[export]' 'transformers==4.57.*'",
        ),
        ("5.24.0", "5.23", "export the checkpoint again without --rules"),
    ],
)
def test_other_rules_are_not_compared(install, version: str, release: str, cure: str) -> None:
    install(version)
    with pytest.raises(BeamgenError) as error:
        check_comparable(RULES[release])
    assert f"rules of transformers {release}, and {version} is" in error.value.cause
    assert error.value.cure == cure
    check_comparable(installed_rules())
