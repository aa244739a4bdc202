"""Thousands of prompts: read in a stream, searched in batches, written in input order, resumed.

Imports the runtime and what is above it in the data flow; pyarrow and ray in functions only.
"""
