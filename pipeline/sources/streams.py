"""Bytes of an input file, decompressed on the fly, as chunks and as lines.

Takes an `InputFile`, hands on bytes. Never holds more than one chunk and one line: a line longer than 64 MiB is
skipped while it is read.
"""

from __future__ import annotations

import bz2
import contextlib
import zlib
from collections.abc import Iterator
from typing import BinaryIO, Final

import pyarrow as pa

from pipeline.errors import SourceError
from pipeline.sources.origins import MAX_LINE_BYTES, InputFile

_CHUNK_BYTES: Final = 64 * 1024
_UTF8_BOM: Final = b"\xef\xbb\xbf"
_UTF16_BOMS: Final = (b"\xff\xfe", b"\xfe\xff")
_MAGIC: Final = {"gzip": b"\x1f\x8b", "zstd": b"\x28\xb5\x2f\xfd", "bz2": b"BZh"}
_ZSTD_SKIPPABLE: Final = tuple(bytes([0x50 + n, 0x2A, 0x4D, 0x18]) for n in range(16))


class Oversize:
    """Stands in for a line that is too long to hold."""


OVERSIZE: Final = Oversize()
OVERSIZE_REASON: Final = f"line is longer than {MAX_LINE_BYTES // 1024 // 1024} MiB"

Line = bytes | Oversize


@contextlib.contextmanager
def readable(shown: str) -> Iterator[None]:
    """Turn the system's refusals inside the block into a `SourceError` that names the file."""
    try:
        yield
    except OSError as exc:
        raise SourceError(shown, f"cannot be read: {exc.strerror or exc}") from exc


def chunks(file: InputFile) -> Iterator[bytes]:
    """Yield the content of `file`, decompressed, in pieces of about 64 KiB.

    Raises:
        SourceError: The file cannot be opened, or its compressed data is cut off or damaged. What came before the
            damage has been yielded; a flipped bit is noticed only where the file has checksums (zstd may have none).
    """
    with readable(file.shown):
        if file.spool is not None:
            yield from file.spool.chunks()
            return
        with file.path.open("rb", buffering=0) as raw:
            if file.compression is None:
                while chunk := raw.read(_CHUNK_BYTES):
                    yield chunk
            else:
                yield from _decompressed(file, raw, file.compression)


def _decompressed(file: InputFile, raw: BinaryIO, compression: str) -> Iterator[bytes]:
    magic = raw.read(4)
    if not magic.startswith(_MAGIC[compression]) and magic not in _ZSTD_SKIPPABLE:
        problem = "is empty" if not magic else "does not hold what its name says"
        raise SourceError(file.shown, f"{problem}: no {compression} data")
    raw.seek(0)
    try:
        yield from _zstd(file) if compression == "zstd" else _members(raw, compression)
    except (zlib.error, EOFError, pa.ArrowException, OSError) as exc:
        # bz2 and arrow report damage as OSError without errno; a failing disk has one.
        if isinstance(exc, OSError) and exc.errno is not None:
            raise
        raise SourceError(file.shown, f"is cut off or damaged ({compression}: {exc})") from exc


def _members(raw: BinaryIO, compression: str) -> Iterator[bytes]:
    """Yield the content of all gzip or bz2 members of a file, one after the other; zero padding is allowed."""
    data = raw.read(_CHUNK_BYTES)
    while data:
        machine = _Gzip() if compression == "gzip" else _Bzip2()
        while True:
            content = machine.feed(data)
            if content:
                yield content
            if machine.eof:
                break
            data = b""
            # A full piece may have left output inside the machine: ask for that before giving it more.
            if len(content) < _CHUNK_BYTES and machine.hungry and not (data := raw.read(_CHUNK_BYTES)):
                raise EOFError("the end is missing")
        data = machine.rest
        while not data.strip(b"\0") and (data := raw.read(_CHUNK_BYTES)):
            pass
        data = data.lstrip(b"\0")


class _Gzip:
    """One gzip member, with bounded output per call."""

    def __init__(self) -> None:
        self._machine = zlib.decompressobj(wbits=31)

    def feed(self, data: bytes) -> bytes:
        return self._machine.decompress(self._machine.unconsumed_tail + data, _CHUNK_BYTES)

    @property
    def eof(self) -> bool:
        return self._machine.eof

    @property
    def hungry(self) -> bool:
        return not self._machine.unconsumed_tail

    @property
    def rest(self) -> bytes:
        return self._machine.unused_data


class _Bzip2:
    """One bzip2 stream, with bounded output per call."""

    def __init__(self) -> None:
        self._machine = bz2.BZ2Decompressor()

    def feed(self, data: bytes) -> bytes:
        return self._machine.decompress(data, _CHUNK_BYTES)

    @property
    def eof(self) -> bool:
        return self._machine.eof

    @property
    def hungry(self) -> bool:
        return self._machine.needs_input

    @property
    def rest(self) -> bytes:
        return self._machine.unused_data


def _zstd(file: InputFile) -> Iterator[bytes]:
    """Yield the content of all frames of a zstd file."""
    position = 0
    with pa.input_stream(str(file.path), compression="zstd") as stream, contextlib.suppress(OSError, pa.ArrowException):
        while chunk := stream.read(_CHUNK_BYTES):
            position += len(chunk)
            yield chunk
        return
    # A read that fails takes with it what it had decompressed so far: fetch that byte by byte, until it fails again.
    with pa.input_stream(str(file.path), compression="zstd") as stream:
        while position and (chunk := stream.read(min(position, _CHUNK_BYTES))):
            position -= len(chunk)
        while byte := stream.read(1):
            yield byte


def text_chunks(file: InputFile) -> Iterator[bytes]:
    """Yield `chunks` without a UTF-8 byte order mark.

    Raises:
        SourceError: The file is UTF-16 or UTF-32, or as `chunks`.
    """
    source = chunks(file)
    head = b""
    # A pipe or a damaged file may hand over single bytes.
    while len(head) < len(_UTF8_BOM) and (chunk := next(source, b"")):
        head += chunk
    if head.startswith(_UTF16_BOMS):
        raise SourceError(file.shown, "is UTF-16 (or UTF-32) text; convert it to UTF-8 first")
    if head := head.removeprefix(_UTF8_BOM):
        yield head
    yield from source


def line_blocks(file: InputFile) -> Iterator[list[Line]]:
    r"""Yield the lines of a file, without their ``\n``, many at a time.

    Only ``\n`` ends a line; a ``\r`` before it stays. What follows the last ``\n`` is a line unless it is empty.
    Lines longer than 64 MiB come as `OVERSIZE`.

    Raises:
        SourceError: As `text_chunks`.
    """
    held: list[bytes] = []
    held_bytes = 0
    for chunk in text_chunks(file):
        lines: list[Line] = [*chunk.split(b"\n")]
        if len(lines) > 1:
            if held:
                lines[0] = b"".join([*held, chunk[: chunk.index(b"\n")]])
            if held_bytes + len(chunk) > MAX_LINE_BYTES:
                lines[0] = _fitting(held_bytes, lines[0])
            held, held_bytes = [], 0
        tail = lines.pop()
        assert isinstance(tail, bytes)
        held_bytes += len(tail)
        if held_bytes > MAX_LINE_BYTES:
            held = []
        elif tail:
            held.append(tail)
        if lines:
            yield lines
    if held_bytes:
        yield [b"".join(held) if held_bytes <= MAX_LINE_BYTES else OVERSIZE]


def _fitting(held_bytes: int, line: Line) -> Line:
    """Return `line` unless it, or what was held of it before it was let go, is too long."""
    assert isinstance(line, bytes)
    return OVERSIZE if held_bytes > MAX_LINE_BYTES or len(line) > MAX_LINE_BYTES else line


def why_not_utf8(exc: UnicodeDecodeError, what: str) -> str:
    """Say where `what` stops being UTF-8, in bytes from its start (0-based)."""
    return f"{what} is not UTF-8: byte 0x{exc.object[exc.start]:02x} at byte offset {exc.start}"
