"""The feature extractor of a folder."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from transformers import WhisperFeatureExtractor

from beamgen import BeamgenError
from beamgen.audio.extractor import extractor_files, read_extractor
from beamgen.audio.log_mel import LogMel

STORED = {"feature_extractor_type": "WhisperFeatureExtractor", "feature_size": 12}


def test_what_hf_saves_is_read(tmp_path: Path) -> None:
    theirs = WhisperFeatureExtractor(feature_size=128, chunk_length=7, padding_value=0.25)
    theirs.save_pretrained(tmp_path)
    assert [path.name for path in extractor_files(tmp_path)] == ["preprocessor_config.json"]
    found = read_extractor(tmp_path)
    assert found == LogMel(feature_size=128, chunk_length=7, padding_value=0.25)


def test_it_may_stand_within_the_processors_config(tmp_path: Path) -> None:
    """As transformers 5 saves it."""
    (tmp_path / "processor_config.json").write_text(json.dumps({"feature_extractor": STORED}))
    assert read_extractor(tmp_path) == LogMel(feature_size=12)


@pytest.mark.parametrize(
    ("stored", "cause", "cure"),
    [
        (None, "has no preprocessor_config.json", "FeatureBatch"),
        ({**STORED, "feature_extractor_type": "Wav2Vec2FeatureExtractor"}, "'Wav2Vec2", "Feature"),
        ({**STORED, "dither": 0.1}, "asks for dither", "set dither to 0.0"),
        ({**STORED, "hop_length": 0}, "has hop_length 0", "download"),
        ({**STORED, "feature_size": "80"}, "has feature_size '80'", "download"),
        ("{", "cannot read preprocessor_config.json", "download"),
        ("[]", "cannot read preprocessor_config.json|has no", ""),
    ],
)
def test_what_cannot_be_computed_is_told(stored, cause: str, cure: str, tmp_path: Path) -> None:
    if stored is not None:
        text = stored if isinstance(stored, str) else json.dumps(stored)
        (tmp_path / "preprocessor_config.json").write_text(text)
    with pytest.raises(BeamgenError, match=cause) as error:
        read_extractor(tmp_path)
    assert cure in error.value.cure
