"""Columns kept beside the answers, so that they need not be worked out again: all or nothing is read back.

A file is a header (magic, version, key, length of the text, rows), a text, the columns one after the other, and a
digest of all of that. The key says what the columns were made of. Whatever does not agree (key, size, digest, version)
makes the file as good as missing, so it is not synced: a machine that goes down leaves the old one, the new one, or
nothing that could be believed.
"""

from __future__ import annotations

import contextlib
import os
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import OutputDamaged, OutputUnwritable
from pipeline.records import DIGEST_BYTES
from pipeline.storage.disk import Disk, close_quietly
from pipeline.storage.layout import Layout

_HEADER: Final = struct.Struct(f"<8sI{DIGEST_BYTES}sIQ")
_MAGIC: Final = b"WAISCAN\n"
_VERSION: Final = 1

_BLOCK: Final = 1 << 20

Array: TypeAlias = NDArray[Any]


class KeptColumn:
    """A column that stays on disk: the slice that is asked for is read.

    Of a file that was found sound and that nobody writes in place; a file that replaces it is another one.
    """

    def __init__(self, file: _OpenFile, start: int, rows: int, kind: np.dtype[Any]) -> None:
        self._file, self._start, self._rows, self._kind = file, start, rows, kind

    def __len__(self) -> int:
        return self._rows

    def __getitem__(self, part: slice) -> Array:
        """Read rows `part`, without steps.

        Raises:
            OutputDamaged: The file has become shorter, or the disk fails.
        """
        first, end, _ = part.indices(self._rows)
        return self._file.array(self._start + first * self._kind.itemsize, max(0, end - first), self._kind)


class _OpenFile:
    """A file for reading, closed when the last column of it is let go."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._fd = -1
        self._fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)

    def __del__(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)

    def size(self) -> int:
        return os.fstat(self._fd).st_size

    def bytes(self, at: int, size: int) -> bytes:
        return os.pread(self._fd, size, at)

    def array(self, at: int, rows: int, kind: np.dtype[Any]) -> Array:
        found = np.empty(rows, dtype=kind)
        view = memoryview(found.view(np.uint8).data)
        try:
            while view:
                n = os.preadv(self._fd, [view], at)
                if not n:
                    raise OutputDamaged(f"{self._path}: became shorter while it was read; run again")
                view, at = view[n:], at + n
        except OSError as error:
            raise OutputDamaged(f"{self._path}: cannot be read: {error.strerror}; remove it and run again") from error
        return found


@dataclass(frozen=True, slots=True)
class Kept:
    """What is kept.

    Attributes:
        key: What it was made of, 16 bytes.
        text: What is not a column.
        columns: Of one length; arrays to be written, `KeptColumn` where they were found.
    """

    key: bytes
    text: bytes
    columns: Sequence[Array | KeptColumn]


def write_kept(disk: Disk, layout: Layout, kept: Kept) -> None:
    """Put `kept` in the place of what was kept before, atomically.

    Raises:
        OutputUnwritable: The disk refuses; what was begun is removed, if it lets that happen.
    """
    temporary = layout.temporary(layout.scan.name)
    fd = disk.create(temporary)
    try:
        state = blake2b(digest_size=DIGEST_BYTES)
        head = _HEADER.pack(_MAGIC, _VERSION, kept.key, len(kept.text), len(kept.columns[0])) + kept.text
        state.update(head)
        disk.write(fd, head, temporary)
        for column in kept.columns:
            data = np.ascontiguousarray(column[:]).view(np.uint8).data
            state.update(data)
            disk.write(fd, data, temporary)
        disk.write(fd, state.digest(), temporary)
        close_quietly(fd)
        disk.rename(temporary, layout.scan, replace=True)
    except OutputUnwritable:
        close_quietly(fd)
        with contextlib.suppress(OutputUnwritable):
            disk.unlink(temporary)
        raise


def find_kept(path: Path, key: bytes, types: Sequence[np.dtype[Any]]) -> Kept | None:
    """Find what was kept under `key`, with columns of these types; None where that is not there, whole and sound.

    All of it is read once, for the digest; the columns stay on disk.
    """
    try:
        file = _OpenFile(path)
        head = file.bytes(0, _HEADER.size)
        if len(head) < _HEADER.size:
            return None
        magic, version, its_key, length, rows = _HEADER.unpack(head)
        start = _HEADER.size + length
        end = start + rows * sum(kind.itemsize for kind in types)
        # The size is looked at first: a damaged header must not make us read what is not there.
        if (magic, version, its_key) != (_MAGIC, _VERSION, key) or file.size() != end + DIGEST_BYTES:
            return None
        state = blake2b(digest_size=DIGEST_BYTES)
        for at in range(0, end, _BLOCK):
            state.update(file.bytes(at, min(_BLOCK, end - at)))
        if file.bytes(end, DIGEST_BYTES) != state.digest():
            return None
        text = file.bytes(_HEADER.size, length)
    except OSError:
        return None
    columns = []
    for kind in types:
        columns.append(KeptColumn(file, start, rows, kind))
        start += rows * kind.itemsize
    return Kept(key, text, columns)
