"""Whatever kills the process or cuts the power, and wherever: each row is there once, and every file whole."""

import contextlib
import errno
import os
import random
import shutil
import signal
import tempfile
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from pipeline.clock import SystemClock
from pipeline.errors import OutputDamaged, OutputError, OutputUnwritable
from pipeline.records import Column, Failure, File, Row, digest
from pipeline.storage import JobIdentity, Store, key_array, verify_folder
from pipeline.storage.faults import FaultyDisk, SimulatedCrash
from pipeline.storage.journal import JournalReader
from tests.support.cli import wait_for
from tests.support.figures import figure
from tests.support.powercut import MortalDisk, lay_out

COLUMNS = [Column("id", "string"), Column("embedding", "vector"), Column("neurons", "float64")]
JOB = JobIdentity("job", "embed", "model", {"params": {}}, "emulator", "http://x", True, "task: embed\n")
AT = datetime(2026, 11, 22, tzinfo=UTC)
FILES = {"p": File("p.png", b"a picture")}


def row(name, *files):
    values = {"id": name, "embedding": np.full(3, len(name), np.float32), "neurons": 0.5}
    return Row(digest(name.encode()), digest(b"payload", name.encode()), values, files)


def failure(name):
    return Failure(
        digest(name.encode()), digest(b"payload", name.encode()), name, "f", 0, "5004", 400, "bad", 1, True, AT
    )


def follower(name, of):
    return (digest(name.encode()), digest(b"payload", of.encode()), {"id": name, "neurons": 0.0, "finished_at": AT})


def open_store(path, disk=None, **options):
    return Store.open(path, job=JOB, columns=COLUMNS, rows_per_part=4, clock=SystemClock(), disk=disk, **options)


class Expected:
    """The oracle: what must be there, what was being changed at the end, and what only a cut of the power may take."""

    def __init__(self):
        self.sure = {}
        self.maybe = {}  # id -> kinds it may be under; None for nowhere
        self.unsynced = {}  # the same, since a call returned that promises to survive the machine

    @contextlib.contextmanager
    def change(self, **names):
        """While inside, these records may be in their old or in their new place."""
        for name, kind in names.items():
            self.maybe[name] = {kind, self.sure.get(name)}
            self.unsynced[name] = self.unsynced.get(name, {self.sure.get(name)}) | {kind}
        yield
        for name, kind in names.items():
            del self.maybe[name]
            self.sure[name] = kind

    @contextlib.contextmanager
    def durable(self):
        """What was changed up to here, and inside, survives the machine when this is left."""
        yield
        self.unsynced.clear()

    def after_a_kill(self):
        """Record id -> kinds it may be under."""
        return {name: {kind} for name, kind in self.sure.items()} | self.maybe

    def after_a_cut(self):
        """The same; whatever was not durable may be there or not."""
        return {name: {kind} for name, kind in self.sure.items()} | {k: set(v) for k, v in self.unsynced.items()}


def check(path, allowed):
    """What is left by a process that ended, or by a machine: whole files, each record once and where it may be."""
    # At the very moment of the crash: every published file is whole.
    for kind in ("results", "failures"):
        for file in (path / kind).glob("*") if (path / kind).is_dir() else ():
            assert file.name.startswith("part-"), file
            assert pq.ParquetFile(file).read(use_threads=False).num_rows > 0
    store = open_store(path)
    try:
        assert store.recovery.damaged_frames == 0
        found = found_in(store)
        compare(found, allowed)
        for name, _ in found:
            assert name not in FILES or (path / "media" / FILES[name].name).read_bytes() == FILES[name].content
        store.seal()
        compare(found_in(store), allowed)
        assert store.verify() == []
        assert not list((path / "run").glob("tmp-*")) + list((path / "run").glob("staged-*"))
    finally:
        store.abandon()


def compare(found, allowed):
    ids = [name for name, _ in found]
    assert len(ids) == len(set(ids)), "a record is there twice"
    kinds = dict(found)
    for name in allowed.keys() | kinds.keys():
        assert kinds.get(name) in allowed.get(name, {None}), name


def found_in(store):
    found = []
    for kind in ("results", "failures"):
        for file in sorted(store.layout.folder(kind).iterdir()):
            found += [(name, kind) for name in pq.ParquetFile(file).read(["id"], use_threads=False)["id"].to_pylist()]
    for number in store.layout.generations():
        for frame in JournalReader(store.layout.journal(number)):
            kind = "results" if frame.is_result else "failures"
            found += [(name, kind) for name in frame.batch().column("id").to_pylist()]
    return found


def scenario(path, disk, expected):
    """Everything a store can do, small."""
    store = open_store(path, disk)
    try:
        with expected.change(a="results", b="results", x="failures"):
            store.append([row("a"), row("b")], [failure("x")])
        with expected.durable():
            store.sync()
        with expected.change(c="results", y="failures"):
            store.append([row("c")], [failure("y")])
        with expected.durable():
            generations = store.rotate()
        with expected.change(d="results"):
            store.append([row("d")], [])
        store.fold(generations)
        with expected.durable(), expected.change(s="results", t="failures"):
            store.share([[follower("s", "a"), follower("t", "x")]])
        with expected.durable():
            store.seal()
        with expected.durable(), expected.change(a=None, x=None):
            store.drop_records(key_array([digest(b"a"), digest(b"x")]))
        with expected.durable(), expected.change(y=None, t=None):
            store.drop_failures()
        with expected.change(e="results"):
            store.append([row("e")], [])
        with expected.durable():
            store.close({"run_id": "1"})
    finally:
        store.abandon()
    # A second run finds a live journal and adds its own.
    store = open_store(path, disk)
    try:
        with expected.change(f="results", z="failures"):
            store.append([row("f")], [failure("z")])
        with expected.durable():
            store.seal()
        store.close({"run_id": "2"})
    finally:
        store.abandon()


def more_lives(path, disk, expected):
    """After `scenario`: what was dropped comes again, files replace files, and a life ends without a word."""
    store = open_store(path, disk)
    try:
        with expected.change(a="results", x="failures", p="results"):
            store.append([row("a"), row("p", FILES["p"])], [failure("x")])
        with expected.durable(), expected.change(b=None):
            store.drop_records(key_array([digest(b"b")]))
        with expected.change(b="failures"):
            store.append([], [failure("b")])
    finally:
        store.abandon()
    store = open_store(path, disk)
    try:
        with expected.change(g="results"):
            store.append([row("g")], [])
        with expected.durable():
            store.sync()
    finally:
        store.abandon()


@pytest.fixture
def folder(tmp_path):
    """A folder in memory where there is one: what is asked here does not depend on how slow a sync is."""
    memory = Path("/dev/shm")
    if not os.access(memory, os.W_OK):
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(dir=memory) as name:
        yield Path(name)


def operations(folder):
    disk = FaultyDisk()
    scenario(folder / "count", disk, Expected())
    return disk.log


def points(log, when):
    """Where to die. Dying after an operation is dying before the next; only writes can tear."""
    if when == "before":
        return range(1, len(log) + 1)
    if when == "after":
        return [len(log)]
    return [number for number, operation in enumerate(log, 1) if operation.tear is not None]


@pytest.mark.parametrize("when", ["before", "after", "torn"])
def test_a_crash_at_any_operation_loses_and_doubles_nothing(folder, when):
    """Exhaustive: for each operation of the scenario, die before it, after it, or in the middle of a write."""
    log = operations(folder)
    assert len(log) > 100
    for at in points(log, when):
        expected = Expected()
        disk = FaultyDisk(at, when)
        with pytest.raises(SimulatedCrash):
            scenario(folder / str(at), disk, expected)
        try:
            check(folder / str(at), expected.after_a_kill())
        except BaseException as error:
            error.add_note(f"crash {when} operation {at}: {disk.log[-1].name} {disk.log[-1].path}")
            raise


@pytest.mark.slow
@pytest.mark.parametrize("thorough", [False, pytest.param(True, marks=[pytest.mark.torture, pytest.mark.timeout(900)])])
def test_a_power_cut_at_any_operation_loses_nothing_durable(folder, thorough):
    """Exhaustive: after each operation, in every state that POSIX lets a disk be in, all that was promised is there.

    What was not synced is missing, torn or zeros, and names whose folder was not synced came through or did not.
    """
    expected, tried, moments = Expected(), set(), []

    def looked(disk, operation):
        allowed = expected.after_a_cut()
        for state in disk.states(thorough=thorough):
            key = str(sorted(state.items())), str(sorted(allowed.items(), key=str))
            if key in tried:
                continue
            tried.add(key)
            path = folder / f"cut-{len(tried)}"
            lay_out(state, path)
            try:
                check(path / "out", allowed)
            except BaseException as error:
                error.add_note(f"power cut at operation {len(moments)}: {operation.name} {operation.path}: {[*state]}")
                raise
            shutil.rmtree(path)
        moments.append(operation)

    root = folder / "disk"
    root.mkdir()
    disk = MortalDisk(root, looked)
    scenario(root / "out", disk, expected)
    more_lives(root / "out", disk, expected)
    looked(disk, moments[-1])
    assert len(moments) > 100
    figure("power_cut_states", operations=len(moments), states=len(tried), thorough=thorough)


@pytest.mark.parametrize(
    ("code", "words", "when", "needed"),
    [
        (errno.ENOSPC, "disk full", "torn", {"mkdir", "create", "write", "rename"}),
        (errno.EIO, "input/output", "torn", {"fsync", "fdatasync", "dirsync"}),
        # a server that has done what it says it could not do
        (errno.ENOENT, "cannot be written: No such file", "after", {"rename", "unlink", "create"}),
    ],
)
def test_a_failing_operation_is_named_and_the_next_open_loses_nothing(folder, code, words, when, needed):
    """No space for any operation that needs it, or a sync that fails: said so, and once healed all is there."""
    for at, operation in enumerate(operations(folder), 1):
        if operation.name not in needed:
            continue
        expected = Expected()
        disk = FaultyDisk(at, when, error=code)
        path = folder / str(at)
        with pytest.raises(OutputUnwritable, match=words) as caught:
            scenario(path, disk, expected)
        assert caught.value.exit_code == 14
        try:
            check(path, expected.after_a_kill())
        except BaseException as error:
            error.add_note(f"{words} at operation {at}: {disk.log[-1].name} {disk.log[-1].path}")
            raise


def test_nothing_is_pointed_to_before_it_is_synced(folder):
    """P2, the order that a power cut asks for: content, its name, the manifest, and then what goes."""
    dirty, unnamed = set(), set()  # files with content, and folders with names, that a power cut would take
    for operation in operations(folder):
        name, path = operation.name, operation.path
        where = f"{name} {path}"
        if name == "rename":
            assert not {file for file in dirty if file.suffix != ".wal"}, where
            assert path.name != "manifest.json" or not unnamed, where
        if name == "unlink":
            assert not unnamed, where
        match name:
            case "create" | "write":
                dirty.add(path)
            case "fsync" | "fdatasync":
                dirty.discard(path)
            case "rename":
                unnamed.add(path.parent)
            case "dirsync":
                unnamed.discard(path)
    assert not dirty | unnamed


def test_a_journal_is_synced_when_the_store_is(tmp_path):
    """And not again where nothing came; the end of a generation syncs what came since."""
    disk = FaultyDisk()
    store = open_store(tmp_path / "out", disk)
    for end in (store.sync, store.rotate):
        store.append([row(end.__name__)], [])
        assert disk.log[-1].name == "write"
        count = disk.count
        end()
        assert [(operation.name, operation.path.suffix) for operation in disk.log[count:]] == [("fdatasync", ".wal")]
    store.abandon()


def test_a_journal_that_is_another_when_it_is_folded_makes_no_part(tmp_path):
    """What goes into a part is what was appended; else nothing is published and the journal stays."""
    store = open_store(tmp_path / "out")
    store.append([row("a")], [failure("x")])
    store.append([row("b")], [])
    generations = store.rotate()
    journal = store.layout.journal(generations[0])
    whole = journal.read_bytes()
    journal.write_bytes(whole[:-1])  # the frame of "b" is torn
    with pytest.raises(OutputDamaged, match="a journal changed while it was folded"):
        store.fold(generations)
    assert store.manifest.results == store.manifest.failures == ()
    assert not list(store.layout.folder("results").iterdir())
    journal.write_bytes(whole)
    store.seal()
    assert sorted(found_in(store)) == [("a", "results"), ("b", "results"), ("x", "failures")]
    store.abandon()


@pytest.mark.parametrize("name", ["", ".", "..", "../out", "a/b", "/tmp/x", "a\0b"])
def test_a_file_of_a_row_stays_in_its_folder(tmp_path, name):
    """A name that leads elsewhere is refused before anything of the row is written."""
    disk = FaultyDisk()
    store = open_store(tmp_path / "out", disk)
    count = disk.count
    with pytest.raises(OutputError, match="is not a file name"):
        store.append([replace(row("a"), files=(File(name, b"x"),))], [])
    assert disk.count == count
    assert store.rows_in_journal == 0
    store.abandon()


def test_a_start_after_one_that_was_killed_syncs_every_folder(tmp_path):
    """That one may have made them all, and synced none of their names."""
    path = tmp_path / "out"
    for name in ("run/index", "results", "failures", "media"):
        (path / name).mkdir(parents=True)
    disk = FaultyDisk()
    open_store(path, disk).abandon()
    named = next(at for at, operation in enumerate(disk.log) if operation.path.name == "manifest.json")
    synced = {operation.path for operation in disk.log[:named] if operation.name == "dirsync"}
    assert {tmp_path, path, path / "run"} <= synced


def test_a_crash_while_the_old_output_is_moved_aside_loses_nothing(folder):
    """At every operation of `--force-new`: the old rows are where they were, or aside, and the way goes on."""
    counting = FaultyDisk()
    for at in range(1 << 10):
        path = folder / f"{at}.d" / "out"
        path.parent.mkdir()
        store = open_store(path)
        store.append([row("a")], [])
        store.seal()
        store.abandon()
        disk = FaultyDisk(at) if at else counting
        with contextlib.suppress(SimulatedCrash):
            open_store(path, disk, force_new=True).abandon()
        store = open_store(path)
        outputs = [path, *path.parent.glob("out.old-*")]
        assert sum(len(list((output / "results").glob("*"))) for output in outputs) == 1
        assert [verify_folder(output) for output in outputs] == [[]] * len(outputs)
        store.abandon()
        if at == counting.count:
            break
    assert at > 20


def test_a_store_whose_disk_failed_refuses_to_go_on(tmp_path):
    """A failed fsync is never retried: a second one that succeeds would prove nothing."""
    disk = FaultyDisk()
    store = open_store(tmp_path / "out", disk)
    store.append([row("a")], [])
    disk.at, disk.error = disk.count + 1, errno.EIO
    with pytest.raises(OutputUnwritable):
        store.sync()
    disk.heal()
    count = disk.count
    for use in (store.sync, store.seal, store.rotate, lambda: store.append([row("b")], [])):
        with pytest.raises(OutputUnwritable, match="stopped at this"):
            use()
    assert disk.count == count
    assert "broken" in repr(store)
    store.close({})
    with contextlib.closing(FreshStore(tmp_path / "out")) as fresh:
        assert fresh.store.rows_in_journal == 1


class FreshStore:
    def __init__(self, path):
        self.store = open_store(path)

    def close(self):
        self.store.abandon()


def test_sigkill_at_random_moments_keeps_every_acknowledged_append(folder):
    """A forked child appends, folds and drops until SIGKILL; what it acknowledged before is there, once."""
    path = folder / "out"
    acknowledged = folder / "acknowledged"
    acknowledged.touch()
    seed = random.Random(7)
    for life in range(10):
        child = os.fork()
        if child == 0:
            live_until_killed(path, acknowledged, life)
        wanted = acknowledged.read_bytes().count(b"\n") + seed.randint(1, 40)
        wait_for(lambda wanted=wanted: acknowledged.read_bytes().count(b"\n") >= wanted, what="appends", pause_s=0.001)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        store = open_store(path)
        ids = [name for name, _ in found_in(store)]
        store.abandon()
        assert len(ids) == len(set(ids))
        lost = set(acknowledged.read_text().split()) - set(ids)
        assert not lost, f"life {life}"
    assert len(ids) > 100


def live_until_killed(path, acknowledged, life):
    try:
        signal.alarm(20)  # never outlives a test that fails
        log = os.open(acknowledged, os.O_WRONLY | os.O_APPEND)
        store = open_store(path)
        for i in range(1_000_000):
            name = f"{life}-{i}"
            store.append([row(name)], [])
            os.write(log, f"{name}\n".encode())
            if i % 10 == 9:
                store.fold(store.rotate())
    finally:
        os._exit(1)


def test_sigkill_between_two_operations_frees_the_lock_and_keeps_the_rows(folder):
    """A real SIGKILL at a few chosen operations, rather than an exception that stands for one."""
    total = len(operations(folder))
    for at in random.Random(3).sample(range(1, total + 1), 8):
        path = folder / f"kill-{at}"
        child = os.fork()
        if child == 0:
            try:
                scenario(path, FaultyDisk(at, "after", kill=True), Expected())
            finally:
                os._exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
        expected = Expected()
        with contextlib.suppress(SimulatedCrash):
            scenario(folder / f"model-{at}", FaultyDisk(at, "after"), expected)
        check(path, expected.after_a_kill())
