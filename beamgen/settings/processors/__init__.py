"""Logits processors, one file each: the setting, what it may be, and what it does to scores.

Import ``settings`` only; onnxscript where the functions are compiled.
"""
