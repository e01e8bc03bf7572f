"""Small files, whole or not at all: write aside, sync, rename, sync the folder."""

from __future__ import annotations

from pathlib import Path

from pipeline.storage.disk import Disk, close_quietly


def write_new(disk: Disk, path: Path, data: bytes) -> None:
    """Write a file that nothing points to yet. Its content is durable on return, its name after a dirsync."""
    fd = disk.create(path)
    try:
        disk.write(fd, data, path)
        disk.fsync(fd, path)
    finally:
        close_quietly(fd)


def replace_file(disk: Disk, temporary: Path, target: Path, data: bytes) -> None:
    """Give `target` new content atomically; durable on return.

    Args:
        disk: The disk.
        temporary: A name in the same file system; overwritten.
        target: The file that is created or replaced.
        data: Its new content.
    """
    write_new(disk, temporary, data)
    disk.rename(temporary, target, replace=True)
    disk.dirsync(target.parent)
