"""A package in the format of what will run it: one folder each, found by its name.

Imports ``export``, ``parity``, ``runtime`` and what lies below them; a format imports no other.
"""
