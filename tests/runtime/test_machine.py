"""What the bench ran on."""

from __future__ import annotations

from beamgen.runtime.machine import describe_machine


def test_the_machine_is_known() -> None:
    assert describe_machine()["cpu"]
