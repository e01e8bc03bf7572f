"""Small pictures for tests."""

from io import BytesIO

from PIL import Image


def picture(width=40, height=30, kind="PNG", colour=(200, 30, 60), **options):
    """A picture of one colour, as bytes."""
    out = BytesIO()
    Image.new("RGB", (width, height), colour).save(out, kind, **options)
    return out.getvalue()


def size_of(content):
    with Image.open(BytesIO(content)) as image:
        image.load()
        return image.size


def bomb(width=20_000, height=20_000):
    """A PNG of a few bytes whose head promises 400 million pixels."""
    import struct
    import zlib

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")
    )
