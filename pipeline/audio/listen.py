"""Goes through a recording once: how long it is, how loud each moment is, and where somebody speaks.

A frame of 20 ms counts as speech where webrtcvad hears a voice in it and it is louder than the quiet of this recording:
6 dB above the level that a tenth of all frames stay below, and at least 25 dB below the level that a twentieth exceed
(so a recording without a pause does not set its own words as the quiet). webrtcvad alone goes on for a tenth of a
second after a voice has ended; level alone takes every noise for speech.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from pipeline.audio.decode import RATE, Marks, Recording, Samples, window

FRAME: Final = RATE // 50
FRAME_S: Final = FRAME / RATE
SILENT_DB: Final = -100.0
STEP_S: Final = 0.1
"""Seconds of one value of `Track.levels`."""

_MODE: Final = 2
_ABOVE_QUIET_DB: Final = 6.0
_BELOW_LOUD_DB: Final = 25.0
_STEP: Final = round(STEP_S / FRAME_S)
_LATE_S: Final = 1.0
_PADDING_S: Final = 0.05
"""Sound past the promised end, as long as a block of a coder at most (AAC: 1,024 samples): it fills the last block."""


class Stopped(Exception):
    """Whoever asked does not want to know any more."""


@dataclass(frozen=True, slots=True)
class Track:
    """What is known of a recording once it was heard; small, for it is kept while pieces of it are sent.

    Attributes:
        path: The file.
        size: Its bytes.
        changed_ns: Its modification time.
        seconds: Its length, decoded, without what fills the last block of its coder.
        told: Its length by its header.
        origin: See `Recording`.
        marks: See `Recording`.
        levels: Loudness of each tenth of a second, dB above `SILENT_DB`, rounded.
        problems: What was wrong with the file although it could be heard, as sentences.
    """

    path: Path
    size: int
    changed_ns: int
    seconds: float
    told: float
    origin: float = field(default=0.0, repr=False)
    marks: Marks = field(default_factory=Marks, repr=False)
    levels: bytes = field(default=b"", repr=False)
    problems: tuple[str, ...] = ()

    def window(self, start: float, end: float) -> Samples:
        """Decode one part of it.

        Raises:
            RecordUnusable: It cannot be decoded any more.
        """
        told = max(self.told, self.seconds)  # a header may have promised less than there was
        return window(self.path, start, end, told=told, origin=self.origin, marks=self.marks)


@dataclass(frozen=True, slots=True)
class Frames:
    """A recording in frames of 20 ms.

    Attributes:
        speech: Whether somebody speaks.
        level: dB of full scale.
    """

    speech: npt.NDArray[np.bool_]
    level: npt.NDArray[np.float32]


def listen(path: Path, *, told: float, is_stopped: Callable[[], bool] = lambda: False) -> tuple[Track, Frames]:
    """Decode a recording once, in constant memory but for five bytes a frame.

    Args:
        path: The file.
        told: Seconds its header promises.
        is_stopped: Asked once a second of sound.

    Raises:
        RecordUnusable: It cannot be decoded.
        PlanError: A library is missing.
        Stopped: `is_stopped` said so.
    """
    stat = path.stat()
    with Recording(path, told=told) as recording:
        ear = _Ear()
        for block in recording.blocks():
            if is_stopped():
                raise Stopped
            ear.hear(block)
        seconds = ear.n_samples / RATE
        if 0 < seconds - told <= _PADDING_S:
            seconds = told
        frames = ear.frames(seconds)
        track = Track(
            path=path,
            size=stat.st_size,
            changed_ns=stat.st_mtime_ns,
            seconds=seconds,
            told=told,
            origin=recording.origin or 0.0,
            marks=recording.marks,
            levels=_steps(frames.level),
            problems=_problems(recording, seconds, told),
        )
    return track, frames


def _problems(recording: Recording, seconds: float, told: float) -> tuple[str, ...]:
    problems = []
    if recording.n_broken:
        problems.append(f"{recording.n_broken} packets of the file could not be decoded and are missing")
    if told - seconds > max(_LATE_S, 0.01 * told):
        why = f" ({recording.problem})" if recording.problem else ""
        problems.append(f"the file breaks off after {seconds:.1f} s; its header promises {told:.1f} s{why}")
    return tuple(problems)


class _Ear:
    """Takes blocks of any length, keeps what frames say of them."""

    def __init__(self) -> None:
        import webrtcvad  # noqa: PLC0415 - an extra

        self._is_voice: Callable[[bytes, int], bool] = webrtcvad.Vad(_MODE).is_speech
        self._rest: Samples = np.empty(0, np.int16)
        self._levels: list[npt.NDArray[np.float32]] = []
        self._voices = bytearray()
        self.n_samples = 0

    def hear(self, block: Samples) -> None:
        self.n_samples += len(block)
        samples = np.concatenate((self._rest, block)) if len(self._rest) else block
        n = len(samples) // FRAME
        self._frames(samples[: n * FRAME])
        self._rest = samples[n * FRAME :].copy()

    def _frames(self, samples: Samples) -> None:
        self._levels.append(levels_of(samples))
        raw, is_voice, size = samples.tobytes(), self._is_voice, FRAME * 2
        self._voices.extend(is_voice(raw[at : at + size], RATE) for at in range(0, len(raw), size))

    def frames(self, seconds: float) -> Frames:
        """The first `seconds` of it; the last frame is filled up with silence."""
        if len(self._rest):
            self._frames(np.pad(self._rest, (0, FRAME - len(self._rest))))
            self._rest = np.empty(0, np.int16)
        level = np.concatenate(self._levels) if self._levels else np.empty(0, np.float32)
        voices = np.frombuffer(bytes(self._voices), dtype=np.bool_)
        n = math.ceil(seconds * RATE / FRAME)
        level, voices = level[:n], voices[:n]
        return Frames(speech=voices & (level > quiet_of(level)), level=level)


def levels_of(samples: Samples) -> npt.NDArray[np.float32]:
    """Loudness of each whole frame of 20 ms, dB of full scale."""
    power = np.square(samples.reshape(-1, FRAME), dtype=np.float32).mean(axis=1) / np.float32(32768.0**2)
    levels: npt.NDArray[np.float32] = np.maximum(10.0 * np.log10(np.maximum(power, 1e-12)), SILENT_DB)
    return levels.astype(np.float32, copy=False)


def quiet_of(level: npt.NDArray[np.float32]) -> float:
    """The loudness above which a frame can be speech, dB of full scale."""
    if not len(level):
        return SILENT_DB
    quiet, loud = np.percentile(level, (10, 95))
    return float(max(SILENT_DB + 10.0, min(quiet + _ABOVE_QUIET_DB, loud - _BELOW_LOUD_DB)))


def _steps(level: npt.NDArray[np.float32]) -> bytes:
    padded = np.pad(level, (0, -len(level) % _STEP), constant_values=SILENT_DB)
    loudest = padded.reshape(-1, _STEP).max(axis=1)
    return bytes(np.clip(np.rint(loudest - SILENT_DB), 0, 255).astype(np.uint8))
