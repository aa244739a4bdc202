"""A package that hears: audio in, what the class's own ``generate`` in HF gives out."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from support.hearing import DE, EN, END, NO_TIMES, RATE, START, TRANSCRIBE, save_hearing
from support.waves import tone, write_wave
from transformers import (
    AutoTokenizer,
    GenerationConfig,
    GenerationMixin,
    WhisperForConditionalGeneration,
)

from beamgen import (
    GRIDS,
    BeamgenError,
    BeamgenWarning,
    FeatureBatch,
    Generator,
    Package,
    SearchConfig,
    Segment,
    check_parity,
    explain,
    export,
    open_package,
    open_source,
)
from beamgen.audio.extractor import read_extractor
from beamgen.cli import main
from beamgen.parity.report import Verdict
from beamgen.runtime.segments import segments_of

CLIPS = [tone(0.6), tone(0.9, pitch=700), 0.2 * tone(0.3, pitch=150)]


@pytest.fixture(scope="module")
def folder(once: Callable[..., Path]) -> Path:
    return once("checkpoints/hearing", save_hearing)


@pytest.fixture(scope="module")
def package(once: Callable[..., Path], folder: Path) -> Package:
    settings = {"num_beams": 3, "max_new_tokens": 12}
    return open_package(
        once("packages/hearing", lambda to: export(folder, to, parity=False, settings=settings))
    )


@pytest.fixture(scope="module")
def generator(package: Package) -> Generator:
    return Generator(package)


@pytest.fixture(scope="module")
def model(folder: Path) -> WhisperForConditionalGeneration:
    return WhisperForConditionalGeneration.from_pretrained(folder).eval()


@pytest.fixture(scope="module")
def features(folder: Path) -> torch.Tensor:
    return torch.from_numpy(read_extractor(folder).features(CLIPS))


ASKED = {
    "language": {"language": "en"},
    "name of a language": {"language": "german", "task": "translate"},
    "one for each": {"language": ["de", "en", "de"]},
    "task alone": {"task": "translate"},
    "nothing": {},
}


@pytest.mark.parametrize("timed", [False, True], ids=["text", "times"])
@pytest.mark.parametrize("beams", [1, 4])
@pytest.mark.parametrize("asked", ASKED)
def test_its_own_generate_gives_the_same(
    generator, model, features, folder, asked: str, beams: int, timed: bool
) -> None:
    """With times it is asked for one window: behind the last pair it would search anew."""
    settings = {"num_beams": beams, "max_new_tokens": 12, "return_timestamps": timed}
    with torch.no_grad():
        theirs = model.generate(
            features, **settings, **ASKED[asked], force_unique_generate_call=True
        )
    ours = generator.generate(CLIPS, sampling_rate=RATE, **settings, **ASKED[asked])
    tokenizer = AutoTokenizer.from_pretrained(folder)
    for (best,), padded in zip(ours, theirs.tolist(), strict=True):
        ids = [*best.prompt_ids, *best.token_ids]
        assert padded[: len(ids)] == ids
        assert set(padded[len(ids) :]) <= {END}
        assert best.text == tokenizer.decode(ids, skip_special_tokens=True)
        if timed:
            offsets = tokenizer.decode(ids, output_offsets=True)["offsets"]
            said = [(each.text, each.start, each.end) for each in best.segments]
            assert said == [(o["text"], *map(pytest.approx, o["timestamp"])) for o in offsets]
        else:
            assert best.segments is None


def test_without_times_it_gives_back_what_follows_the_prompt(generator, model, features) -> None:
    """Behind two times in a row it would search anew; where they are not asked for, too."""
    times = list(range(NO_TIMES + 1, model.config.vocab_size))
    asked = {"language": "de", "max_new_tokens": 9, "num_beams": 3, "suppress_tokens": times}
    with torch.no_grad():
        theirs = model.generate(features, **asked)
    ours = generator.generate(CLIPS, sampling_rate=RATE, **asked)
    for (best,), row in zip(ours, theirs.tolist(), strict=True):
        kept = [token for token in best.token_ids if token != END]
        assert row[: len(kept)] == kept
        assert set(row[len(kept) :]) <= {END}


def test_a_decoder_prompt_of_ones_own(generator, model, features) -> None:
    """Nothing is put before it, whichever token it begins with."""
    prompts = [[START, DE, 30, 31], [EN, 9, 10, 11], [END, START, EN, 40]]
    found = generator.generate(CLIPS, sampling_rate=RATE, decoder_prompt=prompts, max_new_tokens=6)
    for row, (prompt, (best,)) in enumerate(zip(prompts, found, strict=True)):
        config = replace(generator.search, max_new_tokens=6)
        theirs = _by_mixin(model, features[row : row + 1], torch.tensor([prompt]), config)
        ids = [*best.prompt_ids, *best.token_ids]
        assert best.prompt_ids == prompt
        assert theirs[: len(ids)] == ids


def _by_mixin(model, features, prompt: torch.Tensor, config: SearchConfig) -> list[int]:
    """The best sequence of HF's search, without what its class puts around it."""
    settings = GenerationConfig(
        num_beams=config.num_beams,
        max_new_tokens=config.max_new_tokens,
        eos_token_id=END,
        pad_token_id=END,
        decoder_start_token_id=START,
        suppress_tokens=list(config.suppress_tokens),
        begin_suppress_tokens=list(config.begin_suppress_tokens),
    )
    with torch.no_grad():
        found = GenerationMixin.generate(
            model,
            features,
            decoder_input_ids=prompt,
            attention_mask=torch.ones(1, features.shape[2]),
            generation_config=settings,
        )
    return found[0].tolist()


def test_features_of_ones_own_are_searched_as_audio_is(generator, features) -> None:
    asked = {"language": "en", "num_return_sequences": 2}
    heard = generator.generate(CLIPS, sampling_rate=RATE, **asked)
    given = generator.generate(FeatureBatch("input_features", features.numpy()), **asked)
    assert given == heard


def test_files_are_what_their_samples_are(generator, tmp_path: Path) -> None:
    paths = [write_wave(tmp_path / f"{i}.wav", clip) for i, clip in enumerate(CLIPS)]
    whole = [np.round(clip.astype(np.float64) * 32767) for clip in CLIPS]
    samples = [(numbers / 32768).astype(np.float32) for numbers in whole]
    assert generator.generate(paths) == generator.generate(samples, sampling_rate=RATE)
    assert generator.generate(str(paths[1])) == generator.generate(samples[1], sampling_rate=RATE)


@pytest.mark.parametrize(
    ("given", "options", "cause"),
    [
        (tone(), {}, "without their sampling rate"),
        (tone(1.5), {"sampling_rate": RATE}, "1.5 seconds long, and the model hears 1"),
        ([], {}, "no audio was given"),
        ("none.wav", {}, "cannot read none.wav"),
        (tone(), {"sampling_rate": RATE, "language": ["en", "de"]}, "2 languages were given for 1"),
        (tone(), {"sampling_rate": RATE, "language": "fr"}, "no language called 'fr'"),
        (tone(), {"sampling_rate": RATE, "task": "translate", "decoder_prompt": [1]}, "make one"),
        (tone(), {"sampling_rate": RATE, "temperature": (0.0, 0.2)}, "several temperatures"),
        (tone(), {"sampling_rate": RATE, "no_speech_threshold": 0.6}, "silence is passed over"),
        (tone(), {"sampling_rate": RATE, "return_token_timestamps": True}, "times of words"),
        (tone(), {"sampling_rate": RATE, "condition_on_prev_tokens": True}, "several windows"),
        (tone(), {"sampling_rate": RATE, "encoder_no_repeat_ngram_size": 2}, "reads no token ids"),
        (tone(), {"sampling_rate": RATE, "return_timestamps": True, "eos_token_id": [5, 6]},
         "goes with one eos_token_id, not with 2"),
        (FeatureBatch("input_features", np.zeros((1, 8, 99))), {}, r"is of shape \[1, 8, 99\]"),
        (FeatureBatch("input_values", np.zeros((1, 8, 100))), {}, "input_values is of shape"),
        (FeatureBatch("input_features", np.full((1, 8, 100), np.nan)), {}, "no number"),
    ],
    ids=lambda each: each if isinstance(each, str) else None,
)  # fmt: skip
def test_what_cannot_be_heard_is_refused(generator, given, options, cause: str) -> None:
    with pytest.raises(BeamgenError, match=cause) as error:
        generator.generate(given, **options)
    assert error.value.cure


@pytest.mark.parametrize(
    ("options", "cause"),
    [
        ({"language": "en"}, "a language was given"),
        ({"sampling_rate": RATE}, "a sampling rate was given"),
        ({"return_timestamps": True}, "and there is none"),
    ],
    ids=str,
)
def test_a_decoder_does_not_hear(generators, options, cause: str) -> None:
    with pytest.raises(BeamgenError, match=cause):
        generators("gpt2").generate([[5, 9]], **options)


def test_parity_on_audio_of_ones_own(package, tmp_path: Path) -> None:
    clip = write_wave(tmp_path / "a.wav", CLIPS[0])
    report = check_parity(package, open_source(package), grid=lambda *_: [], audio=[clip, CLIPS_AS])
    assert [result.verdict for result in report.results] == [Verdict.EXACT] * 2
    assert report.results[0].case.prompts[0][0] == START
    assert len(report.results[0].case.prompts[0]) == 3  # with the language that was found out


CLIPS_AS = {"array": CLIPS[1], "sampling_rate": RATE}


def test_the_manifest_tells_of_tasks(package) -> None:
    values = json.loads((package.folder / "beamgen.json").read_text())
    assert values["encoder"]["prepends_start"] is False
    assert values["encoder"]["tasks"]["languages"] == {"de": DE, "en": EN}
    assert values["encoder"]["tasks"]["language_names"]["german"] == "de"
    rows = {row["name"]: row for row in values["inputs"]}
    assert rows["input_features"]["shape"] == ["batch", 8, 100]
    assert rows["decoder_input_ids"]["default"] == [[START]]
    assert rows["no_timestamps_token_id"]["default"] == [NO_TIMES]
    assert "encoder_no_repeat_ngram_size" not in rows
    assert open_package(package.folder).manifest == package.manifest


def test_a_language_of_the_export_is_the_files_default(folder: Path, tmp_path: Path) -> None:
    settings = {"language": "German", "return_timestamps": True}
    made = export(folder, tmp_path / "made", parity=False, settings=settings).package
    rows = {row["name"]: row for row in made.manifest.inputs}
    assert rows["decoder_input_ids"]["default"] == [[START, DE, TRANSCRIBE]]
    assert rows["return_timestamps"]["default"] == [1]
    ((best,),) = Generator(made).generate(CLIPS[0], sampling_rate=RATE, max_new_tokens=4)
    assert best.prompt_ids == [START, DE, TRANSCRIBE]


@pytest.mark.parametrize(
    ("changed", "settings", "cause"),
    [
        ({}, {"language": "fr"}, "no language called 'fr'"),
        ({}, {"encoder_no_repeat_ngram_size": 2}, "its encoder reads no token ids"),
        ({"no_speech_threshold": 0.6}, {}, "silence is passed over in a loop"),
        ({"lang_to_id": {"<|en|>": 9999}}, {}, "lang_to_id 9999 is outside the vocabulary"),
        ({"no_timestamps_token_id": None}, {"return_timestamps": True}, "and there is none"),
        ({"my_own_field": 1}, {}, "transformers does not know it"),
    ],
    ids=str,
)
def test_what_a_file_cannot_do_is_refused(changed, settings, cause, folder, tmp_path) -> None:
    checkpoint = tmp_path / "changed"
    shutil.copytree(folder, checkpoint)
    said = json.loads((checkpoint / "generation_config.json").read_text())
    (checkpoint / "generation_config.json").write_text(json.dumps({**said, **changed}))
    with pytest.raises(BeamgenError, match=cause) as error:
        export(checkpoint, tmp_path / "made", settings=settings, parity=False)
    assert error.value.cure
    assert not (tmp_path / "made").exists()


def test_without_its_feature_extractor_it_takes_features_alone(folder, tmp_path) -> None:
    checkpoint = tmp_path / "bare"
    shutil.copytree(folder, checkpoint)
    (checkpoint / "preprocessor_config.json").unlink()
    with pytest.warns(BeamgenWarning, match="will take features only, no audio"):
        made = export(checkpoint, tmp_path / "made", parity=False).package
    bare = Generator(made)
    with pytest.raises(BeamgenError, match="has no preprocessor_config"):
        bare.generate(CLIPS[0], sampling_rate=RATE)
    features = FeatureBatch("input_features", np.zeros((1, 8, 100)))
    found = bare.generate(features, language="en", max_new_tokens=4)
    assert found[0][0].token_ids


@pytest.mark.parametrize("name", GRIDS)
def test_each_grid_has_cases_for_what_hears(name: str, package: Package) -> None:
    """Whose file has no inputs of what reads a text."""
    cases = GRIDS[name](package, lambda prompts: [5, 6])
    assert any(case.config.num_beams > 1 for case in cases)


def test_times_that_stand_alone_make_no_segment() -> None:
    first = 100
    assert segments_of([5, 6], first, None) == ()
    assert segments_of([100, 5, 6], first, None) == ()
    assert segments_of([100, 5, 120, 120, 6], first, None) == (Segment(0.0, 0.4, None),)
    assert segments_of([100, 5, 120, 130, 6, 140], first, None) == (
        Segment(0.0, 0.4, None),
        Segment(0.6, 0.8, None),
    )


def _told(*typed: str) -> str:
    return CliRunner().invoke(main, typed).output


def test_on_the_command_line(package, generator, tmp_path: Path) -> None:
    clip = str(write_wave(tmp_path / "a.wav", CLIPS[0]))
    run = ("generate", "-m", str(package.folder), "--audio", clip)
    ((best,),) = generator.generate(clip, language="en")
    assert _told(*run, "--language", "en").strip() == best.text.strip()
    timed = json.loads(_told(*run, "--language", "en", "--return-timestamps", "--json"))
    ((best,),) = generator.generate(clip, language="en", return_timestamps=True)
    assert timed["prompt"] == clip
    assert timed["hypotheses"][0]["token_ids"] == best.token_ids
    assert len(timed["hypotheses"][0]["segments"]) == len(best.segments)
    assert "hears, and was given text" in _told("generate", "-m", str(package.folder), "-p", "hi")
    assert "hears, and was given text" in _told("parity", "-m", str(package.folder), "-p", "hi")
    assert "prompts and --audio were given" in _told(*run, "-p", "hi")


def test_a_search_behind_audio_is_explained(package, generator, tmp_path: Path) -> None:
    clip = write_wave(tmp_path / "a.wav", CLIPS[0])
    asked = {"language": "de", "max_new_tokens": 5}
    found = explain(package, clip, **asked)
    ((best,),) = generator.generate(clip, **asked)
    assert list(found.hypotheses[0].ids) == best.token_ids
    assert list(found.ids) == best.prompt_ids
    assert found.source_ids is None
    run = ("explain", "-m", str(package.folder))
    typed = _told(*run, "--audio", str(clip), "--language", "de", "--max-new-tokens", "5", "--json")
    assert json.loads(typed)["hypotheses"] == found.to_json()["hypotheses"]
    assert "hears, and was given text" in _told(*run, "-p", "hi")


def test_a_package_that_reads_says_so(packages, tmp_path: Path) -> None:
    clip = str(write_wave(tmp_path / "a.wav", CLIPS[0]))
    run = ("-m", str(packages("gpt2").folder), "--audio", clip)
    assert "reads text, and was given audio" in _told("generate", *run)
