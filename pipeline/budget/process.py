"""Who holds a lease, and whether that process still lives.

A process is known by its id, its start time (an id is soon given to another process) and the boot and process
namespace it runs in (ids of another boot or container mean nothing here).

Source: proc_pid_stat(5), fields 3 (state) and 22 (starttime, clock ticks since boot); random(4) for boot_id.
"""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

_PROC = Path("/proc")


@dataclass(frozen=True, slots=True)
class ProcessMark:
    """Names one process for as long as the machine runs.

    Attributes:
        pid: Process id.
        started: Start time in clock ticks since boot; 0 where the system does not tell.
        host: Boot id and process namespace, or the host name where the system tells neither.
    """

    pid: int
    started: int
    host: str


def current_process() -> ProcessMark:
    """Return the mark of this process."""
    pid = os.getpid()
    try:
        started = _start_time(pid) or 0
    except OSError:
        started = 0
    return ProcessMark(pid=pid, started=started, host=_host())


def is_alive(mark: ProcessMark) -> bool | None:
    """Tell whether the process lives; None where it cannot be told from here (another boot, host or container)."""
    if mark.host != _host():
        return None
    if not mark.started:
        return _exists(mark.pid)
    try:
        return _start_time(mark.pid) == mark.started
    except OSError:  # no descriptor left, no permission: that says nothing of the process
        return None


def _start_time(pid: int) -> int | None:
    """Return the start time in ticks; None for no such process, a zombie, or a system without /proc.

    Raises:
        OSError: It cannot be told.
    """
    try:
        stat = (_PROC / str(pid) / "stat").read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The command name stands in parentheses and may itself hold spaces and parentheses: count from the last one.
    fields = stat.rpartition(")")[2].split()
    # A zombie has ended and only waits for its parent; it will send nothing more.
    return None if fields[0] in {"Z", "X"} else int(fields[19])


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


@lru_cache(maxsize=1)
def _host() -> str:
    try:
        boot = (_PROC / "sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        namespace = (_PROC / "self/ns/pid").readlink()
    except OSError:
        return socket.gethostname()
    return f"{boot}/{namespace}"
