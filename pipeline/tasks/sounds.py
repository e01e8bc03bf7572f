"""Recordings that come as answers: what they are by their content, and how long they last."""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from io import BytesIO
from typing import Final

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
    import mutagen  # noqa: PLC0415 - loaded by jobs with sound only
    from mutagen import aac, flac, mp3, mp4, oggflac, oggopus, oggvorbis, wave  # noqa: PLC0415

    kinds = [
        mp3.MP3,
        wave.WAVE,
        oggopus.OggOpus,
        oggvorbis.OggVorbis,
        oggflac.OggFLAC,
        flac.FLAC,
        aac.AAC,
        mp4.MP4,
    ]
    try:
        found = mutagen.File(BytesIO(content), options=kinds)
    except (mutagen.MutagenError, OSError, ValueError, TypeError, LookupError, ArithmeticError, struct.error) as error:
        raise UnreadableAnswer(f"the answer is no recording that can be read: {error}"[:300]) from None
    if found is None:
        raise UnreadableAnswer("the answer is no recording in MP3, WAV, FLAC, Ogg, AAC or MP4")
    mime, suffix = _KINDS[type(found).__name__]
    return Spoken(content, mime, suffix, _seconds(getattr(found.info, "length", None)))


def _seconds(told: object) -> float | None:
    if isinstance(told, bool) or not isinstance(told, int | float):
        return None
    return float(told) if math.isfinite(told) and 0 < told <= _LONGEST_S else None
