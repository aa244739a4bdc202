"""A model of Triton Inference Server, run by its ONNX Runtime backend.

Imports ``export``, ``runtime`` and what lies below them; tritonclient inside functions.
"""
