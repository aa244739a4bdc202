"""The command line: one small file for each command, found by its name.

Imports click, rich and beamgen's public names.
"""

from beamgen.cli._main import main as main
