"""Weights of fewer bits: how they are rounded, what HF has to answer with them, what is lost.

``precision`` is the record of it, ``rounding`` the arithmetic in NumPy, which both
``beamgen.decoder.quantize`` (the file) and ``emulate`` (HF's side) follow. ``quality``
measures against fp32.
"""
