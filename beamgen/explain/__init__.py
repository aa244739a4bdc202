"""Why a search found what it found: its beams, step by step.

Imports ``runtime`` and ``search`` to look inside a file, and draws with the page of
``formats.web``.
"""
