"""Files of prompts, one module for each format, read in windows of rows.

Imports pyarrow in functions only.
"""
