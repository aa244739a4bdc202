"""What this machine and installation can do, and whether a package has room on it.

Imports the runtime and what is above it in the data flow; never torch or transformers.
"""
