"""A folder for onnxruntime-genai: the decoder step alone, which genai searches with.

Imports ``export``, ``parity`` and what lies below them; onnxruntime-genai inside functions.
"""
