"""A model becomes one decoder step in ONNX: traced, cleaned up, rounded.

Imports torch, optimum and onnx_ir; nothing that knows of a search.
"""
