"""Answers to pieces, kept so that none is paid for twice: those of unfinished records, and those that may serve again.

Two SQLite files of the same form. The job's own lies in its output folder, and goes when every record has its row: a
crash in hour 18 of a recording finds 17 hours here, and so does another try of one that failed in its last hour. The
shared one lies beside the ledger and serves every job whose answers depend on the same things: a grown dataset pays for
what is new.

What is in the job's own file was paid for: where it cannot be read the run does not begin, and where an answer cannot
be kept it ends. The shared file is a cache: where it fails, for whatever reason, the run goes on without it.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Iterator, Sequence

from pipeline.errors import OutputDamaged, OutputError
from pipeline.interfaces import Remembered
from pipeline.storage.answers import AnswerFile, Kept
from pipeline.threads import in_thread


class PieceMemory:
    """The memory of one run; implements `interfaces.Memory`.

    Args:
        own: Of the job.
        shared: Of all jobs; None where its answers are not to serve again.
        model: The job's: what another one has said in its place serves this job only.
        tell: Told, once and in whatever thread, that the shared one is left out from now on.
    """

    def __init__(
        self,
        own: AnswerFile,
        shared: AnswerFile | None = None,
        *,
        model: str = "",
        tell: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._own, self._shared, self._model, self._tell = own, shared, model, tell
        self._pending: list[tuple[bytes, Remembered]] = []
        self._turn = asyncio.Lock()
        self._lock = threading.Lock()

    def recall(self, keys: Sequence[bytes]) -> dict[bytes, Remembered]:
        """First the job's own, then what other jobs have paid for: that costs this one nothing.

        Raises:
            OutputDamaged: The job's own file is damaged.
            OutputUnwritable: The disk refuses it.
        """
        with self._lock:
            known = self._own.recall(keys)
            missing = [key for key in keys if key not in known]
            if self._shared is not None and missing:
                with self._doing_without(self._shared):
                    for key, answer in self._shared.recall(missing).items():
                        if answer.model == self._model:
                            known[key] = Remembered(answer.value, 0.0, answer.model, answer.endpoint)
        return known

    async def keep(self, answers: Kept) -> None:
        """Keep answers; what arrives while a batch is being written is written with the next.

        Raises:
            OutputDamaged: The job's own file is damaged.
            OutputUnwritable: The disk refuses it.
        """
        self._pending += answers
        async with self._turn:
            batch, self._pending = self._pending, []
            if batch:
                await in_thread(lambda: self._write(batch))

    def close(self, *, done: bool) -> None:
        """Close the files. Where all is done, the job's own answers have served: they are removed."""
        if done:
            self._own.remove()
        self._own.close()
        if self._shared is not None:
            self._shared.close()

    def _write(self, batch: Kept) -> None:
        with self._lock:
            self._own.keep(batch)
            if self._shared is not None and (own := [each for each in batch if each[1].model == self._model]):
                with self._doing_without(self._shared):
                    self._shared.keep(own)

    @contextlib.contextmanager
    def _doing_without(self, shared: AnswerFile) -> Iterator[None]:
        """Go on without the shared file where it fails: it saves money, and no answer depends on it."""
        try:
            yield
        except OutputError as error:
            self._shared = None
            aside = shared.set_aside() if isinstance(error, OutputDamaged) else None
            shared.close()
            where = f"; it is now {aside}, and the next run begins a new one" if aside else ""
            self._tell(f"the cache of answers is left out for the rest of this run: {error}{where}")
