"""What rounding weights is: the record of it, the arithmetic in NumPy, HF's side of it.

Imports NumPy only; torch and ONNX Runtime inside functions. ``rounding`` is followed by both
``beamgen.decoder.passes.quantize`` (the file) and ``emulate`` (HF).
"""
