"""A program: reads a pattern with outlines-core, within limits, and writes its automaton of bytes.

``beamgen.settings.patterns`` runs it, for outlines-core sets no limit to what a pattern may grow
to. It imports nothing of beamgen's. In: JSON. Out: an ``.npz`` of ``delta`` int32 ``[S, 256]``, -1
for nowhere, and ``final`` bool ``[S]``; state 0 is the first. Exit code 3: the pattern cannot be
read, and stderr says why.
"""

from __future__ import annotations

import io
import json
import sys


def main() -> None:
    """Read one pattern."""
    asked = json.loads(sys.stdin.buffer.read())
    sys.path[:] = asked["path"]  # without the folder of this file, whose names are others' too
    import numpy as np
    from outlines_core import Index, Vocabulary
    from outlines_core.json_schema import build_regex_from_schema

    _limit(asked["bytes"])
    try:
        pattern = asked["pattern"]
        if pattern is None:
            pattern = build_regex_from_schema(asked["schema"], asked["whitespace"])
        every_byte = Vocabulary(256, {bytes([byte]): [byte] for byte in range(256)})
        index = Index(f"(?:{pattern}){asked['behind']}", every_byte)
    except ValueError as error:
        sys.stderr.write(str(error))
        sys.exit(3)
    edges = index.get_transitions()
    numbers = {index.get_initial_state(): 0}
    for state, followers in edges.items():
        for other in (state, *followers.values()):
            numbers.setdefault(other, len(numbers))
    delta = np.full((len(numbers), 256), -1, np.int32)
    for state, followers in edges.items():
        for byte, other in followers.items():
            if byte < 256:  # above it stands for the end of a text
                delta[numbers[state], byte] = numbers[other]
    final = np.zeros(len(numbers), bool)
    final[[numbers[state] for state in index.get_final_states() if state in numbers]] = True
    stored = io.BytesIO()
    np.savez(stored, delta=delta, final=final)
    sys.stdout.buffer.write(stored.getvalue())


def _limit(most_bytes: int) -> None:
    """Limit the memory, where the system knows how; the time is limited in any case."""
    try:
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (most_bytes, most_bytes))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    except (ImportError, ValueError, OSError):
        pass


if __name__ == "__main__":
    main()
