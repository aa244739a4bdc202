"""What the page for the browser is made of; ``beamgen.formats.web`` puts it together."""
