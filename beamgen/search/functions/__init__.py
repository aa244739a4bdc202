"""The search's arithmetic as ONNX functions, written in onnxscript under HF's names.

Imports onnxscript only.
"""
