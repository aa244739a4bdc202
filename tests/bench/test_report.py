"""What a report says, as JSON, as a picture and on the terminal."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ElementTree
from dataclasses import replace
from pathlib import Path

from support.benches import SMALL, printed

from beamgen import bench


def test_the_json_says_all(jobs_in_process, checkpoints, tmp_path: Path) -> None:
    report = bench(checkpoints("phi3"), against=["transformers"], command=["x", "y"], **SMALL)
    written = report.write(tmp_path / "new")
    assert [path.name for path in written] == ["bench.json", "bench.svg"]
    as_json = json.loads(written[0].read_text())
    assert as_json["schema"] == 1
    assert as_json["bandwidth"]["doubted"] is report.below_floor is False
    slow = replace(report.results[0].rows[0], floor_seconds=1e6)
    doubted = replace(report, results=(replace(report.results[0], rows=(slow,)),))
    assert doubted.below_floor
    assert "below the floor" in printed(doubted)
    assert as_json["command"] == ["x", "y"]
    assert as_json["machine"]["cores"] >= 1
    assert set(as_json["machine"]["flags"]) == {"avx2", "avx512", "vnni", "bf16", "amx"}
    assert as_json["settings"]["threads"] == 1
    assert as_json["model"]["cache_bytes_per_token"] == 2 * 2 * 2 * 16 * 4
    assert {"python", "beamgen", "onnxruntime", "ctranslate2"} <= as_json["versions"].keys()
    (work,) = as_json["workloads"]
    assert (work["prompt_tokens"], work["new_tokens"]) == (6, 5)
    (row,) = work["rows"]
    assert row["times_transformers"] == 1.0
    assert row["times_beamgen"] is None
    assert row["min_seconds"] <= row["median_seconds"] <= row["max_seconds"]
    assert None not in (row["first_token_seconds"], row["peak_bytes"], row["load_seconds"])
    picture = ElementTree.fromstring(written[1].read_text())
    assert picture.get("width") == "800"
    bars = list(picture.iter("{http://www.w3.org/2000/svg}g"))
    assert len(bars) == 1
