"""The door to the disk: a sync is one. In which order they come is shown by `tests/fault/test_storage_crash.py`."""

import errno
import os

import pytest

from pipeline.errors import OutputUnwritable
from pipeline.storage.disk import Disk


@pytest.mark.parametrize(("name", "call"), [("fsync", "fsync"), ("fdatasync", "fdatasync"), ("dirsync", "fsync")])
def test_a_sync_reaches_the_system(tmp_path, monkeypatch, name, call):
    """Each asks the kernel for the very file, or folder; and what the kernel says of it is told."""
    disk, asked = Disk(), []

    def sync(fd):
        asked.append(os.fstat(fd).st_ino)
        raise OSError(errno.EIO, "the device is gone")

    fd = disk.create(tmp_path / "file")
    path = tmp_path if name == "dirsync" else tmp_path / "file"
    monkeypatch.setattr(os, call, sync)
    with pytest.raises(OutputUnwritable, match="input/output error"):
        disk.dirsync(path) if name == "dirsync" else getattr(disk, name)(fd, path)
    monkeypatch.undo()
    os.close(fd)
    assert asked == [path.stat().st_ino]
