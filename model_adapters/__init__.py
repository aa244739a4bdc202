"""The adapters that ship with beamgen, one architecture per file.

They are a plug-in like any other: ``beamgen`` finds this package through the
entry-point group ``beamgen.adapters`` and imports each module in it.
"""
