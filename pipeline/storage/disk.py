"""The one door through which the output folder is changed.

Every write, sync, rename and removal is a named `Operation` that goes through `Disk.run`, so that a test can count them
and make the n-th fail, tear or be the last one of the process (`pipeline.storage.faults`). Reading does not pass here.

A failing operation is fatal for the store that asked for it. That holds for a failing fsync above all: the kernel marks
the pages clean after reporting the error once, so a second fsync that succeeds proves nothing.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar

from pipeline.errors import OutputDamaged, OutputUnwritable

T = TypeVar("T")

# O_NOFOLLOW: a name in our folder that became a symlink is never written through.
_CREATE: Final = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW

_WORDS: Final = {
    errno.ENOSPC: "disk full: free some space and run again; every answer written before is kept",
    errno.EDQUOT: "disk quota reached: free some space and run again; every answer written before is kept",
    errno.EFBIG: "file size limit reached: raise it (ulimit -f) and run again; what was written before is kept",
    errno.EROFS: "the file system is read-only: mount it writable or choose another output.path",
    errno.EACCES: "permission denied: make the folder writable or choose another output.path",
    errno.EPERM: "permission denied: make the folder writable or choose another output.path",
    errno.EIO: "the disk reports an input/output error: check it before running again",
}


def unwritable(error: OSError, path: Path) -> OutputUnwritable:
    """Say in plain words why `path` could not be written."""
    words = _WORDS.get(error.errno or 0, f"cannot be written: {error.strerror or error}")
    return OutputUnwritable(f"{path}: {words}")


def unreadable(error: OSError, path: Path) -> OutputDamaged:
    """Say that `path`, or what the error names, could not be read."""
    return OutputDamaged(f"{error.filename or path}: cannot be read: {error.strerror or error}; check the disk")


@dataclass(frozen=True, slots=True)
class Operation:
    """One change to the disk, about to happen.

    Attributes:
        name: One of ``mkdir create write fsync fdatasync rename unlink dirsync``.
        path: What is changed.
        tear: For a write, does half of it; None where an operation has no halves.
    """

    name: str
    path: Path
    tear: Callable[[], object] | None = None


class Disk:
    """The operating system's files. Thread-safe: it holds no state."""

    def run(self, operation: Operation, effect: Callable[[], T]) -> T:  # noqa: ARG002 - for doubles
        """Let `operation` take effect. Test doubles override this.

        Raises:
            OSError: It failed.
        """
        return effect()

    def _do(self, name: str, path: Path, effect: Callable[[], T], tear: Callable[[], object] | None = None) -> T:
        try:
            return self.run(Operation(name, path, tear), effect)
        except OSError as error:
            raise unwritable(error, path) from error

    def mkdir(self, path: Path) -> None:
        """Create a folder; an existing one is fine. Not durable before `dirsync` of the parent."""
        self._do("mkdir", path, lambda: path.mkdir(exist_ok=True))

    def create(self, path: Path, *, exclusive: bool = False) -> int:
        """Open a new file for appending and return its descriptor; an existing one is emptied, or refused.

        Args:
            path: The file.
            exclusive: Refuse an existing file: nothing is ever written behind what another process left.
        """
        flags = _CREATE | (os.O_EXCL | os.O_APPEND if exclusive else os.O_TRUNC)
        return self._do("create", path, lambda: os.open(path, flags, 0o666))

    def write(self, fd: int, data: bytes | bytearray | memoryview, path: Path) -> None:
        """Write all of `data`; it is in the page cache when this returns and so survives the process."""
        self._do(
            "write", path, lambda: _write_all(fd, data), lambda: _write_all(fd, memoryview(data)[: len(data) // 2])
        )

    def fsync(self, fd: int, path: Path) -> None:
        """Make content and size of a file durable."""
        self._do("fsync", path, lambda: os.fsync(fd))

    def fdatasync(self, fd: int, path: Path) -> None:
        """Make content of a file durable, and its size as far as reading needs it."""
        self._do("fdatasync", path, lambda: os.fdatasync(fd))

    def rename(self, source: Path, target: Path, *, replace: bool) -> None:
        """Rename within one file system, atomically. Durable after `dirsync` of the target's folder.

        Args:
            source: Existing name.
            target: New name.
            replace: Whether an existing target may be replaced; the caller holds the folder's lock, so looking
                first is enough.
        """

        def effect() -> None:
            if not replace and os.path.lexists(target):
                raise FileExistsError(errno.EEXIST, "a file of this name is already there", str(target))
            source.rename(target)

        self._do("rename", target, effect)

    def unlink(self, path: Path) -> None:
        """Remove a file; a missing one is fine."""
        self._do("unlink", path, lambda: path.unlink(missing_ok=True))

    def dirsync(self, path: Path) -> None:
        """Make the names in a folder durable."""
        self._do("dirsync", path, lambda: _sync_folder(path))


def _write_all(fd: int, data: bytes | bytearray | memoryview) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def _sync_folder(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def close_quietly(fd: int) -> None:
    """Close a descriptor whose content no longer matters."""
    with contextlib.suppress(OSError):
        os.close(fd)
