"""Text in, text out, with nothing but ONNX Runtime: python generate.py MODEL.onnx TEXT ..."""

import sys

import numpy as np
import onnxruntime
from onnxruntime_extensions import get_library_path

options = onnxruntime.SessionOptions()
options.log_severity_level = 3  # it would warn that the parameters can be overridden: they can
options.register_custom_ops_library(get_library_path())
session = onnxruntime.InferenceSession(sys.argv[1], options)

feeds = {
    "text": np.array(sys.argv[2:], dtype=object),
    "num_beams": np.array([4]),
    "num_return_sequences": np.array([2]),
    "max_new_tokens": np.array([12, *[8] * (len(sys.argv) - 3)]),  # one for all, or one each
}
texts, scores = session.run(["texts", "sequences_scores"], feeds)
for row, row_scores in zip(texts, scores, strict=True):
    for text, score in zip(row, row_scores, strict=True):
        print(f"{score:8.4f} {text!r}")
