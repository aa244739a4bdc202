"""A tiny random model that hears, with tokens as scripts/train_speech_demo.py makes them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from transformers import WhisperFeatureExtractor

from beamgen import find_adapter
from beamgen.testing import tiny_model
from beamgen.tokenizer.files import tokenizer_files

FILES = Path(__file__).parent / "hearing_files"
SAID = json.loads((FILES / "generation_config.json").read_text())

RATE = 16_000
#: Of its tokens; times follow the last of these.
END, START, NO_TIMES = (
    SAID["eos_token_id"],
    SAID["decoder_start_token_id"],
    SAID["no_timestamps_token_id"],
)
EN, DE = SAID["lang_to_id"]["<|en|>"], SAID["lang_to_id"]["<|de|>"]
TRANSCRIBE, TRANSLATE = SAID["task_to_id"]["transcribe"], SAID["task_to_id"]["translate"]


def save_hearing(folder: Path, **changed: object) -> None:
    """A checkpoint of a second of audio at a time; fields of its generation config may change."""
    config = find_adapter("whisper").tiny_config()
    stored = json.loads((FILES / "config.json").read_text())
    for name in ("vocab_size", "bos_token_id", "eos_token_id", "pad_token_id",
                 "decoder_start_token_id"):  # fmt: skip
        setattr(config, name, stored[name])
    config.max_source_positions = 50
    tiny_model(config).save_pretrained(folder)
    for name in tokenizer_files(FILES):
        shutil.copyfile(FILES / name, folder / name)
    WhisperFeatureExtractor(feature_size=8, chunk_length=1).save_pretrained(folder)
    said = {**SAID, **changed}
    (folder / "generation_config.json").write_text(json.dumps(said))
