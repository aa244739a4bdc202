"""What the speech demo hears: commands in English and German, spoken by espeak-ng's voices.

espeak-ng is a program under the GPL, version 3 or later; what it says is not. It comes with the
``espeakng-loader`` package, which only this script needs.
"""

from __future__ import annotations

import ctypes
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import espeakng_loader
import numpy as np
import numpy.typing as npt
from scipy.signal import resample_poly

Samples = npt.NDArray[np.float32]

SAMPLING_RATE = 16_000
_ESPEAK_RATE = 22_050
#: Of a sample, below which a voice is silent.
_SILENT = 0.01

#: The same words in English and in German.
Pair = tuple[str, str]

LANGUAGES = ("en", "de")

_DEVICES: tuple[Pair, ...] = (
    ("the light", "das Licht"), ("the lamp", "die Lampe"), ("the radio", "das Radio"),
    ("the heating", "die Heizung"), ("the fan", "den Ventilator"), ("the music", "die Musik"),
)  # fmt: skip
_OPENINGS: tuple[Pair, ...] = (
    ("the door", "die Tür"), ("the window", "das Fenster"), ("the curtain", "den Vorhang"),
)  # fmt: skip
_ROOMS: tuple[Pair, ...] = (
    ("in the kitchen", "in der Küche"), ("in the bathroom", "im Badezimmer"),
    ("in the bedroom", "im Schlafzimmer"), ("in the garden", "im Garten"),
    ("in the office", "im Büro"), ("in the garage", "in der Garage"),
)  # fmt: skip
_CITIES: tuple[Pair, ...] = (
    ("Berlin", "Berlin"), ("London", "London"), ("Paris", "Paris"), ("Vienna", "Wien"),
    ("Rome", "Rom"),
)  # fmt: skip
_DAYS: tuple[Pair, ...] = (("today", "heute"), ("tomorrow", "morgen"))
_NAMES = ("Anna", "Peter", "Maria", "Thomas", "Julia")

GREETINGS: tuple[Pair, ...] = (
    ("Hello.", "Hallo."), ("Good morning.", "Guten Morgen."), ("Thank you.", "Danke."),
)  # fmt: skip

_SMALL: tuple[Pair, ...] = (
    ("one", "eins"), ("two", "zwei"), ("three", "drei"), ("four", "vier"), ("five", "fünf"),
    ("six", "sechs"), ("seven", "sieben"), ("eight", "acht"), ("nine", "neun"), ("ten", "zehn"),
    ("eleven", "elf"), ("twelve", "zwölf"), ("thirteen", "dreizehn"), ("fourteen", "vierzehn"),
    ("fifteen", "fünfzehn"), ("sixteen", "sechzehn"), ("seventeen", "siebzehn"),
    ("eighteen", "achtzehn"), ("nineteen", "neunzehn"),
)  # fmt: skip
_TENS = (("twenty", "zwanzig"), ("thirty", "dreißig"), ("forty", "vierzig"), ("fifty", "fünfzig"))


def number(n: int) -> Pair:
    """A number from 1 to 59 in words."""
    if n < 20:
        return _SMALL[n - 1]
    tens, ones = _TENS[n // 10 - 2], n % 10
    if ones == 0:
        return tens
    one, eins = _SMALL[ones - 1]
    return f"{tens[0]}-{one}", f"{'ein' if ones == 1 else eins}und{tens[1]}"


def commands() -> list[Pair]:
    """Every command, in English and in German."""
    return [*_switches(), *_openings(), *_questions(), *_times()]


def _switches() -> Iterator[Pair]:
    for (device, gerät), (room, raum) in itertools.product(_DEVICES, _ROOMS):
        for way, richtung in (("on", "an"), ("off", "aus")):
            yield f"Turn {way} {device} {room}.", f"Schalte {gerät} {raum} {richtung}."


def _openings() -> Iterator[Pair]:
    for (opening, öffnung), (room, raum) in itertools.product(_OPENINGS, _ROOMS):
        yield f"Open {opening} {room}.", f"Öffne {öffnung} {raum}."
        yield f"Close {opening} {room}.", f"Schließe {öffnung} {raum}."


def _questions() -> Iterator[Pair]:
    for city, stadt in _CITIES:
        yield f"What time is it in {city}?", f"Wie spät ist es in {stadt}?"
        for day, tag in _DAYS:
            yield f"What is the weather in {city} {day}?", f"Wie ist das Wetter in {stadt} {tag}?"
    for a, b in itertools.product(range(1, 21), range(1, 13)):
        (one, eins), (two, zwei) = number(a), number(b)
        yield f"What is {one} plus {two}?", f"Was ist {eins} plus {zwei}?"
        yield f"What is {one} minus {two}?", f"Was ist {eins} minus {zwei}?"


def _times() -> Iterator[Pair]:
    for name in _NAMES:
        yield f"Call {name}.", f"Rufe {name} an."
    for n in range(2, 13):
        yield f"Wake me up at {number(n)[0]} o'clock.", f"Wecke mich um {number(n)[1]} Uhr."
    for n in range(2, 60):
        yield f"Wait for {number(n)[0]} minutes.", f"Warte {number(n)[1]} Minuten."


@dataclass(frozen=True)
class Speaker:
    """A voice and how it is used.

    Attributes:
        voice: espeak-ng's name, an accent with a variant: ``en-us+f3``.
        words_per_minute: its speed.
        pitch: 0 to 99.
    """

    voice: str
    words_per_minute: int
    pitch: int


_ACCENTS = {
    "en": ("en", "en-us", "en-gb-x-rp", "en-gb-x-gbcwmd", "en-029", "en-us-nyc"),
    "de": ("de",),
}
_VARIANTS = ("", "m1", "m2", "m3", "m4", "m7", "f1", "f2", "f3", "f5", "Andy", "Annie", "klatt2")

#: Never trained on: variants of the voice, and an accent of English.
HELD_OUT_VARIANTS = ("m6", "m8", "f4", "linda", "Michael")
HELD_OUT_ACCENTS = {"en": ("en-gb-scotland", "en", "en-us"), "de": ("de",)}


def speakers(language: str, count: int, rng: np.random.Generator) -> list[Speaker]:
    """Speakers to train on, of any speed and pitch."""
    return [
        _speaker(_ACCENTS[language], _VARIANTS, int(rng.integers(130, 200)), rng)
        for _ in range(count)
    ]


def held_out_speakers(language: str, count: int, rng: np.random.Generator) -> list[Speaker]:
    """Speakers of voices never trained on; half of them slower or faster than those that were."""
    speeds = (*range(130, 200, 10), *range(110, 130, 4), *range(200, 220, 4))
    return [
        _speaker(HELD_OUT_ACCENTS[language], HELD_OUT_VARIANTS, int(speeds[i % len(speeds)]), rng)
        for i in range(count)
    ]


def _speaker(
    accents: Sequence[str], variants: Sequence[str], speed: int, rng: np.random.Generator
) -> Speaker:
    accent, variant = rng.choice(accents), rng.choice(variants)
    voice = f"{accent}+{variant}" if variant else str(accent)
    return Speaker(voice, speed, int(rng.integers(25, 75)))


class Espeak:
    """The library of espeak-ng, which makes samples of text."""

    def __init__(self) -> None:
        """Load it with its voices.

        Raises:
            RuntimeError: it does not begin.
        """
        self._library = ctypes.CDLL(str(espeakng_loader.get_library_path()))
        data = str(espeakng_loader.get_data_path()).encode()
        synchronous = 2  # AUDIO_OUTPUT_SYNCHRONOUS of its speak_lib.h
        if self._library.espeak_Initialize(synchronous, 0, data, 0) != _ESPEAK_RATE:
            raise RuntimeError("espeak-ng does not begin")
        self._heard: list[npt.NDArray[np.int16]] = []
        samples = ctypes.POINTER(ctypes.c_short)
        kind = ctypes.CFUNCTYPE(ctypes.c_int, samples, ctypes.c_int, ctypes.c_void_p)
        self._callback = kind(partial(_hear, self._heard))
        self._library.espeak_SetSynthCallback(self._callback)

    def say(self, text: str, speaker: Speaker) -> Samples:
        """Samples of a text at 16 kHz, from -1 to 1, without the silence around them.

        Raises:
            RuntimeError: there is no such voice, or it fails.
        """
        rate, pitch, characters_utf8 = 1, 3, 1  # espeakRATE, espeakPITCH, espeakCHARS_UTF8
        self._heard.clear()
        failed = self._library.espeak_SetVoiceByName(speaker.voice.encode())
        self._library.espeak_SetParameter(rate, speaker.words_per_minute, 0)
        self._library.espeak_SetParameter(pitch, speaker.pitch, 0)
        spoken = text.encode()
        failed += self._library.espeak_Synth(
            spoken, len(spoken) + 1, 0, 1, 0, characters_utf8, None, None
        )
        failed += self._library.espeak_Synchronize()
        if failed or not self._heard:
            raise RuntimeError(f"espeak-ng fails on {text!r} as {speaker.voice}")
        samples = np.concatenate(self._heard).astype(np.float32) / 2**15
        resampled: Samples = resample_poly(samples, 320, 441).astype(np.float32)
        loud = np.flatnonzero(np.abs(resampled) > _SILENT)
        return resampled[loud[0] : loud[-1] + 1]


def _hear(heard: list[npt.NDArray[np.int16]], samples: Any, count: int, events: Any) -> int:
    """Keep what espeak-ng says; 0 lets it go on."""
    if samples and count > 0:
        heard.append(np.ctypeslib.as_array(samples, (count,)).copy())
    return 0
