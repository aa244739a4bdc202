"""Sound becomes what an encoder reads: audio files, and the feature extractor of a checkpoint.

NumPy and the standard library do it; soundfile reads what is no plain WAV file. Imports settings
and below.
"""
