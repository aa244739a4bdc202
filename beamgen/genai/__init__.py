"""What onnxruntime-genai is told of a model, and what it answers; the format is beamgen.formats."""
