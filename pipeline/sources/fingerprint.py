"""By what an input is recognised: in the same run by size and time, in a later one by everything the system tells."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from pipeline.errors import SourceError
from pipeline.records import digest

NEVER_SETTLED: Final = math.inf
"""`Trace.changed_s` of what no other run can recognise, as that which came through a pipe."""


@dataclass(frozen=True, slots=True)
class Trace:
    """One look at an origin.

    Attributes:
        state: Bytes that change when its content may have changed while this process lives.
        identity: The same beyond this process: also which file it is, and the time of its last change, which unlike
            that of its content nobody can set back.
        changed_s: The later of these times, in seconds since 1970; `NEVER_SETTLED` where another run cannot know it.
    """

    state: bytes
    identity: bytes
    changed_s: float


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """One look at a whole input.

    Attributes:
        digest: Of names and identities of its origins, in order.
        changed_s: The latest of their changes, as in `Trace`.
        states: What each origin was at this look, by the name it is shown under.
    """

    digest: bytes
    changed_s: float
    states: Mapping[str, bytes] = field(compare=False, repr=False)

    @staticmethod
    def of(traces: Sequence[tuple[str, Trace]]) -> Fingerprint:
        """Sum up the traces of origins, by the name they are shown under."""
        parts = [part for shown, trace in traces for part in (shown.encode(), trace.identity)]
        return Fingerprint(
            digest=digest(*parts, b""),
            changed_s=max((trace.changed_s for _, trace in traces), default=0.0),
            states={shown: trace.state for shown, trace in traces},
        )


def state_of(status: os.stat_result) -> bytes:
    """What changes when a file's content may have changed; a new name or mode for it does not count."""
    return b"%d %d" % (status.st_size, status.st_mtime_ns)


def status_of(path: Path, shown: str) -> os.stat_result:
    """Ask for the status of a file; called for every record, so without a context manager.

    Raises:
        SourceError: It is gone.
    """
    try:
        return os.stat(path)  # noqa: PTH116
    except OSError as exc:
        raise SourceError(shown, f"cannot be read: {exc.strerror or exc}") from exc


def trace_of(path: Path, shown: str) -> Trace:
    """Look at a file.

    Raises:
        SourceError: It is gone.
    """
    status = status_of(path, shown)
    state = state_of(status)
    return Trace(
        state=state,
        identity=b"%s %d %d" % (state, status.st_ctime_ns, status.st_ino),
        changed_s=max(status.st_mtime_ns, status.st_ctime_ns) / 1e9,
    )
