"""Headers of recordings, read by mutagen without their tags.

Titles and cover pictures say nothing of how long a recording lasts, and a tag can be written so that reading it takes
hours or gigabytes: a megabyte of zeros in an ID3 frame took 18 s, a compressed one is as large as it likes, and MP4
boxes may lie in each other deeper than Python goes (measured with mutagen 1.48.0, 2026-11-23). So the tags of every
format are passed over, and of MP4 only the box that tells the length is looked for.
"""

from __future__ import annotations

import struct
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any, BinaryIO, Final

_MOST_BOXES: Final = 1000
_BOX_HEAD: Final = 8
_STREAMINFO: Final = 34

_PARSERS_RAISE: Final = (OSError, EOFError, LookupError, ValueError, ArithmeticError, TypeError, struct.error)
"""What mutagen's parsers trip over in damaged headers, beside errors of its own (found by mutating files)."""


def read_headers(file: Path | BinaryIO) -> tuple[str, Any] | None:
    """Return the name of the format and mutagen's figures of the sound; None where nothing can be told.

    Names: MP3, WAVE, FLAC, OggOpus, OggVorbis, OggFLAC, AAC, MP4. Of MP4 only `length` is told.
    """
    import mutagen  # noqa: PLC0415 - loaded by jobs with sound only

    try:
        found = mutagen.File(file, options=list(_kinds()))
    except (mutagen.MutagenError, *_PARSERS_RAISE):
        return None
    return (_kinds()[type(found)], found.info) if found is not None else None


@cache
def _kinds() -> dict[type[Any], str]:
    """The formats, each as mutagen reads it but for its tags; by the name it has there."""
    from mutagen import aac, flac, mp3, mp4, oggflac, oggopus, oggvorbis, wave  # noqa: PLC0415
    from mutagen.id3._tags import ID3Header  # noqa: PLC0415 - tells where the sound begins

    changed: list[tuple[type[Any], str, dict[str, object]]] = [
        (mp3.MP3, "MP3", {"ID3": ID3Header}),
        (wave.WAVE, "WAVE", {"load": _load_wave}),
        (oggopus.OggOpus, "OggOpus", {"_Tags": staticmethod(_no_tags)}),
        (oggvorbis.OggVorbis, "OggVorbis", {"_Tags": staticmethod(_no_tags)}),
        (oggflac.OggFLAC, "OggFLAC", {"_Tags": staticmethod(_no_tags)}),
        (flac.FLAC, "FLAC", {"load": _load_flac}),
        (aac.AAC, "AAC", {}),
        (mp4.MP4, "MP4", {"load": _load_mp4}),
    ]
    return {type(name, (kind,), changes): name for kind, name, changes in changed}


def _load_wave(self: Any, file: BinaryIO, **_: object) -> None:  # noqa: ANN401 - a class of mutagen's
    from mutagen.wave import WaveStreamInfo  # noqa: PLC0415

    file.seek(0)
    self.info = WaveStreamInfo(file)


def _load_flac(self: Any, file: BinaryIO, **_: object) -> None:  # noqa: ANN401 - a class of mutagen's
    from mutagen.flac import FLACNoHeaderError, StreamInfo  # noqa: PLC0415

    file.seek(0)
    mark, block = file.read(8), file.read(_STREAMINFO)
    if mark[:4] != b"fLaC" or mark[4] & 0x7F or len(block) < _STREAMINFO:
        raise FLACNoHeaderError("the first block is no STREAMINFO")
    self.metadata_blocks = [StreamInfo(block)]  # type: ignore[no-untyped-call]


def _load_mp4(self: Any, file: BinaryIO, **_: object) -> None:  # noqa: ANN401 - a class of mutagen's
    self.info = SimpleNamespace(length=_mp4_seconds(file))


def _no_tags(*_: object) -> None:
    return None


def _mp4_seconds(file: BinaryIO) -> float | None:
    """The length that ``moov/mvhd`` tells (ISO/IEC 14496-12, 8.2.2); None where there is none."""
    end = file.seek(0, 2)
    file.seek(0)
    for name in (b"moov", b"mvhd"):
        found = _box(file, name, end)
        if found is None:
            return None
        end = found
    head = file.read(32)
    scale, units = struct.unpack(">IQ", head[20:32]) if head[:1] == b"\1" else struct.unpack(">II", head[12:20])
    return units / scale if scale else None


def _box(file: BinaryIO, name: bytes, end: int) -> int | None:
    """Go into a box among those that lie here, up to `end`; returns where it ends."""
    for _ in range(_MOST_BOXES):
        at = file.tell()
        head = file.read(_BOX_HEAD)
        if len(head) < _BOX_HEAD or at >= end:
            return None
        size, kind = struct.unpack(">I4s", head)
        if size == 1:
            (size,) = struct.unpack(">Q", file.read(8))
        size = size or end - at
        if kind == name:
            return min(at + int(size), end)
        if size < _BOX_HEAD:
            return None
        file.seek(at + size)
    return None
