"""A package is run: text or ids in, scored hypotheses out.

Imports ONNX Runtime and what stands below; never torch.
"""
