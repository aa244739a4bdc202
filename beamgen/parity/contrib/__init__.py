"""Parity of files that hold an operator of ONNX Runtime: by the operator's own rule.

Imports what ``parity`` may; ``rule`` is NumPy alone.
"""
