"""What a file or a package is and says of itself.

Imports ``package``, ``runtime`` and onnx.
"""
