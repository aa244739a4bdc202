"""The conformance suite of adapters, ours and anybody's.

from beamgen.testing import check_adapter

def test_my_adapter():
    check_adapter("my-adapter")
"""

from beamgen.testing.check import check_adapter
from beamgen.testing.models import tiny_model

__all__ = ["check_adapter", "tiny_model"]
