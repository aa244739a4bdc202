"""The cases that are compared: prompts and settings.

Imports NumPy, ``settings`` and ``package``.
"""
