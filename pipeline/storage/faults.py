"""A disk that fails, tears or dies at a chosen operation: the shipped double for fault tests.

After a simulated crash every further operation crashes too, so that no cleanup code of the "dead" process can still
change the disk. What was written stays, as it does in the page cache when a process is killed.
"""

from __future__ import annotations

import errno
import os
import signal
import threading
from collections.abc import Callable
from typing import Literal

from pipeline.storage.disk import Disk, Operation, T


class SimulatedCrash(BaseException):
    """The process died here. Not an `Exception`: nothing that handles errors may handle this."""


When = Literal["before", "after", "torn"]


class FaultyDisk(Disk):
    """Counts operations from 1 and misbehaves at number `at`.

    Args:
        at: The operation to spoil; 0 for none (only count).
        when: ``before`` it takes effect, ``after``, or ``torn`` (half of a write; as ``before`` for the rest).
        error: An errno to raise instead of dying. The disk stays broken until `heal`.
        kill: Die by SIGKILL instead of by exception.
    """

    def __init__(self, at: int = 0, when: When = "before", *, error: int | None = None, kill: bool = False) -> None:
        self.at, self.when, self.error, self.kill = at, when, error, kill
        self.log: list[Operation] = []
        self._spoiled = False
        self._lock = threading.Lock()

    @property
    def count(self) -> int:
        """Operations so far."""
        return len(self.log)

    def heal(self) -> None:
        """Work again from now on: space was freed."""
        self.at, self._spoiled = 0, False

    def run(self, operation: Operation, effect: Callable[[], T]) -> T:
        """Let the operation take effect, or not."""
        with self._lock:
            if operation.name == "unlink" and self.error in (errno.ENOSPC, errno.EDQUOT):
                # Removing is what a full disk still allows.
                self.log.append(operation)
                return effect()
            if self._spoiled:
                self._misbehave(operation)
            self.log.append(operation)
            if len(self.log) != self.at:
                return effect()
            self._spoiled = True
            if self.when == "after":
                effect()
            elif self.when == "torn" and operation.tear is not None:
                operation.tear()
            self._misbehave(operation)
            raise AssertionError  # pragma: no cover

    def _misbehave(self, operation: Operation) -> None:
        if self.error is not None:
            raise OSError(self.error, os.strerror(self.error), str(operation.path))
        if self.kill:
            os.kill(os.getpid(), signal.SIGKILL)
        raise SimulatedCrash(f"{operation.name} {operation.path}")
