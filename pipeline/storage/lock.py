"""One run per output folder: an operating-system lock that dies with its holder, and a note that says who that is."""

from __future__ import annotations

import fcntl
import os
import socket
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import orjson
from filelock import FileLock, Timeout

from pipeline.errors import OutputLocked, OutputUnwritable
from pipeline.storage.atomic import replace_file
from pipeline.storage.disk import Disk, unwritable
from pipeline.storage.layout import Layout

# Long enough to outlast a status command's look, short enough to refuse at once.
_PATIENCE_S: Final = 0.25
WAITS_UNTIL: Final = "waits_until"


class OutputLock:
    """The lock of an output folder, held from construction to `release` (or to the end of the process)."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._lock = FileLock(layout.lock, timeout=_PATIENCE_S, thread_local=False)
        before = _identity(layout)
        try:
            self._lock.acquire(poll_interval=0.02)
        except Timeout:
            raise OutputLocked(_refusal(layout)) from None
        except OSError as error:
            raise unwritable(error, layout.lock) from error
        self._identity = _identity(layout)
        if before not in {None, self._identity}:
            # The folder was moved aside between opening and locking: what we hold is the lock of another folder now.
            self.release()
            raise OutputLocked(_refusal(layout))

    def check(self) -> None:
        """See that the path still leads to the folder that is locked.

        Raises:
            OutputUnwritable: It was moved, removed or replaced; whoever writes there now may be another run.
        """
        if self._identity != _identity(self._layout):
            raise OutputUnwritable(
                f"{self._layout.root}: was moved, removed or replaced while this run was writing to it; what was "
                "answered is in the folder that was here: put it back, if it was moved, and run again"
            )

    def release(self) -> None:
        """Let others in. Idempotent; writes nothing."""
        self._lock.release()


def note_holder(disk: Disk, layout: Layout, started_at: datetime) -> None:
    """Write who holds the lock, for the message of the one who is refused."""
    note = {"pid": os.getpid(), "host": socket.gethostname(), "started_at": started_at.isoformat(timespec="seconds")}
    replace_file(disk, layout.temporary("holder.json"), layout.holder, orjson.dumps(note))


def note_waiting(disk: Disk, layout: Layout, until: datetime | None) -> None:
    """Add to the note that the holder sleeps till then; None when it has woken."""
    note = {**(read_holder(layout) or {}), WAITS_UNTIL: until.isoformat(timespec="seconds") if until else None}
    replace_file(disk, layout.temporary("holder.json"), layout.holder, orjson.dumps(note))


def remove_holder(disk: Disk, layout: Layout) -> None:
    """Take the note away: a run that leaves one behind was killed."""
    disk.unlink(layout.holder)


def read_holder(layout: Layout) -> dict[str, Any] | None:
    """Who holds the lock, or was killed while holding it; None where nobody says."""
    try:
        note = orjson.loads(layout.holder.read_bytes())
    except (OSError, orjson.JSONDecodeError):
        return None
    return note if isinstance(note, dict) else None


def is_held(path: Path) -> bool:
    """Whether somebody holds the lock just now. Works on a read-only folder and creates nothing."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        # Shared, so that two who look do not see each other as holders.
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    finally:
        os.close(fd)
    return False


def _identity(layout: Layout) -> tuple[int, int] | None:
    try:
        status = layout.lock.lstat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _refusal(layout: Layout) -> str:
    note = read_holder(layout)
    who = (
        f"process {note.get('pid')} on {note.get('host')}, started {note.get('started_at')}"
        if note
        else "another process (it left no note)"
    )
    return f"{layout.root}: in use by {who}; wait for it, stop it, or choose another output.path"
