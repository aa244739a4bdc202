"""One file that takes text and gives text: the tokenizer and its decoder in the graph.

Imports ``export``, ``runtime`` and what lies below them; onnxruntime-extensions inside functions.
"""
