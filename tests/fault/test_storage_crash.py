"""Whatever kills the process, and wherever: what was appended is there once, and no unfinished file is ever seen."""

import contextlib
import errno
import os
import random
import shutil
import signal
import time
from datetime import UTC, datetime

import numpy as np
import pyarrow.parquet as pq
import pytest

from pipeline.clock import SystemClock
from pipeline.errors import OutputUnwritable
from pipeline.records import Column, Failure, File, Row, digest
from pipeline.storage import JobIdentity, Store, key_array, read_index, read_state, verify_folder
from pipeline.storage.faults import FaultyDisk, SimulatedCrash
from pipeline.storage.journal import JournalReader
from tests.support.powercut import RecordingDisk
from tests.support.stores import in_memory

COLUMNS = [Column("id", "string"), Column("embedding", "vector"), Column("neurons", "float64")]
JOB = JobIdentity("job", "embed", "model", {"params": {}}, "emulator", "http://x", True, "task: embed\n")
AT = datetime(2026, 11, 22, tzinfo=UTC)


def row(name, *, media=()):
    values = {"id": name, "embedding": np.full(3, len(name), np.float32), "neurons": 0.5}
    files = [File(each, each.encode() * 99) for each in media]
    return Row(digest(name.encode()), digest(b"payload", name.encode()), values, files=files)


def failure(name):
    return Failure(
        digest(name.encode()), digest(b"payload", name.encode()), name, "f", 0, "5004", 400, "bad", 1, True, AT
    )


def follower(name, of):
    return (digest(name.encode()), digest(b"payload", of.encode()), {"id": name, "neurons": 0.0, "finished_at": AT})


def open_store(path, disk=None, **options):
    return Store.open(path, job=JOB, columns=COLUMNS, rows_per_part=4, clock=SystemClock(), disk=disk, **options)


class Expected:
    """The oracle: what must be there, and what was being changed when the process died."""

    is_counted = True

    def __init__(self):
        self.sure = {}
        self.maybe = {}  # id -> kinds it may be under; None for nowhere

    @contextlib.contextmanager
    def change(self, **names):
        """While inside, these records may be in their old or in their new place."""
        for name, kind in names.items():
            self.maybe[name] = {kind, self.sure.get(name)}
        yield
        for name, kind in names.items():
            del self.maybe[name]
            self.sure[name] = kind

    def synced(self):
        """What was changed so far survives a power cut as well."""

    def check(self, path):
        # At the very moment of the crash: every published file is whole, and nothing looks damaged.
        if (path / "run" / "manifest.json").exists():
            assert verify_folder(path) == []
            index, state = read_index(path), read_state(path)
            seen = (index.n_results, index.n_failures)
            assert not self.is_counted or seen == (state.results, state.failures)
        else:
            seen = (0, 0)
        for kind in ("results", "failures"):
            for file in (path / kind).glob("*") if (path / kind).is_dir() else ():
                assert file.name.startswith("part-"), file
                assert pq.ParquetFile(file).read(use_threads=False).num_rows > 0
        store = open_store(path)
        self.media = store.layout.media
        try:
            assert store.recovery.damaged_frames == 0
            assert store.count_records() == seen
            self.compare(found_in(store))
            store.seal()
            self.compare(found_in(store))
            assert store.verify() == []
            assert not list((path / "run").glob("tmp-*")) + list((path / "run").glob("staged-*"))
        finally:
            store.abandon()

    def compare(self, found):
        ids = [name for name, _ in found]
        assert len(ids) == len(set(ids)), "a record is there twice"
        kinds = dict(found)
        if "f" in kinds:
            assert (self.media / "f.png").read_bytes() == b"f.png" * 99
        for name in self.sure.keys() | kinds.keys():
            if name in self.maybe:
                assert kinds.get(name) in self.maybe[name], name
            else:
                assert kinds.get(name) == self.sure.get(name), name


class Durable(Expected):
    """As a power cut leaves it: a change may be there at once, and is there for sure when it was synced."""

    is_counted = False  # the counts for people trust lengths, behind which there may be zeros now

    def __init__(self):
        super().__init__()
        self.latest = {}

    @contextlib.contextmanager
    def change(self, **names):
        """From now on these records may be in their old or in their new place."""
        for name, kind in names.items():
            self.maybe[name] = self.maybe.get(name, {self.sure.get(name)}) | {kind}
        yield
        self.latest.update(names)

    def synced(self):
        for name in self.latest:
            del self.maybe[name]
        self.sure.update(self.latest)
        self.latest.clear()

    def known(self):
        return dict(self.sure), dict(self.maybe)


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
        store.sync()
        expected.synced()
        with expected.change(c="results", y="failures"):
            store.append([row("c")], [failure("y")])
        generations = store.rotate()
        expected.synced()
        with expected.change(d="results"):
            store.append([row("d")], [])
        store.fold(generations)
        with expected.change(s="results", t="failures"):
            store.share([[follower("s", "a"), follower("t", "x")]])
        expected.synced()
        with expected.change(g="results"):
            store.append([row("g")], [])
        store.seal()
        with expected.change(a=None, x=None):
            store.drop_records(key_array([digest(b"a"), digest(b"x")]))
        expected.synced()
        with expected.change(y=None, t=None):
            store.drop_failures()
        expected.synced()
        with expected.change(e="results"):
            store.append([row("e")], [])
        store.close({"run_id": "1"})
        expected.synced()
    finally:
        store.abandon()
    # A second run finds a live journal and adds its own.
    store = open_store(path, disk)
    try:
        with expected.change(f="results", z="failures"):
            store.append([row("f", media=["f.png"])], [failure("z")])
        store.seal()
        expected.synced()
        store.close({"run_id": "2"})
    finally:
        store.abandon()


@pytest.fixture
def folder():
    with in_memory() as place:
        yield place


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


@pytest.mark.parametrize(
    ("when", "first", "step"), [("before", 0, 2), ("before", 1, 2), ("after", 0, 1), ("torn", 0, 1)]
)
def test_a_crash_at_any_operation_loses_and_doubles_nothing(folder, when, first, step):
    """Exhaustive: for each operation of the scenario, die before it, after it, or in the middle of a write."""
    log = operations(folder)
    assert len(log) > 100
    for at in points(log, when)[first::step]:
        expected = Expected()
        disk = FaultyDisk(at, when)
        with pytest.raises(SimulatedCrash):
            scenario(folder / str(at), disk, expected)
        try:
            expected.check(folder / str(at))
        except BaseException as error:
            error.add_note(f"crash {when} operation {at}: {disk.log[-1].name} {disk.log[-1].path}")
            raise


@pytest.mark.parametrize("tries", [2, pytest.param(12, marks=pytest.mark.torture)])
def test_a_power_cut_after_any_operation_keeps_what_was_synced(folder, tries):
    """Whatever part of the rest reached the disk: all that a sync covered is there once, and nothing looks damaged."""
    base, attic, left = (folder / name for name in ("base", "attic", "left"))
    base.mkdir()
    attic.mkdir()
    expected = Durable()
    disk = RecordingDisk(base, attic, expected.known)
    scenario(base / "new" / "out", disk, expected)
    rng = random.Random(11)
    for number, moment in enumerate(disk.moments):
        # Nothing of the rest, and where several changes are open any of them.
        for chance in [0.0, *rng.choices([0.3, 0.5, 0.8, 1.0], k=tries if moment.open_changes > 1 else 0)]:
            disk.leave(moment, left, rng, chance)
            expected.sure, expected.maybe = map(dict, moment.known)
            try:
                expected.check(left / "new" / "out")
            except BaseException as error:
                error.add_note(f"power cut after operation {number}: {moment.label}; {chance} of the rest is there")
                raise
            shutil.rmtree(left)


def test_a_power_cut_after_a_start_that_was_killed(folder):
    """Which had made folders, and synced none of their names."""
    base, attic, left = (folder / name for name in ("base", "attic", "left"))
    for name in ("run/index", "results", "failures", "media"):
        (base / "out" / name).mkdir(parents=True)
    attic.mkdir()
    expected = Durable()
    disk = RecordingDisk(base, attic, expected.known)
    scenario(base / "out", disk, expected)
    synced = next(moment for moment in disk.moments if "b" in moment.known[0])
    disk.leave(synced, left, random.Random(11), 0.0)
    expected.sure, expected.maybe = map(dict, synced.known)
    expected.check(left / "out")


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
            expected.check(path)
        except BaseException as error:
            error.add_note(f"{words} at operation {at}: {disk.log[-1].name} {disk.log[-1].path}")
            raise


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


def test_sigkill_at_random_moments_keeps_every_acknowledged_append(tmp_path):
    """A forked child appends, folds and drops until SIGKILL; what it acknowledged before is there, once."""
    path = tmp_path / "out"
    acknowledged = tmp_path / "acknowledged"
    acknowledged.touch()
    seed = random.Random(7)
    for life in range(10):
        child = os.fork()
        if child == 0:
            live_until_killed(path, acknowledged, life)
        enough = acknowledged.stat().st_size + seed.randint(50, 200)
        while acknowledged.stat().st_size < enough:
            time.sleep(0.001)
        time.sleep(seed.uniform(0, 0.02))
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
        expected.check(path)
