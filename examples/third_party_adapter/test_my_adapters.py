"""Every adapter of the package, held against everything that the engine expects of one."""

from beamgen.testing import check_adapter


def test_olmo() -> None:
    """Half a minute: it exports and searches a tiny random model."""
    check_adapter("olmo")
