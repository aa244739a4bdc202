"""Changes to a traced decoder, one file each: a graph in, a graph of equal answers out.

Imports onnx_ir and onnxscript only.
"""
