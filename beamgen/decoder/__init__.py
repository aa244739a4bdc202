"""From a checkpoint to one decoder step in ONNX. The only place that imports optimum."""
