"""Every adapter of the package, held against everything that the engine expects of one."""

from beamgen.testing import check_adapter


def test_olmo() -> None:
    check_adapter("olmo")
