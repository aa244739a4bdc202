"""This package's files against what else runs the same search, timed and compared.

Imports all below; each contestant imports its library inside functions.
"""
