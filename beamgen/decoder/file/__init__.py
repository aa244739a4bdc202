"""A decoder that somebody else exported: read, held against its contract, made a loop decoder.

Imports ``beamgen.decoder.contract`` and ``beamgen.decoder.graph``, and no torch.
"""
