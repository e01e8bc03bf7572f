"""How long a recording is, from its headers: nothing is decoded.

mutagen reads the headers of most containers. Where they do not say, or only guess (an MP3 of variable bit rate without
a Xing header, the WebM of a browser), the packets are gone through without decoding them. So they are
for WAV files that are compressed, which mutagen miscounts, or whose length was never filled in, which it believes.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from pipeline.audio.decode import Recording
from pipeline.audio.headers import read_headers

_XING: Final = (b"Xing", b"Info")
_XING_SIZE: Final = 120
_DELAYS_AT: Final = 21
_HEAD: Final = 1 << 16
_LEAST_SHARE: Final = 0.9
_PLACEHOLDER: Final = 0x7FFF_0000
"""Bytes that whoever writes a WAV file into a pipe promises, or more: SoX 0x7FFFF000, FFmpeg 0xFFFFFFFF."""


def duration_of(path: Path) -> float:
    """Return the duration in seconds, > 0.

    Raises:
        RecordUnusable: The file holds no sound that can be decoded.
        PlanError: PyAV is needed and missing.
    """
    return _by_tags(path) or _by_container(path)


def _by_tags(path: Path) -> float | None:
    """Seconds as mutagen reads them; None where it cannot, or where its figure is not good enough.

    That of bare AAC is a guess; that of MP4 counts the priming of the encoder, which is cut off when it is played.
    """
    found = read_headers(path)
    if found is None or found[0] in {"MP4", "AAC"}:
        return None
    kind, info = found
    length = float(getattr(info, "length", 0.0) or 0.0)
    if kind == "WAVE" and not _is_credible(length * info.bitrate / 8, path.stat().st_size):
        return None
    if kind == "MP3":
        from mutagen.mp3 import BitrateMode  # noqa: PLC0415 - loaded by jobs with sound only

        if info.sketchy or info.bitrate_mode is BitrateMode.UNKNOWN:
            return None
        if not info.encoder_info.startswith("LAME"):  # mutagen subtracts what LAME added, and only that
            length -= _padding(path) / info.sample_rate
    return length if length > 0 else None


def _is_credible(promised: float, size: int) -> bool:
    """Whether the sound that a WAV file promises, in bytes, is most of it, or has broken off."""
    return _LEAST_SHARE * size <= promised and (promised <= size or promised < _PLACEHOLDER)


def _padding(path: Path) -> int:
    """Samples that the encoder of an MP3 put before and behind the sound, by the tag behind its Xing header."""
    with path.open("rb") as file:
        start = file.read(10)
        if start[:3] == b"ID3":
            size = int.from_bytes(bytes(start[6:10]), "big")
            file.seek(10 + sum((size >> 8 * at & 0x7F) << 7 * at for at in range(4)))
        else:
            file.seek(0)
        head = file.read(_HEAD)
    at = max(head.find(mark) for mark in _XING)
    delays = head[at + _XING_SIZE + _DELAYS_AT :][:3] if at >= 0 else b""
    if len(delays) < 3 or head[at + _XING_SIZE : at + _XING_SIZE + 3] != b"Lav":
        return 0
    packed = int.from_bytes(delays, "big")
    return (packed >> 12) + (packed & 0xFFF)


def _by_container(path: Path) -> float:
    with Recording(path) as recording:
        return recording.duration_told() or recording.duration_of_packets()
