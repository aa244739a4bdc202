"""Label every term of a file with one of a few labels, and say which labels are doubtful.

    python examples/batch/label.py biogpt-onnx labelled

Each term gets its best labels with scores; the gap between the first two says how sure the
model is. Run it again and it is done at once; kill it, run it again, and it goes on.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import beamgen

HERE = Path(__file__).parent


def main(package: str, output: str) -> None:
    """Label ``terms.csv``, and print the doubtful ones."""
    report = beamgen.batch(
        package,
        HERE / "terms.csv",
        output,
        catalogue=(HERE / "labels.txt").read_text(encoding="utf-8").splitlines(),
        num_beams=6,
        num_return_sequences=6,
    )
    doubtful = []
    with report.results.open(encoding="utf-8") as lines:
        for row in map(json.loads, lines):
            first, second, *_ = row["hypotheses"]
            doubtful.append((first["score"] - second["score"], row["text"], first["new_text"]))
    print(f"{report.answered_rows} terms were labelled, {report.failed_rows} could not be")
    for gap, text, label in sorted(doubtful)[:5]:
        print(f"gap {gap:.3f}: {text}{label}")


if __name__ == "__main__":
    main(*sys.argv[1:])
