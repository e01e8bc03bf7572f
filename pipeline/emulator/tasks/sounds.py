"""What the emulator hears: decodes a recording, finds the bursts of energy in it, and gives each a word by its pitch.

WAV is read with the standard library, other containers with PyAV where it is installed; without it their length is
read from the header, and they are one long burst.
"""

from __future__ import annotations

import io
import math
import wave
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import pairwise
from typing import Final

import mutagen
import numpy as np
import numpy.typing as npt

RATE: Final = 16_000
_FRAME: Final = RATE // 100
_LEAST_DB: Final = -50.0
_BELOW_LOUDEST_DB: Final = 30.0
_JOINED_FRAMES: Final = 4
_LONGEST_WORD_S: Final = 0.6
_LOWEST_HZ: Final = 70.0
_STEPS_PER_OCTAVE: Final = 12
_WORDS: Final = tuple(
    "alpha bravo charlie delta echo foxtrot golf hotel india juliett kilo lima mike november oscar papa quebec romeo "  # noqa: SIM905
    "sierra tango uniform victor whiskey xray yankee zulu".split()
)

Samples = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Sound:
    """A decoded recording.

    Attributes:
        seconds: Its length.
        samples: 16 kHz, mono, -1 to 1; None where only the length is known.
    """

    seconds: float
    samples: Samples | None


@dataclass(frozen=True, slots=True)
class Spoken:
    """A word and its seconds."""

    word: str
    start: float
    end: float


def read_sound(content: bytes) -> Sound | None:
    """Decode a recording; None where that cannot be done."""
    if content[:4] == b"RIFF":
        return _wave(content)
    return _by_library(content) if find_spec("av") is not None else _by_header(content)


def _wave(content: bytes) -> Sound | None:
    try:
        with wave.open(io.BytesIO(content)) as file:
            rate, channels, width = file.getframerate(), file.getnchannels(), file.getsampwidth()
            raw = file.readframes(file.getnframes())
    except (wave.Error, EOFError):
        return None
    if width != 2 or rate < 1 or not raw:
        return None
    samples = np.frombuffer(raw[: len(raw) // 2 * 2], "<i2").astype(np.float32) / 32768.0
    mono: Samples = samples[: len(samples) // channels * channels].reshape(-1, channels).mean(axis=1, dtype=np.float32)
    return Sound(len(mono) / rate, _at_rate(mono, rate))


def _at_rate(mono: Samples, rate: int) -> Samples:
    if rate == RATE:
        return mono
    times = np.arange(int(len(mono) * RATE / rate)) * (rate / RATE)
    resampled: Samples = np.interp(times, np.arange(len(mono)), mono).astype(np.float32)
    return resampled


def _by_library(content: bytes) -> Sound | None:
    import av  # noqa: PLC0415 - an extra

    parts = []
    try:
        with av.open(io.BytesIO(content), "r") as container:
            resampler = av.AudioResampler(format="s16", layout="mono", rate=RATE)
            for frame in container.decode(audio=0):
                parts += [each.to_ndarray().reshape(-1) for each in resampler.resample(frame)]
            parts += [each.to_ndarray().reshape(-1) for each in resampler.resample(None)]
    except (av.FFmpegError, ValueError, IndexError):
        return None
    samples = np.concatenate(parts).astype(np.float32) / 32768.0 if parts else np.empty(0, np.float32)
    return Sound(len(samples) / RATE, samples) if len(samples) else None


def _by_header(content: bytes) -> Sound | None:
    try:
        found = mutagen.File(io.BytesIO(content))
    except mutagen.MutagenError:
        return None
    length = float(getattr(found.info, "length", 0.0)) if found is not None else 0.0
    return Sound(length, None) if length > 0 else None


def words_in(sound: Sound) -> list[Spoken]:
    """One word for each burst; long ones are several."""
    if sound.samples is None:
        return [Spoken(_WORDS[0], 0.0, round(sound.seconds, 3))]
    return [
        Spoken(_word(sound.samples[start:end]), round(start / RATE, 3), round(end / RATE, 3))
        for start, end in _bursts(sound.samples)
    ]


def _bursts(samples: Samples) -> Iterator[tuple[int, int]]:
    n = len(samples) // _FRAME
    if not n:
        return
    power = np.square(samples[: n * _FRAME]).reshape(n, _FRAME).mean(axis=1)
    level = 10.0 * np.log10(np.maximum(power, 1e-12))
    loud = level > max(_LEAST_DB, float(level.max()) - _BELOW_LOUDEST_DB)
    edges = np.flatnonzero(np.diff(np.concatenate(([False], loud, [False])).astype(np.int8)))
    starts, ends = edges[::2], edges[1::2]
    if not len(starts):
        return
    breaks = np.flatnonzero(starts[1:] - ends[:-1] >= _JOINED_FRAMES)
    firsts = starts[np.concatenate(([0], breaks + 1))].tolist()
    lasts = ends[np.concatenate((breaks, [len(ends) - 1]))].tolist()
    for first, last in zip(firsts, lasts, strict=True):
        parts = max(1, math.ceil((last - first) * _FRAME / RATE / _LONGEST_WORD_S))
        edges_of = np.linspace(first * _FRAME, last * _FRAME, parts + 1).astype(int).tolist()
        yield from pairwise(edges_of)


def _word(samples: Samples) -> str:
    """A word by the strongest pitch, in semitones."""
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples)).astype(np.float32), n=RATE))
    strongest = float(np.argmax(spectrum[int(_LOWEST_HZ) :])) + _LOWEST_HZ
    return _WORDS[round(_STEPS_PER_OCTAVE * math.log2(strongest / _LOWEST_HZ)) % len(_WORDS)]
