"""Sound becomes what an encoder reads: audio files, and the feature extractor of a checkpoint.

NumPy and the standard library do it; soundfile, within a function, reads what is no plain WAV
file. Imports ``errors`` and ``disk`` only.
"""
