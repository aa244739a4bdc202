"""What a search may be asked, under Hugging Face's names: settings, prompts, constraints, results.

Imports NumPy and ``beamgen.adapter`` only; transformers inside functions that read its configs.
"""
