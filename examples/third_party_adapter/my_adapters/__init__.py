"""Adapters of one's own."""
