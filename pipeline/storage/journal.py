"""The journal: answers on their way into a part, frame by frame.

A file is a header (magic, version, generation, crc), then frames::

    marker | u32 length of keys + batch | u32 crc32 | u8 kind | u32 rows | keys, 32 bytes a row | Arrow IPC stream

The crc covers kind, rows, keys and batch. Keys (id key, payload key) stand before the batch, so that recovery learns
what is settled without decoding a column, and a status command counts rows by reading headers alone.

Kinds: 1 result rows, one a record; 2 failures; 4 result rows of which several may belong to one record and then follow
each other, all of them in this frame (docs/adr/0014-several-rows-per-record.md). Frames are independent of each other:
where one is damaged, what follows is still found by its marker and kept, for it was paid.
A torn tail, which a killed process leaves, is dropped; nobody appends behind it, for each run begins a new generation.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

import pyarrow as pa

from pipeline.errors import OutputDamaged, OutputError
from pipeline.storage.disk import Disk, close_quietly, unreadable
from pipeline.storage.index import KEY_BYTES, first_rows, words_of

RESULT_ROWS: Final = 1
FAILURE_ROWS: Final = 2
RESULT_GROUPS: Final = 4
KNOWN_KINDS: Final = frozenset({RESULT_ROWS, FAILURE_ROWS, RESULT_GROUPS})

_HEADER: Final = struct.Struct("<8sHI")
_MAGIC: Final = b"WAIJRNL\n"
_VERSION: Final = 1
_HEADER_SIZE: Final = _HEADER.size + 4
_FRAME: Final = struct.Struct("<4sIIBI")
_COVERED: Final = struct.Struct("<BI")
_MARKER: Final = b"\xf7WAI"
_END_OF_STREAM: Final = b"\xff\xff\xff\xff" + bytes(4)
_LOOK: Final = 1 << 20
_MOST_BYTES: Final = (1 << 32) - 1
# Damage is rare and tails are short: how many places that look like a frame are worth a checksum.
_MAX_GUESSES: Final = 10_000


@dataclass(frozen=True, slots=True)
class Frame:
    """One batch as it lies in a journal.

    Attributes:
        kind: `RESULT_ROWS`, `RESULT_GROUPS` or `FAILURE_ROWS`.
        rows: Number of rows.
        keys: Id and payload key of each row, 32 bytes per row.
        body: The Arrow IPC stream.
    """

    kind: int
    rows: int
    keys: bytes
    body: memoryview

    @property
    def is_result(self) -> bool:
        """Whether these are results."""
        return self.kind != FAILURE_ROWS

    @property
    def records(self) -> int:
        """Number of records its rows belong to."""
        return _records(self.kind, self.keys)

    def batch(self) -> pa.RecordBatch:
        """Decode the rows; zero-copy where possible."""
        return pa.ipc.open_stream(pa.py_buffer(self.body)).read_next_batch()


def encode_frame(kind: int, keys: bytes, batch: pa.RecordBatch, schema_message: bytes | None = None) -> bytes:
    """Encode one batch as a frame.

    Args:
        kind: `RESULT_ROWS`, `RESULT_GROUPS` or `FAILURE_ROWS`.
        keys: 32 bytes per row.
        batch: The rows.
        schema_message: ``batch.schema.serialize()`` where the caller has kept it.
    """
    rows = batch.num_rows
    if len(keys) != rows * KEY_BYTES:
        raise OutputError(f"{rows} rows need {rows * KEY_BYTES} bytes of keys, not {len(keys)}: keys are 16 bytes each")
    schema = schema_message if schema_message is not None else batch.schema.serialize().to_pybytes()
    body = batch.serialize()
    # The three messages one after the other are an IPC stream; a stream writer would build the schema anew each time.
    crc = zlib.crc32(_COVERED.pack(kind, rows))
    for part in (keys, schema, body, _END_OF_STREAM):
        crc = zlib.crc32(part, crc)
    length = len(keys) + len(schema) + body.size + len(_END_OF_STREAM)
    if length > _MOST_BYTES:
        raise OutputError(f"a batch of {length} bytes is too large for the journal")
    return b"".join((_FRAME.pack(_MARKER, length, crc, kind, rows), keys, schema, memoryview(body), _END_OF_STREAM))


class JournalWriter:
    """Appends to one new generation. One thread at a time.

    The header is durable when the constructor returns, so that a journal that exists is one that can be read.
    """

    def __init__(self, disk: Disk, path: Path, generation: int) -> None:
        self._disk, self.path, self.generation = disk, path, generation
        self._fd = disk.create(path, exclusive=True)
        head = _HEADER.pack(_MAGIC, _VERSION, generation)
        try:
            disk.write(self._fd, head + struct.pack("<I", zlib.crc32(head)), path)
            disk.fsync(self._fd, path)
            disk.dirsync(path.parent)
        except BaseException:
            close_quietly(self._fd)
            raise

    def append(self, frames: bytes) -> None:
        """Write encoded frames with one system call; they survive the process, not yet the machine."""
        self._disk.write(self._fd, frames, self.path)

    def sync(self) -> None:
        """Make everything appended survive the machine."""
        self._disk.fdatasync(self._fd, self.path)

    def close(self) -> None:
        """Give up the descriptor; does not sync."""
        close_quietly(self._fd)


class JournalReader:
    """Reads the frames of one journal in order, one in memory at a time.

    Attributes:
        torn_bytes: Bytes of an incomplete tail, known after reading to the end.
        damaged_frames: Places where readable frames follow unreadable bytes; their rows are pending again.
    """

    torn_bytes: int
    damaged_frames: int

    def __init__(self, path: Path) -> None:
        self.path = path

    def __iter__(self) -> Iterator[Frame]:
        self.torn_bytes = self.damaged_frames = 0
        try:
            with self.path.open("rb") as file:
                yield from self._frames(file)
        except OSError as error:
            raise unreadable(error, self.path) from error

    def _frames(self, file: BinaryIO) -> Iterator[Frame]:
        size = os.fstat(file.fileno()).st_size
        at = self._header(file, size)
        while at < size:
            frame = _frame_at(file, at, size)
            if frame is None:
                following = _next_frame(file, at + 1, size)
                if following is None:
                    self.torn_bytes = size - at
                    return
                self.damaged_frames += 1
                at = following
                continue
            if frame.kind not in KNOWN_KINDS:
                raise OutputDamaged(
                    f"{self.path}: holds frames of kind {frame.kind}, written by a newer version; use that version"
                )
            yield frame
            at += _FRAME.size + len(frame.keys) + len(frame.body)

    def _header(self, file: BinaryIO, size: int) -> int:
        """Check the header and return where frames begin; a torn header means there are none."""
        if size < _HEADER_SIZE:
            self.torn_bytes = size
            return size
        head = file.read(_HEADER_SIZE)
        magic, version, _ = _HEADER.unpack_from(head)
        if zlib.crc32(head[: _HEADER.size]) != int.from_bytes(head[_HEADER.size :], "little"):
            # Frames carry their own checksums: a damaged header takes nothing with it.
            if size > _HEADER_SIZE:
                self.damaged_frames += 1
        elif magic != _MAGIC or version > _VERSION:
            raise OutputDamaged(
                f"{self.path}: journal of version {version}, written by a newer version; use that version"
            )
        return _HEADER_SIZE


def _records(kind: int, keys: bytes) -> int:
    return len(first_rows(words_of(keys))) if kind == RESULT_GROUPS else len(keys) // KEY_BYTES


@dataclass(slots=True)
class Counted:
    """What a journal holds.

    Attributes:
        results: Records with a result.
        failures: Records that failed.
        rows: Result rows.
    """

    results: int = 0
    failures: int = 0
    rows: int = 0

    def add(self, other: Counted) -> None:
        """Add what another journal holds."""
        self.results += other.results
        self.failures += other.failures
        self.rows += other.rows


def count_rows(path: Path) -> Counted:
    """Count by reading frame headers, and keys where records have several rows; a journal being written is fine.

    Trusts lengths, not checksums: a figure for people.

    Raises:
        OutputDamaged: It cannot be read.
    """
    try:
        return _counted(path)
    except OSError as error:
        raise unreadable(error, path) from error


def _counted(path: Path) -> Counted:
    counted = Counted()
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        at = _HEADER_SIZE
        while at + _FRAME.size <= size:
            file.seek(at)
            marker, length, _, kind, rows = _FRAME.unpack(file.read(_FRAME.size))
            at += _FRAME.size + length
            if marker != _MARKER or at > size or kind not in KNOWN_KINDS or rows * KEY_BYTES > length:
                break
            if kind == FAILURE_ROWS:
                counted.failures += rows
                continue
            counted.rows += rows
            counted.results += rows if kind == RESULT_ROWS else _records(kind, file.read(rows * KEY_BYTES))
    return counted


def _frame_at(file: BinaryIO, at: int, size: int) -> Frame | None:
    """The frame at this offset, None where there is no whole one."""
    if at + _FRAME.size > size:
        return None
    file.seek(at)
    marker, length, crc, kind, rows = _FRAME.unpack(file.read(_FRAME.size))
    if marker != _MARKER or at + _FRAME.size + length > size or rows * KEY_BYTES > length:
        return None
    data = file.read(length)
    if len(data) != length or zlib.crc32(data, zlib.crc32(_COVERED.pack(kind, rows))) != crc:
        return None
    keys = rows * KEY_BYTES
    return Frame(kind, rows, data[:keys], memoryview(data)[keys:])


def _next_frame(file: BinaryIO, start: int, size: int) -> int | None:
    """Look for a frame behind a damaged place: its offset, or None where only a torn tail is left."""
    guesses = 0
    while start < size and guesses < _MAX_GUESSES:
        file.seek(start)
        data = file.read(_LOOK)
        found = data.find(_MARKER)
        while found >= 0 and guesses < _MAX_GUESSES:
            # The marker may also be part of an answer; the checksum decides.
            if _frame_at(file, start + found, size) is not None:
                return start + found
            guesses += 1
            found = data.find(_MARKER, found + 1)
        # The windows overlap by what a marker across the border needs.
        start += max(1, len(data) - len(_MARKER) + 1)
    return None
