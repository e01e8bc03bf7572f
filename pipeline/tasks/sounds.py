"""Recordings that come as answers: what they are by their content, and how long they last."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from io import BytesIO
from typing import Final

from pipeline.audio.headers import read_headers
from pipeline.errors import UnreadableAnswer

_KINDS: Final[Mapping[str, tuple[str, str]]] = {
    "MP3": ("audio/mpeg", ".mp3"),
    "WAVE": ("audio/wav", ".wav"),
    "OggOpus": ("audio/ogg", ".ogg"),
    "OggVorbis": ("audio/ogg", ".ogg"),
    "OggFLAC": ("audio/ogg", ".ogg"),
    "FLAC": ("audio/flac", ".flac"),
    "AAC": ("audio/aac", ".aac"),
    "MP4": ("audio/mp4", ".m4a"),
}
"""By mutagen's name of the format."""

_LONGEST_S: Final = 86_400.0


@dataclass(frozen=True, slots=True)
class Spoken:
    """A recording that came as an answer.

    Attributes:
        content: The file.
        mime: By its content.
        suffix: That fits it, with the dot.
        seconds: How long it lasts; None where its head does not say.
    """

    content: bytes
    mime: str
    suffix: str
    seconds: float | None


def read_recording(content: bytes) -> Spoken:
    """Judge a recording by its content.

    Raises:
        UnreadableAnswer: It is none in MP3, WAV, FLAC, Ogg, AAC or MP4.
    """
    found = read_headers(BytesIO(content))
    if found is None:
        raise UnreadableAnswer("the answer is no recording in MP3, WAV, FLAC, Ogg, AAC or MP4 that can be read")
    name, info = found
    mime, suffix = _KINDS[name]
    return Spoken(content, mime, suffix, _seconds(getattr(info, "length", None)))


def _seconds(told: object) -> float | None:
    if isinstance(told, bool) or not isinstance(told, int | float):
        return None
    return float(told) if math.isfinite(told) and 0 < told <= _LONGEST_S else None
