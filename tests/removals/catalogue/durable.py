"""What was answered stays, and is not paid for again: P2, and a disk that fails."""

from tests.removals.removal import Removal

_SINK = "tests/unit/test_sink.py"
_DISK = "tests/unit/test_storage_disk.py"
_CRASH = "tests/fault/test_storage_crash.py"
_ORDER = f"{_CRASH}::test_nothing_is_pointed_to_before_it_is_synced"

DURABLE = (
    Removal(
        name="a record is done before it is in the journal",
        promise="P2",
        path="pipeline/sink.py",
        before="        await asyncio.shield(batch.written)\n",
        after="        await asyncio.sleep(0)\n",
        tests=(f"{_SINK}::test_put_returns_once_the_rows_are_written",),
    ),
    Removal(
        name="twice as many requests are unsecured",
        promise="P2",
        path="pipeline/limits.py",
        before="self.unsecured < self._bound.ceiling",
        after="self.unsecured < 2 * self._bound.ceiling",
        tests=("tests/unit/test_engine.py::test_what_is_sent_and_not_yet_written_is_bounded",),
    ),
    Removal(
        name="a slot is free before the journal has the rows",
        promise="P2",
        path="pipeline/engine.py",
        before="            lane = way.lane\n"
        "            await self._ends.answered(Answered(fitted, delivered, attempt, lane.model, lane.name))\n",
        after="        lane = way.lane\n"
        "        await self._ends.answered(Answered(fitted, delivered, attempt, lane.model, lane.name))\n",
        tests=("tests/unit/test_engine.py::test_what_is_sent_and_not_yet_written_is_bounded",),
    ),
    Removal(
        name="a cancelled put is not written",
        promise="P2",
        path="pipeline/sink.py",
        before="await asyncio.shield(batch.written)",
        after="await batch.written",
        tests=(f"{_SINK}::test_a_put_that_is_cancelled_is_written_all_the_same",),
    ),
    Removal(
        name="a sync comes later than it is promised",
        promise="P2",
        path="pipeline/sink.py",
        before="        self._seconds = seconds\n",
        after="        self._seconds = 10 * seconds\n",
        tests=(f"{_SINK}::test_a_sync_follows_within_half_of_the_promised_time",),
    ),
    Removal(
        name="rows come too late for their sync under load",
        promise="P2",
        path="pipeline/sink.py",
        before="        if self._unsynced_since is None:\n            self._unsynced_since = self._clock.monotonic()\n",
        after="        self._unsynced_since = self._clock.monotonic()\n",
        tests=(f"{_SINK}::test_under_load_no_row_waits_longer_for_its_sync",),
    ),
    Removal(
        name="fsync is a no-op",
        promise="P2",
        path="pipeline/storage/disk.py",
        before='self._do("fsync", path, lambda: os.fsync(fd))',
        after='self._do("fsync", path, lambda: None)',
        tests=(f"{_DISK}::test_a_sync_reaches_the_system",),
    ),
    Removal(
        name="fdatasync is a no-op",
        promise="P2",
        path="pipeline/storage/disk.py",
        before='self._do("fdatasync", path, lambda: os.fdatasync(fd))',
        after='self._do("fdatasync", path, lambda: None)',
        tests=(f"{_DISK}::test_a_sync_reaches_the_system",),
    ),
    Removal(
        name="a sync of a folder is a no-op",
        promise="P2",
        path="pipeline/storage/disk.py",
        before="    try:\n        os.fsync(fd)\n    finally:\n",
        after="    try:\n        os.fstat(fd)\n    finally:\n",
        tests=(f"{_DISK}::test_a_sync_reaches_the_system",),
    ),
    Removal(
        name="the sync of a journal forgets the disk",
        promise="P2",
        path="pipeline/storage/journal.py",
        before="            self._disk.fdatasync(self._fd, self.path)\n",
        after="",
        tests=(f"{_CRASH}::test_a_journal_is_synced_when_the_store_is",),
    ),
    Removal(
        name="a part is named before its content is synced",
        promise="P2",
        path="pipeline/storage/parts.py",
        before="        self._disk.fsync(self._fd, self._path)\n",
        after="",
        tests=(_ORDER,),
    ),
    Removal(
        name="the manifest names a part whose name is not synced",
        promise="P2",
        path="pipeline/storage/publish.py",
        before="    disk.dirsync(layout.folder(kind))\n",
        after="",
        tests=(_ORDER,),
    ),
    Removal(
        name="small files are renamed before they are synced",
        promise="P2",
        path="pipeline/storage/atomic.py",
        before="        disk.fsync(fd, path)\n",
        after="",
        tests=(_ORDER,),
    ),
    Removal(
        name="journals go before the new manifest is synced",
        promise="P2",
        path="pipeline/storage/atomic.py",
        before="    disk.dirsync(target.parent)\n",
        after="",
        tests=(_ORDER,),
    ),
    Removal(
        name="a store goes on after a disk that failed",
        promise="machine",
        path="pipeline/storage/store.py",
        before="            self._broken = error\n            raise\n",
        after="            raise\n",
        tests=(f"{_CRASH}::test_a_store_whose_disk_failed_refuses_to_go_on",),
    ),
    Removal(
        name="a full disk is not told as one",
        promise="machine",
        path="pipeline/storage/disk.py",
        before="    errno.ENOSPC: ",
        after="    errno.ENOTTY: ",
        tests=(f"{_CRASH}::test_a_failing_operation_is_named_and_the_next_open_loses_nothing[28-disk full]",),
    ),
    Removal(
        name="a sync that fails is swallowed",
        promise="machine",
        path="pipeline/storage/disk.py",
        before="        except OSError as error:\n            raise unwritable(error, path) from error\n",
        after="        except OSError as error:\n"
        '            if "sync" in name:\n                return None\n'
        "            raise unwritable(error, path) from error\n",
        tests=(
            f"{_DISK}::test_a_sync_reaches_the_system",
            f"{_CRASH}::test_a_store_whose_disk_failed_refuses_to_go_on",
        ),
    ),
    Removal(
        name="the run does not hear that the store has failed",
        promise="machine",
        path="pipeline/sink.py",
        before="        if self._failure is not None:\n            raise self._failure\n",
        after="",
        tests=(f"{_SINK}::test_a_failing_store_reaches_every_put_and_ends_the_run",),
    ),
    Removal(
        name="answers to pieces are not kept",
        promise="P2",
        path="pipeline/completion.py",
        before="        if self.memory is None or answer.is_fallback or not self.may_know(answer.request.pieces):",
        after="        if self.memory is not answer:",
        tests=("tests/e2e/test_piece_memory.py::test_a_kill_in_the_middle_of_a_document_pays_no_finished_piece_again",),
    ),
    Removal(
        name="answers to pieces are not looked for",
        promise="P2",
        path="pipeline/completion.py",
        before="            known = await self._recall([piece.payload_key for piece in claimed])",
        after="            known = await self._recall([])",
        tests=(
            "tests/unit/test_completion.py::test_pieces_that_were_answered_before_are_not_sent_again_and_keep_their_price",
        ),
    ),
    Removal(
        name="answers to pieces are not synced",
        promise="P2",
        path="pipeline/storage/memory.py",
        before='"PRAGMA synchronous=FULL"',
        after='"PRAGMA synchronous=OFF"',
        tests=("tests/unit/test_storage_memory.py::test_each_batch_is_synced",),
    ),
    Removal(
        name="a piece counts as done before its answer is kept",
        promise="P2",
        path="pipeline/storage/memory.py",
        before="        async with self._turn:\n            batch, self._pending = self._pending, []\n"
        "            if batch:\n                await in_thread(lambda: self._write(batch))\n",
        after="        if len(self._pending) > 10_000:\n            batch, self._pending = self._pending, []\n"
        "            await in_thread(lambda: self._write(batch))\n",
        tests=("tests/e2e/test_piece_memory.py::test_a_kill_in_the_middle_of_a_document_pays_no_finished_piece_again",),
    ),
    Removal(
        name="an intent to queue is not written down",
        promise="P2",
        path="pipeline/queueing.py",
        before="        await in_thread(lambda: self._notes.add(intent=references))\n",
        after="",
        tests=("tests/e2e/test_queue.py::test_a_job_goes_through_the_queue",),
    ),
    Removal(
        name="a receipt of the queue is not written down",
        promise="P2",
        path="pipeline/queueing.py",
        before="        await in_thread(lambda: self._notes.add(queued=request_id, references=references))\n",
        after="",
        tests=("tests/e2e/test_queue.py::test_a_job_goes_through_the_queue",),
    ),
    Removal(
        name="what an earlier run has queued is not asked for",
        promise="P2",
        path="pipeline/queueing.py",
        before="        await self._collect_what_was_left()\n",
        after="",
        tests=("tests/e2e/test_queue.py::test_what_a_killed_run_has_queued_is_collected_by_the_next",),
    ),
)
