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

from pipeline.errors import OutputUnwritable
from pipeline.records import DIGEST_BYTES
from pipeline.storage.disk import Disk, close_quietly
from pipeline.storage.layout import Layout

_HEADER: Final = struct.Struct(f"<8sI{DIGEST_BYTES}sIQ")
_MAGIC: Final = b"WAISCAN\n"
_VERSION: Final = 1

AnyColumn: TypeAlias = NDArray[Any]


@dataclass(frozen=True, slots=True)
class Kept:
    """What is kept.

    Attributes:
        key: What it was made of, 16 bytes.
        text: What is not a column.
        columns: Of one length.
    """

    key: bytes
    text: bytes
    columns: Sequence[AnyColumn]


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
            data = np.ascontiguousarray(column).view(np.uint8).data
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


def read_kept(path: Path, key: bytes, types: Sequence[np.dtype[Any]]) -> Kept | None:
    """Read back what was kept under `key`, with columns of these types; None where that is not there, whole and sound.

    Columns come in memory of their own, so that each can be freed.
    """
    try:
        with path.open("rb") as file:
            head = file.read(_HEADER.size)
            if len(head) < _HEADER.size:
                return None
            magic, version, its_key, length, rows = _HEADER.unpack(head)
            size = _HEADER.size + length + rows * sum(kind.itemsize for kind in types) + DIGEST_BYTES
            # The size is looked at first: a damaged header must not make us ask for memory that is not there.
            if (magic, version, its_key) != (_MAGIC, _VERSION, key) or os.fstat(file.fileno()).st_size != size:
                return None
            text = file.read(length)
            columns = [np.empty(rows, dtype=kind) for kind in types]
            state = blake2b(head + text, digest_size=DIGEST_BYTES)
            for column in columns:
                data = column.view(np.uint8).data
                if file.readinto(data) != len(data):
                    return None
                state.update(data)
            if file.read(DIGEST_BYTES) != state.digest():
                return None
    except OSError:
        return None
    return Kept(key, text, columns)
