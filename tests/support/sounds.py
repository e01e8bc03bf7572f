"""Recordings for tests: the jobs' made-up voices, in any container that PyAV can write."""

import runpy
from fractions import Fraction
from functools import cache
from types import SimpleNamespace

import av
import numpy as np

from tests.support.cli import ROOT

SAMPLES = SimpleNamespace(**runpy.run_path(str(ROOT / "jobs" / "samples_audio.py")))
RATE = SAMPLES.RATE
talk = cache(SAMPLES.talk)

CONTAINERS = {
    "wav": ("pcm_s16le", None, 16_000),
    "44100.wav": ("pcm_s16le", None, 44_100),
    "flac": ("flac", None, 16_000),
    "mp3": ("libmp3lame", None, 44_100),
    "vbr.mp3": ("libmp3lame", None, 44_100),
    "ogg": ("libopus", None, 48_000),
    "opus": ("libopus", None, 48_000),
    "m4a": ("aac", "ipod", 44_100),
    "aac": ("aac", "adts", 44_100),
    "webm": ("libopus", None, 48_000),
    "mka": ("aac", "matroska", 44_100),
    "aiff": ("pcm_s16be", None, 22_050),
}
"""By suffix: codec, FFmpeg's name of the container where the suffix does not tell it, and samples a second."""


def write_as(folder, kind, samples, *, name="sound"):
    """Write 16 kHz samples into a container; returns the path."""
    codec, container, rate = CONTAINERS[kind]
    path = folder / f"{name}.{kind}"
    with av.open(str(path), "w", format=container) as out:
        stream = out.add_stream(codec, rate=rate, layout="mono", options={"q": "4"} if kind == "vbr.mp3" else {})
        put_sound(out, stream, at_rate(samples, rate), rate)
    return path


def put_sound(out, stream, samples, rate, *, start_s=0.0):
    """Encode samples into a stream, from a time on."""
    first = round(start_s * rate)
    for at in range(0, len(samples), 4096):
        frame = av.AudioFrame.from_ndarray(samples[at : at + 4096].reshape(1, -1), format="s16", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = rate, first + at, Fraction(1, rate)
        out.mux(stream.encode(frame))
    out.mux(stream.encode(None))


def at_rate(samples, rate):
    """The same sound with another number of samples a second."""
    if rate == RATE:
        return samples
    times = np.arange(round(len(samples) * rate / RATE)) * (RATE / rate)
    return np.rint(np.interp(times, np.arange(len(samples)), samples)).astype(np.int16)


def lag(one, other):
    """By how many samples `other` is later than `one`, by their correlation."""
    n = len(one)
    spectrum = np.fft.rfft(other.astype(float), 2 * n) * np.conj(np.fft.rfft(one.astype(float), 2 * n))
    at = int(np.argmax(np.fft.irfft(spectrum)))
    return at - 2 * n if at > n else at


def recordings(folder, n):
    """Write `n` short recordings, each with another voice."""
    folder.mkdir()
    for number in range(n):
        SAMPLES.write_wav(folder / f"{number}.wav", talk(3.0, seed=40 + number).samples)
