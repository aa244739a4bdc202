"""The contestants of a bench, one module for each library: a new module here takes part.

Each may import what makes and runs its files, and lists its ``CONTESTANTS`` and
``PREPARATIONS`` (see ``beamgen.bench.contestant``).
"""
