"""Images in a conversation: finding them, what they can cost, and how they are sent.

Formats: what chat interfaces take as data URIs. Size: 10 MB is the largest documented payload of the service
(Cloudflare's queue, developers.cloudflare.com/workers-ai/features/batch-api/, 2026-11-22), 7.5 MB before base64.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pipeline.errors import RecordUnusable
from pipeline.records import Record
from pipeline.tasks.files import content_of, fingerprint, located

MOST_BYTES: Final = 7_500_000
_HEAD: Final = 16
_BEGINNINGS: Final[Mapping[bytes, str]] = {
    b"\x89PNG\r\n\x1a\n": "image/png",
    b"\xff\xd8\xff": "image/jpeg",
    b"GIF8": "image/gif",
}

_TOKENS: Final[Mapping[str, int]] = {
    "@cf/google/gemma-4-": 1_120,
    "@cf/meta/llama-4-scout-": 2_560,
    "@cf/moonshotai/kimi-k2.": 5_120,
    "@cf/meta/llama-3.2-11b-vision-": 6_404,
}
"""The most tokens an image becomes, by the published processors of the open weights (2026-11-22).

gemma-4: the largest token budget (ai.google.dev/gemma/docs/capabilities/vision). llama-4: 16 tiles and one for the
whole, 144 tokens each, and marks between them. kimi-k2.5 and later: 16,384 patches, four to a token, and padding.
llama-3.2: 4 tiles of 1,601.
"""

ASSUMED_TOKENS: Final = 16_384
"""For models whose processor is not published: an assumption, above every bound we know.

Cloudflare does not say how it counts images. Where the meter charges more, the ledger learns it from the first answer.
"""


def image_tokens(model: str) -> int:
    """Bound on the tokens of one image."""
    return next((tokens for name, tokens in _TOKENS.items() if model.startswith(name)), ASSUMED_TOKENS)


@dataclass(frozen=True, slots=True)
class Picture:
    """An image file as it was when its record was read.

    Attributes:
        path: Of the file.
        size: Bytes.
        mime: Media type, by its first bytes.
        digest: Of its content.
    """

    path: Path
    size: int
    mime: str
    digest: bytes

    def data_uri(self) -> str:
        """Read the file and write it as ``data:image/png;base64,…``.

        Raises:
            RecordUnusable: It is gone or has changed.
        """
        content = content_of(self.path, expected=self.digest)
        return f"data:{self.mime};base64,{base64.b64encode(content).decode()}"


def picture_of(record: Record, column: str) -> Picture:
    """Find the image that a column of a record names.

    Raises:
        RecordUnusable: The column is missing or empty, or names no image that can be sent.
    """
    name = record.fields.get(column)
    if not isinstance(name, str) or not name:
        have = ", ".join(list(record.fields)[:12]) or "none"
        what = f'there is no column "{column}" (there are: {have})' if column not in record.fields else "it is empty"
        raise RecordUnusable(f'the image is named by column "{column}", but {what}')
    path = located(record, name)
    size, digest = fingerprint(path, most=MOST_BYTES)
    return Picture(path, size, _mime(path), digest)


def _mime(path: Path) -> str:
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD)
    except OSError as exc:
        raise RecordUnusable(f"{path} cannot be read: {exc.strerror or exc}") from exc
    if head.startswith(b"RIFF") and head[8:12] == b"WEBP":
        return "image/webp"
    for beginning, mime in _BEGINNINGS.items():
        if head.startswith(beginning):
            return mime
    raise RecordUnusable(f"{path} is no PNG, JPEG, WebP or GIF image; convert it first")
