"""A folder that others change: moved or removed under a run, put back in parts, read while it is written."""

import contextlib
import errno
import fcntl
import gc
import os
import shutil
import threading
from datetime import UTC, datetime
from pathlib import Path

import pytest
from filelock import FileLock

from pipeline.errors import OutputDamaged, OutputError, OutputLocked, OutputUnusable, OutputUnwritable
from pipeline.interfaces import Remembered
from pipeline.records import Column, Failure, Row, digest
from pipeline.storage import AnswerFile, Layout, key_array, read_state, verify_folder
from pipeline.storage import journal as journal_room
from pipeline.storage import opening as opening_room
from pipeline.storage import verify as verify_room
from pipeline.storage.faults import FaultyDisk
from pipeline.storage.lock import OutputLock, is_held
from tests.support.stores import job

AT = datetime(2026, 11, 22, 12, tzinfo=UTC)
COLUMNS = (Column("id", "string"),)


def row(name):
    return Row(digest(name.encode()), digest(b"p", name.encode()), {"id": name})


def contents(folder):
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def move(folder, opened):
    folder.rename(folder.with_name("moved"))


def remove(folder, opened):
    shutil.rmtree(folder)


def replace(folder, opened):
    """What `--force-new` of another machine, or a person, may do: another run writes there now."""
    move(folder, opened)
    opened().append([row("theirs")], [])


def unlock(folder, opened):
    (folder / "run" / "lock").unlink()


USES = {
    "append": lambda store: store.append([row("b")], []),
    "sync": lambda store: store.sync(),
    "rotate": lambda store: store.rotate(),
    "seal": lambda store: store.seal(),
    "close": lambda store: store.close({}),
}


@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize("change", [move, remove, replace, unlock])
def test_a_folder_that_is_gone_is_noticed_at_once(opened, folder, change, use):
    """Nothing is paid for that would be lost, and nothing is written into what another run has begun there."""
    store = opened()
    store.append([row("a")], [])
    change(folder, opened)
    before = contents(folder)
    with pytest.raises(OutputUnwritable, match="moved, removed or replaced"):
        USES[use](store)
    store.abandon()
    assert contents(folder) == before
    moved = folder.with_name("moved")
    if moved.exists():
        assert opened(moved).index().n_results == 1


def test_a_folder_that_is_replaced_at_the_last_moment(opened, folder, monkeypatch):
    """Between the last sync and the last manifest: that of the other run is not overwritten."""
    store = opened()
    store.append([row("a")], [])
    monkeypatch.setattr(store, "sync", lambda: replace(folder, opened))
    with pytest.raises(OutputUnwritable, match="moved, removed or replaced"):
        store.close({"run_id": "ours"})
    monkeypatch.undo()
    state = read_state(folder)
    assert (state.results, state.manifest.runs) == (1, ())


def test_what_others_put_there_before_the_lock_was_ours(opened, folder, monkeypatch):
    """The place is looked at again once nobody else can change it."""

    class Late(OutputLock):
        def __init__(self, layout):
            (layout.root / "thesis.txt").touch()
            super().__init__(layout)

    monkeypatch.setattr(opening_room, "OutputLock", Late)
    with pytest.raises(OutputUnusable, match="holds files that are not ours"):
        opened()
    assert not (folder / "run" / "manifest.json").exists()


def test_a_store_that_is_declined_is_free_and_was_not_killed(opened, folder):
    """No note is left behind, and the lock is another's to take."""
    store = opened()
    assert read_state(folder).holder["pid"] == os.getpid()
    store.decline()
    assert read_state(folder).holder is None
    opened()


def test_a_journal_that_changes_before_it_is_folded(opened, folder):
    """What was appended is what goes into the part, or nothing goes."""
    store = opened()
    store.append([row("a")], [])
    store.append([row("b")], [])
    numbers = store.rotate()
    (journal,) = (folder / "run").glob("journal-*")
    data = journal.read_bytes()
    journal.write_bytes(data[:40] + bytes([data[40] ^ 1]) + data[41:])
    with pytest.raises(OutputDamaged, match="a journal changed while it was folded"):
        store.fold(numbers)
    assert not list((folder / "results").iterdir())
    assert journal.exists()


def test_a_lock_that_was_moved_away_while_it_was_waited_for_is_none(opened, folder, monkeypatch):
    """`--force-new` moves the folder between our opening of the lock and our holding it: we hold another folder's."""
    opened().abandon()
    acquire, taken = FileLock.acquire, []

    def late(self, *args, **options):
        result = acquire(self, *args, **options)
        if not taken:
            taken.append(self)
            move(folder, opened)
            opened()
        return result

    monkeypatch.setattr(FileLock, "acquire", late)
    with pytest.raises(OutputLocked, match=f"in use by process {os.getpid()}"):
        OutputLock(Layout(folder))
    monkeypatch.undo()
    opened(folder.with_name("moved"))  # whose lock was given back


def test_a_lock_that_cannot_be_taken_or_told(opened, folder, monkeypatch):
    """No file where the lock belongs; a file system without locks is one that nobody holds."""
    opened().abandon()
    lock = folder / "run" / "lock"
    lock.unlink()
    lock.mkdir()
    with pytest.raises(OutputUnwritable, match="run/lock: cannot be written: Is a directory"):
        opened()
    lock.rmdir()
    opened()
    assert is_held(lock)

    def no_locks(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", no_locks)
    assert not is_held(lock)


@pytest.mark.parametrize("use", [use for use in USES if use != "close"])
def test_a_store_that_was_closed_is_not_used_on(opened, folder, use):
    """Its lock is another's by now."""
    store = opened()
    store.append([row("a")], [])
    store.close({"run_id": "1"})
    store.close({"run_id": "2"})
    before = contents(folder)
    with pytest.raises(OutputError, match="the store is closed"):
        USES[use](store)
    assert contents(folder) == before
    assert [run["run_id"] for run in store.manifest.runs] == ["1"]


def test_a_store_may_be_closed_in_another_thread(opened, folder):
    """As a run does, which opens it in a thread."""
    stores = []
    thread = threading.Thread(target=lambda: stores.append(opened()))
    thread.start()
    thread.join()
    stores[0].close({})
    assert not is_held(folder / "run" / "lock")


def test_no_descriptor_is_left_open(opened, folder):
    """After all that a store does, and after all that fails."""
    opened().close({})
    gc.collect()
    before = len(list(Path("/proc/self/fd").iterdir()))
    store = opened()
    for name in "ab":
        store.append([row(name)], [])
        store.seal()
    store.drop_records(key_array([digest(b"a")]))
    store.share([[(digest(b"c"), digest(b"p", b"b"), {"id": "c"})]])
    pieces = AnswerFile(store.layout.pieces)
    pieces.keep([(b"k", Remembered("an answer", 1.0, "m", "e"))])
    pieces.close()
    read_state(folder)
    verify_folder(folder)
    store.close({})
    for at in range(1, 40):
        with contextlib.suppress(OutputUnwritable):
            store = opened(disk=FaultyDisk(at, error=errno.EIO))
            store.append([row("x")], [])
            store.seal()
        store.abandon()
    gc.collect()
    assert len(list(Path("/proc/self/fd").iterdir())) == before


@pytest.mark.parametrize("has_journal", [True, False])
def test_a_manifest_that_is_older_than_the_parts_loses_none_of_them(opened, folder, has_journal):
    """Restored from last night's copy, it does not know today's part: refused, nothing swept; the newer one helps."""
    manifest = folder / "run" / "manifest.json"
    for name in "ab":
        store = opened()
        store.append([row(name)], [])
        store.seal()
        store.close({})
        if name == "a":
            old = manifest.read_bytes()
    if has_journal:
        store = opened()
        store.append([row("c")], [])
        store.close({})
    new = manifest.read_bytes()
    manifest.write_bytes(old)
    with pytest.raises(OutputDamaged, match=r"part-00001\.parquet: the manifest is older than this part"):
        opened()
    assert any("part-00001.parquet: the manifest is older" in problem for problem in verify_folder(folder))
    manifest.write_bytes(new)
    assert opened().index().n_results == 2 + has_journal
    assert verify_folder(folder) == []


def test_a_journal_that_is_missing_is_told(opened, folder):
    """Its rows were paid for: they are not asked again in silence."""
    store = opened()
    for name in "abc":
        store.append([row(name)], [])
        store.rotate()
    store.close({})
    (folder / "run" / "journal-000001.wal").rename(folder / "aside")
    with pytest.raises(OutputDamaged, match=r"journal-000001\.wal: missing; restore it"):
        opened()
    assert [problem for problem in verify_folder(folder) if "journal-000001.wal: missing" in problem]
    (folder / "aside").rename(folder / "run" / "journal-000001.wal")
    assert opened().index().n_results == 3


def test_another_job_goes_on_counting(opened, folder):
    """Where no row is left, a job that differs begins in place, and sweeps what a kill left of the rows that went."""
    store = opened()
    store.append([], [Failure(digest(b"f"), digest(b"p"), "f", "f", 0, "5004", None, "bad", 1, True, AT)])
    store.seal()
    part = folder / "failures" / "part-00000.parquet"
    left = part.read_bytes()
    store.drop_failures()
    store.append([row("a")], [])
    store.drop_records(key_array([digest(b"a")]))
    store.rotate()
    store.close({})
    part.write_bytes(left)
    store = opened(job=job(model="@cf/n"))
    assert store.recovery.swept == ("failures/part-00000.parquet",)
    store.append([row("b")], [])
    store.close({})
    assert opened(job=job(model="@cf/n")).index().n_results == 1
    assert verify_folder(folder) == []


def test_a_folder_is_verified_while_a_run_folds(opened, folder, monkeypatch):
    """What moves from a journal to a part meanwhile is neither there twice nor gone."""
    store, read = opened(), verify_room.read_manifest
    store.append([row("a"), row("b")], [])
    store.seal()
    store.append([row("c")], [])

    def folding(layout):
        store.seal()
        store.append([row("d")], [])
        return read(layout)

    monkeypatch.setattr(verify_room, "read_manifest", folding)
    assert verify_folder(folder) == []


def test_a_disk_that_cannot_be_read_is_told_as_such(opened, folder, monkeypatch):
    """An input/output error on the way (of the journal, of anything else in run/) names the file."""
    store = opened()
    store.append([row("a")], [])
    store.close({})
    yaml = folder / "run" / "job.yaml"
    text = yaml.read_bytes()
    yaml.unlink()
    yaml.symlink_to("/proc/self/mem")  # a file whose first byte is EIO
    with pytest.raises(OutputDamaged, match="cannot be read: Input/output error"):
        opened()
    yaml.unlink()
    yaml.write_bytes(text)

    def failing(*_):
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patched:
        patched.setattr(journal_room, "_frame_at", failing)
        patched.setattr(journal_room, "_counted", failing)
        for use in (opened, lambda: read_state(folder)):
            with pytest.raises(OutputDamaged, match=r"journal-000000\.wal: cannot be read: Input/output error"):
                use()
        assert "Input/output error" in verify_folder(folder)[0]
    assert opened().index().n_results == 1
