"""The demo that hears: what is written is what was said, and what transformers writes."""

from __future__ import annotations

from collections.abc import Callable

import torch
from support.pages import ROOT
from transformers import AutoTokenizer, WhisperForConditionalGeneration

from beamgen import Generator, Package, find_adapter
from beamgen.audio.extractor import read_extractor
from beamgen.audio.read import read_audio

CLIPS = [ROOT / "examples" / "speech" / name for name in ("hello.wav", "hallo.wav")]
#: As the voices were told to say it, and its translation.
SAID = [
    "Hello. Turn on the light in the kitchen.",
    "Guten Morgen. Schließe das Fenster im Badezimmer.",
]
TRANSLATED = "Good morning. Close the window in the bathroom."


def test_what_was_said_is_written_and_transformers_writes_the_same(
    demos: Callable[[str], Package],
) -> None:
    folder = find_adapter("whisper").demo
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = WhisperForConditionalGeneration.from_pretrained(folder).eval()
    samples = [read_audio(clip)[0] for clip in CLIPS]
    features = torch.from_numpy(read_extractor(folder).features(samples))
    with torch.no_grad():  # it finds out the languages
        theirs = model.generate(features, num_beams=4, task="transcribe")
    found = Generator(demos("whisper")).generate(CLIPS, num_beams=4, task="transcribe")
    assert [best.text.strip() for (best, *_) in found] == SAID
    assert [
        text.strip() for text in tokenizer.batch_decode(theirs, skip_special_tokens=True)
    ] == SAID


def test_it_translates_and_tells_when(demos: Callable[[str], Package]) -> None:
    generator = Generator(demos("whisper"))
    asked = {"language": "de", "task": "translate", "return_timestamps": True, "num_beams": 4}
    ((best, *_),) = generator.generate(CLIPS[1], **asked)
    first, second = best.segments
    assert f"{first.text.strip()} {second.text.strip()}" == TRANSLATED
    assert 0 <= first.start < first.end <= second.start < second.end <= 4


def test_it_is_small() -> None:
    folder = find_adapter("whisper").demo
    assert folder is not None
    assert sum(path.stat().st_size for path in folder.iterdir()) <= 4_500_000
