"""Trains a speech demo: a tiny Whisper.

It writes down, in English and in German, the few hundred commands of ``demo_speech.py``, tells
when they were spoken, and translates the German ones. Its voices are espeak-ng's::

    pip install espeakng-loader scipy
    python scripts/train_speech_demo.py --state speech --minutes 60    # again, until it is done
    python scripts/train_speech_demo.py --state speech --minutes 60 --steps 7200
    python scripts/train_speech_demo.py --state speech --minutes 60 --steps 10800
    python scripts/train_speech_demo.py --state speech --evaluate

The learning rate falls to nothing within the first's 3,600 steps, from a half of the greatest
within the second's, from a quarter within the third's. A run that ends early goes on where it
stopped, one that is killed at most 99 steps before. Each step draws by its own number, so that
many short runs give what one long one does, with the same package versions and one thread.
"""

from __future__ import annotations

import random
import time
import wave
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import click
import numpy as np
import numpy.typing as npt
import torch
from demo_speech import (
    GREETINGS,
    LANGUAGES,
    SAMPLING_RATE,
    Espeak,
    Pair,
    Samples,
    Speaker,
    commands,
    held_out_speakers,
    speakers,
)
from demo_tokenizers import build_whisper_tokenizer
from torch.nn.functional import cross_entropy, ctc_loss, log_softmax
from transformers import (
    GenerationConfig,
    PreTrainedTokenizerBase,
    WhisperConfig,
    WhisperFeatureExtractor,
    WhisperForConditionalGeneration,
)

SECONDS = 4  # that the model hears at a time
MELS = 40
STEPS = 3600
SAVE_EACH = 100  # steps
BATCH = 16
LEARNING_RATE = 2e-3
WARM_UP = 200
HELD_OUT_COMMANDS = 100  # never trained on, in neither language
SPEAKERS, UTTERANCES = 300, 12  # of each language, and of each speaker besides the greetings
CTC_SHARE = 0.3  # of the loss; the encoder's own head, which the checkpoint does not keep
IGNORED_LABEL = -100
CPU_THREADS = 1  # fixed, because the order of a sum depends on it


@dataclass(frozen=True)
class Utterance:
    """What a speaker says.

    Attributes:
        language: ``en`` or ``de``.
        text: in that language.
        english: the same in English.
        samples: at 16 kHz, of 16 bits, without silence around them.
    """

    language: str
    text: str
    english: str
    samples: npt.NDArray[np.int16]


@dataclass(frozen=True)
class Clip:
    """Up to ``SECONDS`` of sound, and what is said in it, with the begin and the end in seconds."""

    language: str
    samples: Samples
    said: tuple[tuple[Utterance, float, float], ...]


def split_commands(seed: int) -> tuple[list[Pair], list[Pair]]:
    """Commands to train on, and those that are held out."""
    listed = commands()
    random.Random(seed).shuffle(listed)
    return listed[HELD_OUT_COMMANDS:], listed[:HELD_OUT_COMMANDS]


def sums_and_others(pairs: Sequence[Pair]) -> tuple[list[Pair], list[Pair]]:
    """Questions of arithmetic, and everything else."""
    sums = [pair for pair in pairs if " plus " in pair[0] or " minus " in pair[0]]
    return sums, [pair for pair in pairs if pair not in sums]


def record(
    espeak: Espeak, speaker: Speaker, language: str, pairs: Sequence[Pair]
) -> list[Utterance]:
    """A speaker says some commands."""
    which = LANGUAGES.index(language)
    return [
        Utterance(language, pair[which], pair[0], as_int16(espeak.say(pair[which], speaker)))
        for pair in pairs
    ]


def as_int16(samples: Samples) -> npt.NDArray[np.int16]:
    """Samples as a WAV file has them."""
    return (samples * (2**15 - 1)).round().astype(np.int16)


def training_voices(seed: int) -> list[list[Utterance]]:
    """What each speaker says: the greetings, then commands."""
    sums, others = sums_and_others(split_commands(seed)[0])
    rng, espeak, found = np.random.default_rng(seed), Espeak(), []
    for language in LANGUAGES:
        for speaker in speakers(language, SPEAKERS, rng):
            pairs = [*GREETINGS]
            for kind in (sums, others):  # three of four commands are sums
                chosen = rng.choice(len(kind), UTTERANCES // 2, replace=False)
                pairs += [kind[i] for i in chosen]
            found.append(record(espeak, speaker, language, pairs))
    return found


def held_out_clips(seed: int, count: int) -> list[Clip]:
    """Commands never trained on, of voices never trained on, with a little noise."""
    _, held_out = split_commands(seed)
    rng, espeak, clips = np.random.default_rng([seed, 1]), Espeak(), []
    for language in LANGUAGES:
        for number, speaker in enumerate(held_out_speakers(language, count, rng)):
            pair = held_out[number % len(held_out)]
            (utterance,) = record(espeak, speaker, language, [pair])
            clips.append(lay_out([utterance], rng))
    return clips


def lay_out(utterances: Sequence[Utterance], rng: np.random.Generator) -> Clip:
    """A clip of one utterance or two, with pauses and noise."""
    samples = np.zeros(SECONDS * SAMPLING_RATE, np.float32)
    at = int(rng.uniform(0, 0.4) * SAMPLING_RATE)
    said = []
    for utterance in utterances:
        end = min(at + len(utterance.samples), len(samples))
        samples[at:end] += utterance.samples[: end - at].astype(np.float32) / 2**15
        said.append((utterance, at / SAMPLING_RATE, end / SAMPLING_RATE))
        at = end + int(rng.uniform(0.15, 0.5) * SAMPLING_RATE)
    used = min(len(samples), at)
    loudness = float(np.sqrt((samples[:used] ** 2).mean()))
    noise = rng.normal(size=len(samples)).astype(np.float32)
    if rng.random() < 0.5:  # a duller one
        noise = np.convolve(noise, np.ones(8, np.float32) / np.sqrt(8), "same").astype(np.float32)
    level = loudness * 10 ** (-rng.uniform(15, 45) / 20)
    gain = rng.uniform(0.3, 1.0) / max(1e-3, float(np.abs(samples).max()))
    mixed = (samples + level * noise) * np.float32(gain)
    return Clip(utterances[0].language, mixed.astype(np.float32), tuple(said))


def draw_clip(voices: Sequence[Sequence[Utterance]], rng: np.random.Generator) -> Clip:
    """A command of some speaker, often after a greeting of the same."""
    voice = voices[int(rng.integers(len(voices)))]
    greetings, rest = voice[: len(GREETINGS)], voice[len(GREETINGS) :]
    first, then = greetings[int(rng.integers(len(greetings)))], rest[int(rng.integers(len(rest)))]
    kind = rng.random()
    said = [then] if kind < 0.65 else [first] if kind < 0.7 else [first, then]
    length = sum(len(each.samples) for each in said) / SAMPLING_RATE
    return lay_out(said if length < SECONDS - 1.0 else said[-1:], rng)


@dataclass(frozen=True)
class Special:
    """Ids of the tokens that are no text."""

    start: int
    languages: dict[str, int]
    tasks: dict[str, int]
    no_timestamps: int
    end: int

    @classmethod
    def of(cls, tokenizer: PreTrainedTokenizerBase) -> Special:
        """Those of a tokenizer."""

        def find(name: str) -> int:
            return int(tokenizer.convert_tokens_to_ids(f"<|{name}|>"))

        return cls(
            find("startoftranscript"),
            {language: find(language) for language in LANGUAGES},
            {task: find(task) for task in ("transcribe", "translate")},
            find("notimestamps"),
            find("endoftext"),
        )


def sequence_of(
    clip: Clip, tokenizer: PreTrainedTokenizerBase, special: Special, rng: np.random.Generator
) -> list[int]:
    """The decoder's tokens for a clip: a task drawn for it, and the answer."""
    translated = clip.language != "en" and rng.random() < 0.4
    timed = rng.random() < 0.35
    task = special.tasks["translate" if translated else "transcribe"]
    ids = [special.start, special.languages[clip.language], task]
    if not timed:
        ids.append(special.no_timestamps)
    for utterance, begin, end in clip.said:
        text = utterance.english if translated else utterance.text
        written = tokenizer.encode(f" {text}", add_special_tokens=False)
        first, last = (special.no_timestamps + 1 + round(t / 0.02) for t in (begin, end))
        ids += [first, *written, last] if timed else written
    return [*ids, special.end]


def build_model(tokenizer: PreTrainedTokenizerBase) -> WhisperForConditionalGeneration:
    """Builds an untrained Whisper, and the generation config that such checkpoints have."""
    special = Special.of(tokenizer)
    space = tokenizer.convert_tokens_to_ids("Ġ")
    ends = {
        "bos_token_id": special.end, "eos_token_id": special.end, "pad_token_id": special.end,
        "decoder_start_token_id": special.start,
    }  # fmt: skip
    config = WhisperConfig(
        vocab_size=len(tokenizer), num_mel_bins=MELS, d_model=96, encoder_layers=4,
        decoder_layers=2, encoder_attention_heads=4, decoder_attention_heads=4,
        encoder_ffn_dim=384, decoder_ffn_dim=384, max_source_positions=SECONDS * 50,
        max_target_positions=64, dropout=0.0, suppress_tokens=None, begin_suppress_tokens=None,
        **ends,
    )  # fmt: skip
    model = WhisperForConditionalGeneration(config)
    never = [tokenizer.convert_tokens_to_ids(f"<|{name}|>") for name in _NEVER_WRITTEN]
    signs = [tokenizer.convert_tokens_to_ids(sign) for sign in _SIGNS]
    model.generation_config = GenerationConfig(
        **ends,
        max_length=config.max_target_positions,
        is_multilingual=True,
        lang_to_id={f"<|{language}|>": i for language, i in special.languages.items()},
        task_to_id=special.tasks,
        no_timestamps_token_id=special.no_timestamps,
        prev_sot_token_id=tokenizer.convert_tokens_to_ids("<|startofprev|>"),
        max_initial_timestamp_index=50,
        return_timestamps=False,
        suppress_tokens=sorted([*signs, *never]),
        begin_suppress_tokens=[space, special.end],
    )
    return model


_NEVER_WRITTEN = (
    "startoftranscript", "translate", "transcribe", "startoflm", "startofprev", "nospeech",
)  # fmt: skip
_SIGNS = tuple('"#()*+/:;<=>@[\\]^_`{|}~')


@cache
def feature_extractor() -> WhisperFeatureExtractor:
    """Whisper's own, for fewer seconds and bands."""
    return WhisperFeatureExtractor(feature_size=MELS, chunk_length=SECONDS)


def features_of(clips: Sequence[Clip]) -> torch.Tensor:
    """What the model reads, ``[B, mels, frames]``."""
    found = feature_extractor()(
        [clip.samples for clip in clips], sampling_rate=SAMPLING_RATE, return_tensors="pt"
    )
    features: torch.Tensor = found.input_features
    return features


def loss_of(
    model: WhisperForConditionalGeneration,
    head: torch.nn.Linear,
    clips: Sequence[Clip],
    sequences: Sequence[list[int]],
    special: Special,
    tokenizer: PreTrainedTokenizerBase,
) -> torch.Tensor:
    """The decoder's cross-entropy, and what the encoder's own head makes of the clips."""
    longest = max(map(len, sequences)) - 1
    ids = torch.full((len(sequences), longest), special.end)
    labels = torch.full((len(sequences), longest), IGNORED_LABEL)
    fixed = {special.no_timestamps, *special.tasks.values()}
    for row, sequence in enumerate(sequences):
        size = len(sequence) - 1
        ids[row, :size] = torch.tensor(sequence[:-1])
        targets = [IGNORED_LABEL if token in fixed else token for token in sequence[1:]]
        labels[row, :size] = torch.tensor(targets)
    output = model(input_features=features_of(clips), decoder_input_ids=ids, use_cache=False)
    decoded = cross_entropy(
        output.logits.flatten(0, 1), labels.flatten(), ignore_index=IGNORED_LABEL,
        label_smoothing=0.05,
    )  # fmt: skip
    hidden = output.encoder_last_hidden_state  # [B, positions, d]
    texts = [" ".join(["", *(each.text for each, _, _ in clip.said)]) for clip in clips]
    spelled = [tokenizer.encode(text, add_special_tokens=False) for text in texts]
    aligned = ctc_loss(
        log_softmax(head(hidden), dim=-1).transpose(0, 1),
        torch.tensor([token for ids_of_text in spelled for token in ids_of_text]),
        torch.full((len(clips),), hidden.shape[1]),
        torch.tensor([len(ids_of_text) for ids_of_text in spelled]),
        blank=special.end,
        zero_infinity=True,
    )
    return (1 - CTC_SHARE) * decoded + CTC_SHARE * aligned


def train(state: Path, minutes: float, steps: int, seed: int) -> bool:
    """Goes on for some minutes; tells whether it is done."""
    begun = time.monotonic()
    voices_file, file = state / "voices.pt", state / "state.pt"
    if not voices_file.exists():
        torch.save(training_voices(seed), voices_file)
    voices: list[list[Utterance]] = torch.load(voices_file, weights_only=False)
    sums, others = sums_and_others([*commands(), *GREETINGS])
    texts = [f" {text}" for pair in [*sums, *others, *others, *others] for text in pair]
    tokenizer = build_whisper_tokenizer(texts, state / "whisper", seconds=SECONDS)
    torch.manual_seed(seed)
    model = build_model(tokenizer)
    head = torch.nn.Linear(model.config.d_model, model.config.vocab_size)
    parameters = [p for p in [*model.parameters(), *head.parameters()] if p.requires_grad]
    optimizer = torch.optim.AdamW(parameters, LEARNING_RATE, betas=(0.9, 0.98), weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer,
        lambda step: min((step + 1) / WARM_UP, 0.5 * (1 + np.cos(np.pi * step / steps)) + 1e-3),
    )
    parts: dict[str, Any] = {
        "model": model, "head": head, "optimizer": optimizer, "schedule": schedule,
    }  # fmt: skip
    first, spent = 0, 0.0
    if file.exists():
        saved = torch.load(file, weights_only=False)
        for name, part in parts.items():
            part.load_state_dict(saved[name])
        first, spent = saved["step"], saved["seconds"]
    special = Special.of(tokenizer)
    model.train()
    step, losses = first, []

    def save() -> float:
        """Write the state, and tell how many seconds all runs took."""
        seconds = spent + time.monotonic() - begun
        stored = {name: part.state_dict() for name, part in parts.items()}
        torch.save({**stored, "step": step, "seconds": seconds}, file.with_suffix(".new"))
        file.with_suffix(".new").replace(file)
        return seconds

    while step < steps and time.monotonic() - begun < minutes * 60:
        rng = np.random.default_rng([seed, 2, step])
        torch.manual_seed(step)
        clips = [draw_clip(voices, rng) for _ in range(BATCH)]
        sequences = [sequence_of(clip, tokenizer, special, rng) for clip in clips]
        loss = loss_of(model, head, clips, sequences, special, tokenizer)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call] # of torch's
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        schedule.step()
        losses.append(float(loss.detach()))
        step += 1
        if step % 50 == 0:
            passed = spent + time.monotonic() - begun
            click.echo(f"step {step}, loss {np.mean(losses[-50:]):.3f}, {passed:.0f} s")
        if step % SAVE_EACH == 0:
            save()
    seconds = save()
    model.eval()
    model.save_pretrained(state / "whisper")
    tokenizer.save_pretrained(state / "whisper")
    feature_extractor().save_pretrained(state / "whisper")
    click.echo(
        f"{model.num_parameters():,} parameters, {step} of {steps} steps, {seconds:.0f} s so far"
    )
    return step >= steps


def word_errors(said: str, heard: str) -> tuple[int, int]:
    """Words inserted, dropped or changed, and how many words were said."""
    one, other = said.lower().split(), heard.lower().split()
    costs = list(range(len(other) + 1))
    for i, word in enumerate(one, start=1):
        before, costs[0] = costs[0], i
        for j, written in enumerate(other, start=1):
            changed = before + (word != written)
            before, costs[j] = costs[j], min(costs[j] + 1, costs[j - 1] + 1, changed)
    return costs[-1], len(one)


def evaluate(folder: Path, seed: int, count: int) -> None:
    """Prints word error rates on voices and commands never trained on."""
    from transformers import AutoTokenizer

    model = WhisperForConditionalGeneration.from_pretrained(folder).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    clips = held_out_clips(seed, count)
    for language, task in (("en", "transcribe"), ("de", "transcribe"), ("de", "translate")):
        errors = words = 0
        chosen = [clip for clip in clips if clip.language == language]
        with torch.no_grad():
            found = model.generate(
                features_of(chosen), language=language, task=task, num_beams=5, max_new_tokens=40
            )
        for clip, text in zip(chosen, tokenizer.batch_decode(found, skip_special_tokens=True),
                              strict=True):  # fmt: skip
            ((utterance, _, _),) = clip.said
            said = utterance.english if task == "translate" else utterance.text
            wrong, among = word_errors(said, text)
            errors, words = errors + wrong, words + among
            if wrong:
                click.echo(f"  {said} -> {text}")
        click.echo(f"{language} {task}: {errors} of {words} words wrong ({errors / words:.1%})")


_HELLO = ("Hello.", "Turn on the light in the kitchen.")
_HALLO = ("Guten Morgen.", "Schließe das Fenster im Badezimmer.")


def write_examples(folder: Path, seed: int) -> None:
    """Writes clips of two held-out voices, each with a greeting and a command."""
    espeak, rng = Espeak(), np.random.default_rng([seed, 3])
    for name, language, speaker, which in (
        ("hello", "en", Speaker("en-us+f4", 160, 45), _HELLO),
        ("hallo", "de", Speaker("de+m6", 150, 45), _HALLO),
    ):
        pairs = [pair for pair in [*GREETINGS, *commands()] if set(pair) & set(which)]
        clip = lay_out(record(espeak, speaker, language, pairs), rng)
        write_wave(folder / f"{name}.wav", clip.samples)


def write_wave(path: Path, samples: Samples) -> None:
    """Writes a WAV file of 16 bits at 16 kHz."""
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(SAMPLING_RATE)
        file.writeframes(as_int16(samples).astype("<i2").tobytes())


@click.command(help="Trains the speech demo; see the head of this file.")
@click.option("--state", type=click.Path(path_type=Path), default=Path("speech"), help="Folder.")
@click.option("--minutes", default=8.0, help="To train in this run.")
@click.option("--steps", default=STEPS, help="Optimiser steps in all.")
@click.option("--seed", default=0, help="Of everything random.")
@click.option("--evaluate", "judge", is_flag=True, help="Measure it instead.")
@click.option("--examples", type=click.Path(path_type=Path), help="Write clips there instead.")
@click.option("--clips", default=100, help="To measure it on, of each language.")
def main(
    state: Path,
    minutes: float,
    steps: int,
    seed: int,
    judge: bool,
    examples: Path | None,
    clips: int,
) -> None:
    """Trains for some minutes, or measures, or writes clips."""
    torch.set_num_threads(CPU_THREADS)
    state.mkdir(parents=True, exist_ok=True)
    if examples is not None:
        examples.mkdir(parents=True, exist_ok=True)
        write_examples(examples, seed)
    elif judge:
        evaluate(state / "whisper", seed, clips)
    elif train(state, minutes, steps, seed):
        click.echo("done")


if __name__ == "__main__":
    main()
