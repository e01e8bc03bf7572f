"""Writes what happens to ``run/events.jsonl``: one JSON object a line, for `jq`, support and the morning after."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import BinaryIO, Final

import orjson

from pipeline.clock import Clock
from pipeline.events import Event

MOST_BYTES: Final = 16 * 1024 * 1024
"""Where the log is larger, a new run begins it anew and keeps the old one as ``events.jsonl.1``."""


class EventLog:
    """An `Observer` that appends to a file.

    A log that cannot be written never stops a run: what matters is in the journal, which does.

    Args:
        path: The file; its folder exists.
        run_id: Written into every line.
        clock: For the time of each line.
    """

    def __init__(self, path: Path, run_id: str, clock: Clock) -> None:
        self._run_id, self._clock = run_id, clock
        self._file: BinaryIO | None = None
        with contextlib.suppress(OSError):
            if path.exists() and path.stat().st_size > MOST_BYTES:
                path.replace(path.with_name(f"{path.name}.1"))
            self._file = path.open("ab")

    def __call__(self, event: Event) -> None:
        """Append one line."""
        if self._file is None:
            return
        line = {
            "at": self._clock.now().isoformat(timespec="milliseconds"),
            "run": self._run_id,
            "kind": event.kind,
            "message": event.message,
            **event.facts,
        }
        try:
            self._file.write(orjson.dumps(line) + b"\n")
            self._file.flush()
        except (OSError, orjson.JSONEncodeError):
            self.close()

    def close(self) -> None:
        """Close the file; idempotent."""
        file, self._file = self._file, None
        if file is not None:
            with contextlib.suppress(OSError):
                file.close()
