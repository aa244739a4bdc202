"""The architectures and operators that most tests run through."""

from __future__ import annotations

from beamgen import adapters

ARCHITECTURES = ("gpt2", "biogpt", "phi3")

#: Settings that choose each of ONNX Runtime's operators.
OPERATORS = {
    "BeamSearch": {"num_beams": 4},
    "GreedySearch": {"num_beams": 1},
    "Sampling": {"num_beams": 1, "do_sample": True, "top_k": 0},
}

#: The adapters whose classes the installed transformers has.
INSTALLED = [each for each in adapters() if each.needs is None]
