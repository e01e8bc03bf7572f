"""Pictures that the emulator draws: colours and a shape from a digest, and the word that they are simulated."""

from __future__ import annotations

import random
from hashlib import blake2b
from io import BytesIO
from typing import Final

SHOWN: Final = 48


def draw(about: str, *, width: int, height: int, salt: str = "", kind: str = "PNG") -> bytes:
    """Draw a picture; the same for the same arguments.

    Args:
        about: The prompt; its beginning is written into the picture.
        width: Pixels.
        height: Pixels.
        salt: What else makes it another picture, e.g. a seed.
        kind: ``PNG`` or ``JPEG``.
    """
    from PIL import Image, ImageDraw, ImageFont  # noqa: PLC0415 - loaded by the first picture

    chance = random.Random(blake2b(f"{salt}\0{about}".encode("utf-8", "replace"), digest_size=8).digest())  # noqa: S311
    dark, light, shape = (tuple(chance.randrange(low, low + 100) for _ in "rgb") for low in (10, 140, 80))
    slope = Image.linear_gradient("L").rotate(chance.choice((0, 90, 180, 270))).resize((width, height))
    canvas = Image.composite(Image.new("RGB", slope.size, light), Image.new("RGB", slope.size, dark), slope)
    pen = ImageDraw.Draw(canvas)
    radius = min(width, height) * chance.uniform(0.15, 0.3)
    x, y = width * chance.uniform(0.3, 0.7), height * chance.uniform(0.3, 0.6)
    outline = pen.ellipse if chance.random() < 0.5 else pen.rectangle
    outline((x - radius, y - radius, x + radius, y + radius), fill=shape)
    size = max(8, min(width, height) // 12)
    pen.text((size // 2, height - 2 * size - size // 2), "simulated", fill=light, font=ImageFont.load_default(size))
    shown = " ".join(about.split())[:SHOWN].encode("ascii", "replace").decode()
    pen.text((size // 2, height - size), shown, fill=light, font=ImageFont.load_default(max(8, size // 2)))
    out = BytesIO()
    canvas.save(out, kind, compress_level=1, quality=80, comment=b"simulated by wai-emulator")
    return out.getvalue()


def size_of(content: bytes) -> tuple[int, int] | None:
    """Return width and height of a picture; None where it is none."""
    from PIL import Image  # noqa: PLC0415 - loaded by the first picture

    try:
        with Image.open(BytesIO(content)) as image:
            image.verify()
            return image.size
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError, Image.DecompressionBombWarning):
        return None
