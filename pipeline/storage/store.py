"""The store of one job: rows come in, a folder of Parquet parts comes out, and nothing that was appended is lost.

    append -> journal (survives the process) -> sync (survives the machine) -> rotate -> fold -> part + manifest

Takes `Row` and `Failure` values, hands on a folder (design, section 5). Blocking; the engine calls it from threads.

Threads: `append`, `sync` and `rotate` from one thread at a time; `fold` may run in another at the same time, one fold
after the other and in the order of its generations. Everything else only while neither is running. A store on which an
operation of the disk failed is broken: it refuses everything but `abandon` and `close`, and the next `open` recovers.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa

from pipeline.clock import Clock
from pipeline.errors import OutputDamaged, OutputError, OutputUnwritable
from pipeline.keycolumns import Keys
from pipeline.records import Column, Failure, Row
from pipeline.storage.columns import FAILURE_SCHEMA
from pipeline.storage.copies import Copier, Follower, Shared
from pipeline.storage.disk import Disk
from pipeline.storage.editing import Doomed, failure_rows, remove_replaced, rewrite_without, rows_of_records
from pipeline.storage.framing import Framer, failure_frames, failure_keys_of, keys_of
from pipeline.storage.index import DoneIndex
from pipeline.storage.kept import Kept, write_kept
from pipeline.storage.layout import FAILURES, KINDS, RESULTS, Layout
from pipeline.storage.live import LiveJournals, build_index
from pipeline.storage.lock import note_waiting, remove_holder
from pipeline.storage.manifest import MAX_RUNS, ColumnEntry, JobIdentity, Manifest, plain, write_manifest
from pipeline.storage.media import write_media
from pipeline.storage.opening import Opened, open_folder
from pipeline.storage.publish import publish, write_parts
from pipeline.storage.recovery import Recovery, finish_replacements
from pipeline.storage.verify import verify_folder

JOURNAL_CAP_BYTES = 1 << 30


class Store:
    """An open output folder. Use `Store.open`; end with `close`, or `abandon` when the disk is at fault.

    Attributes:
        layout: Where things are.
        recovery: What `open` found and mended.
    """

    def __init__(self, opened: Opened, disk: Disk, clock: Clock, rows_per_part: int, journal_cap_bytes: int) -> None:
        self.layout: Layout = opened.layout
        self.recovery: Recovery = opened.recovery
        self._lock, self._manifest = opened.lock, opened.manifest
        self._disk, self._clock = disk, clock
        self._rows_per_part, self._journal_cap = rows_per_part, journal_cap_bytes
        self._journals = LiveJournals(disk, opened.layout, opened.live, opened.manifest.journal_floor)
        self._manifest_lock = threading.RLock()
        self._fold_lock = threading.RLock()
        self._broken: OutputUnwritable | None = None
        self._is_open = True
        self._framer = Framer(self._manifest.result_columns())

    @classmethod
    def open(
        cls,
        path: Path,
        *,
        job: JobIdentity,
        columns: Sequence[Column],
        rows_per_part: int,
        clock: Clock,
        disk: Disk | None = None,
        force_new: bool = False,
        journal_cap_bytes: int = JOURNAL_CAP_BYTES,
    ) -> Store:
        """Create the folder, or recover the one that is there. The manifest is durable on return.

        Args:
            path: The output folder.
            job: What the answers depend on.
            columns: All columns of a result row, in order.
            rows_per_part: Journal rows at which a part should be made.
            clock: Time, for the manifest.
            disk: The disk; tests give a faulty one.
            force_new: Move an existing output aside to ``<path>.old-<UTC time>`` and begin anew.
            journal_cap_bytes: Journal bytes at which a part should be made.

        Raises:
            OutputLocked: Another run holds it.
            JobChanged: It holds answers of a job that differs.
            OutputDamaged: What is there does not match its manifest, or a newer version wrote it.
            OutputUnwritable: The disk refuses.
            OutputError: The path is not a folder of ours.
        """
        disk = disk or Disk()
        opened = open_folder(Path(path), job, columns, clock, disk, force_new=force_new)
        return cls(opened, disk, clock, rows_per_part, journal_cap_bytes)

    def __repr__(self) -> str:
        state = "broken" if self._broken else "open" if self._is_open else "closed"
        return f"Store({str(self.layout.root)!r}, {state}, journal={self.rows_in_journal} rows)"

    @property
    def manifest(self) -> Manifest:
        """What is published, as of now."""
        return self._manifest

    @property
    def columns(self) -> tuple[Column, ...]:
        """Columns of the results, vectors with their length once an answer told it."""
        return self._manifest.result_columns()

    def count_records(self) -> tuple[int, int]:
        """Records with a result, and records that failed; in parts and journals alike."""
        with self._manifest_lock:
            live = self._journals.generations
            results = sum(generation.results for generation in live)
            failures = sum(generation.failures for generation in live)
            return results + self._manifest.n_records(RESULTS), failures + self._manifest.n_records(FAILURES)

    @property
    def rows_in_journal(self) -> int:
        """Result and failure rows that are in no part yet, those being folded included."""
        return sum(generation.rows for generation in self._journals.generations)

    @property
    def needs_fold(self) -> bool:
        """Whether what no fold is working on is enough for a part: call `rotate`, and `fold` what it returns."""
        waiting = self._journals.waiting
        rows = sum(generation.rows for generation in waiting)
        return rows >= self._rows_per_part or sum(generation.size for generation in waiting) >= self._journal_cap

    def append(self, rows: Sequence[Row], failures: Sequence[Failure]) -> None:
        """Write finished records into the journal, all with one system call. The rows of a record are one frame's.

        On return they survive the process (page cache), not yet the machine: that is `sync`. Where this raises, the
        batch as a whole counts as not appended; a part of it may still be found by the next `open`.

        Raises:
            OutputError: A value does not fit its column, or a vector has the wrong length; nothing was written.
            OutputUnwritable: The disk refuses, or the folder is no longer where it was.
        """
        with self._working():
            framer = self._framer.resolved(rows)
            frames = b"".join([*framer.results(rows), *failure_frames(failures)])
            write_media(self._disk, self.layout, rows)
            if framer is not self._framer:
                # The length of the vectors is part of what the folder is: named before a row relies on it.
                self._commit(columns=tuple(ColumnEntry.of(column) for column in framer.columns))
                self._framer = framer
            self._journals.write(frames, keys_of(rows), failure_keys_of(failures), results=len(rows))

    def sync(self) -> None:
        """Make everything appended so far durable. Cheap when nothing was appended since."""
        with self._working():
            self._journals.sync()

    def rotate(self) -> list[int]:
        """End the current journal; later appends go to a new one. Everything appended before is durable on return.

        Returns:
            Generations to hand to `fold`, once; empty when there is nothing to fold.
        """
        with self._working():
            return self._journals.rotate()

    def fold(self, generations: Sequence[int]) -> None:
        """Turn ended journals into at most one part per kind, and forget them. Memory: one row group.

        On return the parts are published, durable and named by the manifest. Cut off at any point, nothing is lost:
        until the manifest names the part the journals count, from then on the part does.

        Raises:
            OutputUnwritable: The disk refuses; the journals are still there.
            OutputDamaged: A journal is not what it was; it is still there.
        """
        if not generations:
            return
        with self._fold_lock, self._working():
            folded = self._journals.select(generations)
            journals = [self.layout.journal(generation.number) for generation in folded]
            written = write_parts(self._disk, self.layout, self._manifest, journals, self._framer.schema)
            expected = {
                RESULTS: b"".join(generation.result_keys for generation in folded),
                FAILURES: b"".join(generation.failure_keys for generation in folded),
            }
            for kind in KINDS:
                # Every record is accounted for once: what goes into the part is what was appended, in that order.
                if (written[kind].keys if kind in written else b"") != expected[kind]:
                    raise OutputDamaged(f"{self.layout.run}: a journal changed while it was folded; check the disk")
            with self._manifest_lock:
                added = {
                    kind: (*self._manifest.parts(kind), publish(self._disk, self.layout, self._manifest, kind, part))
                    for kind, part in written.items()
                }
                self._commit(**added, journal_floor=folded[-1].number + 1)
            self._journals.forget(folded)
            pa.default_memory_pool().release_unused()

    def seal(self) -> None:
        """Fold everything: on return every appended row is in a durable part, and no journal is left."""
        with self._fold_lock:
            self.rotate()
            self.fold([generation.number for generation in self._journals.generations])

    def index(self) -> DoneIndex:
        """Build the index of all settled records, parts and journals alike; a snapshot."""
        with self._manifest_lock:
            return build_index(self.layout, self._manifest, self._journals.generations)

    def drop_failures(self, *, retryable_only: bool = False) -> int:
        """Forget failure rows, so that their records are pending again. Seals first. Durable on return.

        Args:
            retryable_only: Only those that may pass another time.

        Returns:
            How many were dropped.
        """
        return self._drop(failure_rows(self.layout, retryable_only=retryable_only))

    def drop_records(self, id_keys: Keys) -> int:
        """Forget all rows of these records, results and failures. Seals first. Durable on return.

        Args:
            id_keys: Digests of the record ids, dtype S16.

        Returns:
            How many rows were dropped.
        """
        return self._drop(rows_of_records(id_keys))

    def share(self, chunks: Iterable[Sequence[Follower]]) -> Shared:
        """Copy answers, or failures, to records whose payload is already stored. Seals first; folds as it goes.

        On return the copies are appended and synced (some already folded). Memory is bounded by a chunk.

        Args:
            chunks: Followers, at most some 5,000 per chunk: (id key, payload key, columns of their own). All followers
                of a chunk override the same columns; of these a failure row takes those it has, `finished_at` as `at`.
        """
        self.seal()
        copier = Copier(self.layout, self._manifest, {RESULTS: self._framer.schema, FAILURES: FAILURE_SCHEMA})
        for chunk in chunks:
            for kind, keys, batch, n_records in copier.copies(chunk):
                with self._working():
                    self._journals.write_batch(kind, keys, batch, records=n_records)
            if self.needs_fold:
                # New parts come behind those the copier reads, which stay as they are.
                self.seal()
        self.sync()
        return copier.shared

    def keep(self, kept: Kept) -> None:
        """Lay beside the answers what the next run may use instead of working it out again; not durable.

        Raises:
            OutputUnwritable: The disk refuses. The store is as it was: no answer depends on this.
        """
        write_kept(self._disk, self.layout, kept)

    def note_waiting(self, until: datetime | None) -> None:
        """Tell those who look from outside that the run sleeps till then; None when it goes on."""
        with self._working():
            note_waiting(self._disk, self.layout, until)

    def verify(self) -> list[str]:
        """Read back every byte that is published; problems, one line each. No fold may run meanwhile."""
        return verify_folder(self.layout.root)

    def close(self, run_info: Mapping[str, object]) -> None:
        """Sync, note the run in the manifest, free the lock. Idempotent. A broken store is only abandoned.

        Args:
            run_info: What to remember of the run: run_id, started_at, finished_at, stop_reason and anything JSON holds.
        """
        if not self._is_open or self._broken:
            self.abandon()
            return
        try:
            self.sync()
            self._commit(runs=(*self._manifest.runs, plain(dict(run_info)))[-MAX_RUNS:])
            remove_holder(self._disk, self.layout)
        finally:
            self.abandon()

    def decline(self) -> None:
        """Free the lock as one who has not begun: nothing was appended, nobody was killed."""
        try:
            with contextlib.suppress(OutputUnwritable):
                remove_holder(self._disk, self.layout)
        finally:
            self.abandon()

    def abandon(self) -> None:
        """Free the lock without writing anything: what a killed process does. Idempotent."""
        self._is_open = False
        self._journals.close()
        self._lock.release()

    def _drop(self, doomed: Doomed) -> int:
        self.seal()
        with self._fold_lock, self._working():
            before = self._manifest
            lists, dropped = rewrite_without(self._disk, self.layout, before, doomed)
            if dropped:
                self._commit(**lists, taken={kind: before.next_number(kind) for kind in KINDS})
                self._manifest = finish_replacements(self._disk, self.layout, self._manifest)
                remove_replaced(self._disk, self.layout, before, self._manifest)
            return dropped

    def _commit(self, **changes: Any) -> None:  # noqa: ANN401 - fields of the manifest
        with self._manifest_lock:
            self._lock.check()
            manifest = self._manifest.model_copy(update={**changes, "updated_at": self._clock.now()})
            write_manifest(self._disk, self.layout, manifest)
            self._manifest = manifest

    @contextlib.contextmanager
    def _working(self) -> Iterator[None]:
        """Refuse a closed or broken store, and remember when the disk fails: what is on it is then unknown."""
        if self._broken is not None:
            raise OutputUnwritable(f"{self._broken} (the store stopped at this)") from self._broken
        if not self._is_open:
            raise OutputError(f"{self.layout.root}: the store is closed")
        try:
            self._lock.check()
            yield
        except OutputUnwritable as error:
            self._broken = error
            raise
