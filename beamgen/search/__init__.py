"""A decoder step becomes a search: one graph that gives whole sequences.

Imports onnx_ir and onnxscript; never torch or transformers.
"""
