"""The folder that an export writes and everything else reads.

Imports ``settings``, ``lora``, ``quantization`` and ``checkpoint``; no graph library but onnx.
"""
