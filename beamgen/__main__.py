"""``python -m beamgen``."""

from beamgen.cli import main

main(prog_name="beamgen")
