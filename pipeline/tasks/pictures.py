"""Pictures as tasks meet them: found by name, judged by their content, made smaller where a job wants it.

What a picture is, its first bytes say, not its name. Metadata (EXIF, orientation among it) is left as it is. Nothing is
decoded before its size in pixels is known, so a decompression bomb stays small.
"""

from __future__ import annotations

import struct
import warnings
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Final

from pipeline.errors import PlanError, RecordUnusable, UnreadableAnswer
from pipeline.records import Record
from pipeline.tasks.files import content_of, fingerprint, located

if TYPE_CHECKING:
    from PIL import Image

MOST_PIXELS: Final = 64_000_000
"""Of a picture that is read: 8,000 x 8,000. Larger ones are refused before they are decoded."""

MOST_DRAWN: Final = 16_777_216
"""Pixels of a picture that is an answer: 4,096 x 4,096, more than any model draws. WebP takes 15 bytes for each
while it is decoded (Pillow 13.0, 2026-11-23), so that a picture of 2.5 kB could fill a gigabyte."""

LARGEST_SENT: Final = 5_000_000
"""Bytes of a picture that is sent; ours, for no limit is published. Larger ones are for `max_pixels`."""

LARGEST_FILE: Final = 50_000_000
"""Bytes of a file that `max_pixels` may make smaller."""

_SENT: Final = ("PNG", "JPEG", "WEBP", "GIF")
_KEPT: Final[Mapping[str, tuple[str, str]]] = {
    "PNG": ("image/png", ".png"),
    "JPEG": ("image/jpeg", ".jpg"),
    "WEBP": ("image/webp", ".webp"),
    "GIF": ("image/gif", ".gif"),
}
_JPEG_QUALITY: Final = 90
_BROKEN: Final = (OSError, SyntaxError, ValueError, TypeError, LookupError, EOFError, struct.error, zlib.error)
"""What Pillow raises at files that are not what they begin as."""


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture that a record names.

    Attributes:
        path: The file.
        size: Bytes.
        digest: Of its content.
        mime: By its content.
        width: Pixels.
        height: Pixels.
    """

    path: Path
    size: int
    digest: bytes
    mime: str
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class Drawn:
    """A picture that came as an answer.

    Attributes:
        content: The file.
        mime: By its content.
        suffix: That fits it, with the dot.
        width: Pixels.
        height: Pixels.
    """

    content: bytes
    mime: str
    suffix: str
    width: int
    height: int


class _NoPictureError(Exception):
    """The bytes are no picture that can be used; says why."""


def find_picture(record: Record, name: str, *, is_scaled: bool, most: int = LARGEST_SENT) -> Picture:
    """Find the picture that a record names and look at its head.

    Args:
        record: Names it.
        name: Path as written there.
        is_scaled: The job has it made smaller before it is sent.
        most: Bytes of what is sent.

    Raises:
        RecordUnusable: There is none, it is too large, or it is not PNG, JPEG, WebP or GIF.
    """
    path = located(record, name)
    size, key = fingerprint(path, most=LARGEST_FILE)
    if size > most and not is_scaled:
        raise RecordUnusable(
            f"{path} has {size / 1e6:.1f} MB, and at most {most / 1e6:g} MB are sent; make it smaller, or let "
            "params.max_pixels do it (1000000 is a picture of 1,000 x 1,000)"
        )
    try:
        with _opened(path) as image:
            mime, _ = _KEPT[str(image.format)]
            return Picture(path, size, key, mime, image.width, image.height)
    except _NoPictureError as problem:
        raise RecordUnusable(f"{path} {problem}") from None


def read_picture(picture: Picture, *, max_pixels: int | None, most: int = LARGEST_SENT) -> tuple[bytes, str]:
    """Return what is sent of a picture, and its media type.

    Args:
        picture: As found.
        max_pixels: Width times height at most; what is larger is made smaller. None sends the file as it is.
        most: Bytes of what is sent.

    Raises:
        RecordUnusable: It has changed since, is damaged, or is too large even so.
    """
    content, mime = content_of(picture.path, expected=picture.digest), picture.mime
    try:
        if max_pixels is not None and picture.width * picture.height > max_pixels:
            content, mime = _smaller(content, picture, max_pixels)
        else:
            with _opened(BytesIO(content)) as image:
                image.verify()
    except (_NoPictureError, *_BROKEN) as problem:
        raise RecordUnusable(f"{picture.path} is damaged: {problem}") from None
    if len(content) > most:
        raise RecordUnusable(
            f"{picture.path} still has {len(content) / 1e6:.1f} MB at {max_pixels} pixels, and at most "
            f"{most / 1e6:g} MB are sent; lower params.max_pixels"
        )
    return content, mime


def _smaller(content: bytes, picture: Picture, max_pixels: int) -> tuple[bytes, str]:
    """Scale down; JPEG stays JPEG, all others become PNG (of a GIF the first picture)."""
    with _opened(BytesIO(content)) as image:
        scale = (max_pixels / (picture.width * picture.height)) ** 0.5
        size = max(1, int(picture.width * scale)), max(1, int(picture.height * scale))
        is_jpeg = picture.mime == "image/jpeg"
        exif, colours = image.info.get("exif", b""), image.info.get("icc_profile")
        has_palette = image.mode in {"P", "1"}
        small = (image.convert("RGBA") if has_palette else image).resize(size, reducing_gap=3.0)
        out = BytesIO()
        small.save(
            out, "JPEG" if is_jpeg else "PNG", quality=_JPEG_QUALITY, exif=exif, icc_profile=colours, compress_level=6
        )
    return out.getvalue(), "image/jpeg" if is_jpeg else "image/png"


def read_answer(content: bytes) -> Drawn:
    """Judge a picture that the service made; all of it is decoded, so that a truncated one is found.

    Raises:
        UnreadableAnswer: It is no whole picture, or has more than `MOST_DRAWN` pixels.
    """
    try:
        with _opened(BytesIO(content), most=MOST_DRAWN) as image:
            mime, suffix = _KEPT[str(image.format)]
            drawn = Drawn(content, mime, suffix, image.width, image.height)
            image.verify()  # PNG: checksums, to the end of the file
        with _opened(BytesIO(content), most=MOST_DRAWN) as image:
            image.draft("L", (1, 1))  # JPEG: an eighth of the size is enough to see that it is whole
            image.load()
    except (_NoPictureError, *_BROKEN) as problem:
        raise UnreadableAnswer(f"the answer is no picture: it {problem}"[:300]) from None
    return drawn


@contextmanager
def _opened(file: Path | BytesIO, *, most: int = MOST_PIXELS) -> Iterator[Image.Image]:
    """Open a picture without decoding it.

    Raises:
        _NoPictureError: It is none, or has too many pixels.
    """
    from PIL import Image  # noqa: PLC0415 - loaded by jobs with pictures only

    warnings.filterwarnings("error", category=Image.DecompressionBombWarning)  # refused below, in our words
    try:
        image = Image.open(file, formats=_SENT)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise _too_many(most) from None
    except _BROKEN:
        raise _NoPictureError("is not a picture in PNG, JPEG, WebP or GIF") from None
    with image:
        if image.width * image.height > most:
            raise _too_many(most)
        yield image


def _too_many(most: int) -> _NoPictureError:
    return _NoPictureError(f"has more than {most / 1e6:.0f} million pixels")


def max_pixels_param(params: Mapping[str, object]) -> int | None:
    """Read `params.max_pixels`.

    Raises:
        PlanError: It is no whole number of at least 1,024.
    """
    value = params.get("max_pixels")
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or value < 1024:
        raise PlanError(f"should be a whole number of at least 1024, not {value!r}", key="params.max_pixels")
    return value
