"""The ONNX domain of our model-local functions."""

from __future__ import annotations

from onnxscript.values import Opset

DOMAIN = "beamgen"
beamgen_ops = Opset(DOMAIN, 1)
