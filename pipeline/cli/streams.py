"""What a run says goes to people who may have left: a closed terminal or pipe takes nothing with it."""

from __future__ import annotations

import errno
import io
import select
import sys
from pathlib import Path
from typing import Any, Final, TextIO

from pipeline.storage.disk import unwritable

# A pipe without a reader, a terminal that was closed: nobody is left to be told.
_NOBODY_THERE: Final = frozenset({errno.EPIPE, errno.EIO})


class _Voice(io.FileIO):
    """Writes to a descriptor until that fails, then drops what is said.

    Args:
        fd: The descriptor; stays open.
        name: For the error.
        matters: A result: wait for who reads slowly, and raise where what is said cannot be kept although somebody
            wants it (a file on a full disk). Otherwise what nobody takes at once is dropped: a paused terminal must not
            hold up the run.
    """

    def __init__(self, fd: int, name: str, *, matters: bool) -> None:
        super().__init__(fd, "w", closefd=False)
        self._said_as, self._matters = name, matters
        self._is_over = False

    def write(self, data: Any, /) -> int:  # noqa: ANN401 - any buffer
        """Write, or drop.

        Raises:
            OutputUnwritable: A result that matters cannot be written.
        """
        if not self._is_over:
            try:
                while self._has_room():
                    written: int | None = super().write(data)
                    if written is not None:
                        return written
            except OSError as error:
                self._is_over = True
                if self._matters and error.errno not in _NOBODY_THERE:
                    raise unwritable(error, Path(self._said_as)) from error
        return len(data)

    def _has_room(self) -> bool:
        """Whether something can be written now; waits for it where it matters."""
        asked = select.poll()
        asked.register(self.fileno(), select.POLLOUT)
        return bool(asked.poll(None if self._matters else 0))


def outlive_readers() -> None:
    """From here on a failing stderr is silent; a failing stdout is an error of ours only where a file is behind it."""
    sys.stdout = _replaced(sys.stdout, "stdout", matters=True)
    sys.stderr = _replaced(sys.stderr, "stderr", matters=False)


def _replaced(stream: TextIO, name: str, *, matters: bool) -> TextIO:
    try:
        stream.flush()
        voice = _Voice(stream.fileno(), name, matters=matters)
    except (OSError, AttributeError):  # closed, or a double that has no descriptor
        return stream
    return io.TextIOWrapper(
        io.BufferedWriter(voice), encoding=stream.encoding, errors=stream.errors, line_buffering=True
    )
