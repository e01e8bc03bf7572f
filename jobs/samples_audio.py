"""Write sample recordings: voices that say nothing, with pauses where people pause. No network, the same every time.

A "word" is a fifth to a third of a second of a pitched, humming tone; words stand close together in phrases, phrases
between pauses of half a second to some seconds. Writes data/audio/*.wav (16 kHz, mono) and data/audio/bounds.json: for
each file the seconds in which somebody speaks.
"""

from __future__ import annotations

import json
import wave
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

TARGET: Final = Path("data/audio")
RATE: Final = 16_000
LEVEL: Final = 0.25
HISS: Final = 0.0004
_HARMONICS: Final = 18
_FADE: Final = RATE // 100


@dataclass
class Talk:
    """A recording and the truth about it.

    Attributes:
        samples: 16 bit.
        phrases: (start, end) in seconds, ascending.
        words: (start, end) in seconds, ascending.
    """

    samples: npt.NDArray[np.int16]
    phrases: list[tuple[float, float]] = field(default_factory=list)
    words: list[tuple[float, float]] = field(default_factory=list)


@dataclass(frozen=True)
class Manner:
    """How somebody talks; each pair is the least and the most.

    Attributes:
        phrase_s: Seconds of a phrase.
        pause_s: Seconds between two phrases.
        pitch_hz: Of the voice.
    """

    phrase_s: tuple[float, float] = (1.5, 8.0)
    pause_s: tuple[float, float] = (0.5, 1.5)
    pitch_hz: tuple[float, float] = (90.0, 220.0)


CALM: Final = Manner()
SPARSE: Final = Manner(phrase_s=(6.0, 12.0), pause_s=(3.0, 25.0))
BREATHLESS: Final = Manner(phrase_s=(900.0, 900.0))


def talk(seconds: float, *, seed: int, manner: Manner = CALM) -> Talk:
    """Make a recording of `seconds`, with words on hundredths of a second."""
    chance = np.random.default_rng(seed)
    samples = chance.normal(0.0, HISS, round(seconds * RATE)).astype(np.float32)
    made = Talk(np.empty(0, np.int16))
    at = 0.6
    while at < seconds - 2.0:
        end = min(at + chance.uniform(*manner.phrase_s), seconds - 0.7)
        words = list(_words(at, end, chance))
        for start, stop in words:
            _say(samples, start, stop, float(chance.uniform(*manner.pitch_hz)))
        made.words += words
        made.phrases.append((words[0][0], words[-1][1]))
        at = words[-1][1] + float(chance.uniform(*manner.pause_s))
    made.samples = np.rint(np.clip(samples, -1.0, 1.0) * 32_767.0).astype(np.int16)
    return made


def _words(start: float, end: float, chance: np.random.Generator) -> Iterator[tuple[float, float]]:
    at = start
    while True:
        stop = min(at + chance.uniform(0.2, 0.34), end)
        yield round(at, 2), round(max(stop, at + 0.1), 2)
        at = stop + chance.uniform(0.05, 0.09)
        if at > end - 0.2:
            return


def _say(samples: npt.NDArray[np.float32], start: float, stop: float, pitch: float) -> None:
    first, last = round(start * RATE), round(stop * RATE)
    times = np.arange(last - first, dtype=np.float32) / RATE
    phase = 2.0 * np.pi * pitch * times * (1.0 + 0.02 * times)
    tone = sum(np.sin(k * phase) / k for k in range(1, _HARMONICS))
    fade = np.minimum(1.0, np.minimum(np.arange(len(times)), np.arange(len(times))[::-1]) / _FADE)
    samples[first:last] += (LEVEL * fade * tone).astype(np.float32)


def write_wav(path: Path, samples: npt.NDArray[np.int16], *, rate: int = RATE) -> None:
    """Write 16-bit mono samples."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(samples.astype("<i2").tobytes())


def main() -> None:
    """Write the recordings, once."""
    talks = {
        "interview.wav": talk(95.0, seed=1),
        "field-notes.wav": talk(120.0, seed=2, manner=SPARSE),
        "voicemail.wav": talk(12.0, seed=3),
        "breathless.wav": talk(40.0, seed=4, manner=BREATHLESS),
    }
    for name, made in talks.items():
        write_wav(TARGET / name, made.samples)
    bounds = {name: made.phrases for name, made in talks.items()}
    (TARGET / "bounds.json").write_text(json.dumps(bounds, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
