"""Images in a chat request: parts of type ``image_url`` with a data URI, or the field ``image``.

Cloudflare does not say how many tokens an image is; 256 is what Google names as typical for Gemma
(ai.google.dev/gemma/docs/capabilities/vision, 2026-11-22).
"""

from __future__ import annotations

import base64
import binascii
import re
from hashlib import blake2b
from typing import Final

from pipeline.emulator.models import Model
from pipeline.emulator.refusals import Refusal, bad_input
from pipeline.emulator.tasks.base import Json

IMAGE_TOKENS: Final = 256

_DATA_URI: Final = re.compile(r"data:image/[a-z0-9.+-]+;base64,")


def read_images(model: Model, body: Json) -> list[str]:
    """Return a short digest of each image, so that different images have different answers.

    Raises:
        Refusal: 5006 for a model without vision or an address that is no data URI, 5004 for what is not base64.
    """
    found = [_decoded(address) for address in _addresses(body)]
    field = body.get("image")
    if isinstance(field, str):
        found.append(_decoded(field))
    elif isinstance(field, list):
        if not all(isinstance(byte, int) and 0 <= byte <= 255 for byte in field):
            raise bad_input("oneOf at '/image' not met: an array of integers from 0 to 255 is wanted")
        found.append(bytes(field))
    if found and model.facts.get("vision") is not True:
        raise bad_input(f"'/messages' not met: {model.name} does not take images")
    return [blake2b(content, digest_size=8).hexdigest() for content in found]


def _addresses(body: Json) -> list[str]:
    addresses = []
    messages = body.get("messages")
    for message in messages if isinstance(messages, list) else []:
        content = message.get("content") if isinstance(message, dict) else None
        for part in content if isinstance(content, list) else []:
            image = part.get("image_url") if isinstance(part, dict) else None
            if isinstance(image, dict):
                address = image.get("url")
                if not isinstance(address, str) or not _DATA_URI.match(address):
                    raise bad_input("pattern at '/messages/content/image_url/url' not met: a data URI is wanted")
                addresses.append(address)
    return addresses


def _decoded(text: str) -> bytes:
    try:
        content = base64.b64decode(_DATA_URI.sub("", text, count=1), validate=True)
    except (binascii.Error, ValueError):
        raise Refusal(5004) from None
    if not content:
        raise Refusal(5004)
    return content
