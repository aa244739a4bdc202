"""A file for an architecture that has no adapter yet, drafted from its class in transformers.

Imports ``testing``, whose suite it runs, ``registry`` and ``default_adapter``.
"""
