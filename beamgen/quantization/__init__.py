"""What rounding weights is: the record of it, the arithmetic in NumPy, HF's side of it.

Imports NumPy only; ONNX Runtime inside functions, and torch there, in ``operands`` and in
``straight_through``. ``rounding`` is followed by both ``beamgen.decoder.passes.quantize`` (the
file) and ``emulate`` (HF).
"""
