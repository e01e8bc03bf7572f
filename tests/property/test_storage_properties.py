"""Any interleaving of what a store can do, kills included, keeps every record exactly once."""

import shutil
import tempfile
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from pipeline.clock import SystemClock
from pipeline.records import NO_PAYLOAD, Column, Failure, Row, digest
from pipeline.storage import (
    CHANGED,
    DONE,
    FAILED,
    NEW,
    DoneIndex,
    JobIdentity,
    Store,
    key_array,
    locate,
    read_index,
    read_state,
)
from pipeline.storage.index import words_of
from pipeline.storage.journal import JournalReader

COLUMNS = [Column("id", "string"), Column("answer", "string"), Column("part", "int32"), Column("neurons", "float64")]
JOB = JobIdentity("job", "generate", "model", {}, "emulator", "http://x", True, "")
AT = datetime(2026, 11, 22, tzinfo=UTC)
MEMORY = "/dev/shm" if Path("/dev/shm").is_dir() else None  # syncs cost nothing there
FAST = settings(max_examples=40, stateful_step_count=20, deadline=None, suppress_health_check=list(HealthCheck))


def id_key(number):
    return digest(f"id {number}".encode())


def payload_key(number):
    return digest(f"payload {number}".encode())


def n_rows(kind, payload):
    """Every third result has some rows, more than one as a rule."""
    return 1 + payload % 7 if kind == "results" and payload % 3 == 0 else 1


def result(n):
    first, *more = [
        {"id": str(n), "answer": "é" * n, "part": part, "neurons": 1.0} for part in range(n_rows("results", n))
    ]
    return Row(id_key(n), payload_key(n), first, more=more)


class StoreMachine(RuleBasedStateMachine):
    """A store beside a dict that says what must be in it."""

    @initialize()
    def start(self):
        self.path = Path(tempfile.mkdtemp(dir=MEMORY)) / "out"
        self.model = {}  # number -> (kind, payload number)
        self.next = 0
        self.open()

    def open(self):
        self.store = Store.open(self.path, job=JOB, columns=COLUMNS, rows_per_part=5, clock=SystemClock())
        self.handed_over = []

    def take(self, count):
        numbers = list(range(self.next, self.next + count))
        self.next += count
        return numbers

    @rule(results=st.integers(0, 6), failures=st.integers(0, 3))
    def append(self, results, failures):
        done, failed = self.take(results), self.take(failures)
        rows = [result(n) for n in done]
        misses = [
            Failure(id_key(n), payload_key(n), str(n), "f", n, "5004", None, "bad", 1, n % 2 == 0, AT) for n in failed
        ]
        self.store.append(rows, misses)
        self.model.update({n: ("results", n) for n in done} | {n: ("failures", n) for n in failed})

    @rule()
    def sync(self):
        self.store.sync()

    @rule()
    def rotate(self):
        self.handed_over += self.store.rotate()

    @rule()
    def fold(self):
        self.store.fold(self.handed_over)
        self.handed_over = []

    @rule()
    def seal(self):
        self.store.seal()
        self.handed_over = []
        assert self.store.rows_in_journal == 0

    @rule()
    def kill_and_recover(self):
        self.store.abandon()
        self.open()

    @rule()
    def close_and_open(self):
        self.store.close({"run_id": "r"})
        self.open()

    @rule(retryable_only=st.booleans())
    def drop_failures(self, retryable_only):
        gone = {n for n, (kind, of) in self.model.items() if kind == "failures" and (not retryable_only or of % 2 == 0)}
        assert self.store.drop_failures(retryable_only=retryable_only) == len(gone)
        self.forget(gone)

    @precondition(lambda self: self.model)
    @rule(data=st.data())
    def drop_records(self, data):
        gone = data.draw(st.sets(st.sampled_from(sorted(self.model)), max_size=4))
        n_gone = sum(n_rows(*self.model[n]) for n in gone)
        assert self.store.drop_records(key_array(id_key(n) for n in gone)) == n_gone
        self.forget(gone)

    def forget(self, gone):
        self.handed_over = []
        for number in gone:
            del self.model[number]

    @precondition(lambda self: self.model)
    @rule(data=st.data())
    def share(self, data):
        sources = data.draw(st.lists(st.sampled_from(sorted(self.model)), max_size=7))
        chunks, added = [], {}
        for number, source in zip(self.take(len(sources)), sources, strict=True):
            kind, payload = self.model[source]
            added[number] = (kind, payload)
            overrides = {"id": str(number), "neurons": 0.0, "finished_at": AT}
            chunks.append([(id_key(number), payload_key(payload), overrides)])
        shared = self.store.share(chunks)
        assert (shared.results + shared.failures, shared.missing) == (len(sources), 0)
        self.model.update(added)
        self.handed_over = []

    @invariant()
    def every_record_is_there_once(self):
        """With all of its rows, one after the other."""
        if not hasattr(self, "store"):
            return
        found = []
        for kind in ("results", "failures"):
            for file in self.store.layout.folder(kind).iterdir():
                found += rows_in(pq.ParquetFile(file).read(use_threads=False), kind)
        for number in self.store.layout.generations():
            for frame in JournalReader(self.store.layout.journal(number)):
                found += rows_in(frame.batch(), "results" if frame.is_result else "failures")
        assert [part for _, _, part in found] == [
            part for n, _, first in found if not first for part in range(n_rows(*self.model[n]))
        ]
        assert sorted({(n, kind) for n, kind, _ in found}) == sorted((n, kind) for n, (kind, _) in self.model.items())
        assert len(found) == sum(n_rows(*known) for known in self.model.values())

    @rule()
    def everything_agrees(self):
        assert self.store.verify() == []
        state = read_state(self.path)
        kinds = [kind for kind, _ in self.model.values()]
        assert (state.results, state.failures) == (kinds.count("results"), kinds.count("failures"))
        assert state.rows == sum(n_rows(*known) for known in self.model.values()) - state.failures
        assert self.store.count_records() == (state.results, state.failures)
        for index in (self.store.index(), read_index(self.path)):
            assert (index.n_results, index.n_failures) == (state.results, state.failures)
        numbers = [*self.model, self.next + 1]
        payloads = [self.model[n][1] for n in self.model] + [0]
        states = index.lookup(key_array(map(id_key, numbers)), key_array(map(payload_key, payloads)))
        assert states.tolist() == [DONE if kind == "results" else FAILED for kind in kinds] + [NEW]

    @precondition(lambda self: self.model)
    @rule(data=st.data())
    def each_is_found(self, data):
        """Where it is, with what all of its rows cost."""
        number = data.draw(st.sampled_from(sorted(self.model)))
        kind, payload = self.model[number]
        it = locate(self.path, id_key(number), columns={"results": ["id", "neurons"], "failures": ["id"]})
        assert (it.kind, it.values["id"], it.n_rows) == (kind, str(number), n_rows(kind, payload))
        assert it.values.get("neurons") in {None, 0.0, 1.0 * it.n_rows}

    def teardown(self):
        if hasattr(self, "store"):
            self.store.abandon()
            shutil.rmtree(self.path.parent)


def rows_in(table, kind):
    """(number, kind, which of its rows) of each row."""
    numbers = [int(n) for n in table.column("id").to_pylist()]
    parts = table.column("part").to_pylist() if kind == "results" else [0] * len(numbers)
    return [(n, kind, part) for n, part in zip(numbers, parts, strict=True)]


StoreMachine.TestCase.settings = FAST
TestStore = StoreMachine.TestCase

# Few distinct words, so that keys share halves; the empty payload among them.
WORDS = st.sampled_from([bytes(8), b"\1" + bytes(7), bytes(7) + b"\1", b"\xff" * 8, b"abcdefgh"])
KEYS = st.builds(bytes.__add__, WORDS, WORDS)
ROWS = st.dictionaries(KEYS, KEYS, max_size=12)


@settings(max_examples=60, deadline=None)
@given(results=ROWS, failures=ROWS, asked=st.lists(st.tuples(KEYS, KEYS), max_size=8))
def test_the_index_answers_as_a_dictionary_would(results, failures, asked):
    """Vectorised lookups agree with plain dictionaries, however alike the keys are."""
    failures = {key: value for key, value in failures.items() if key not in results}
    asked += [*results.items(), *failures.items()]
    index = DoneIndex(*([words_of(b"".join(k + v for k, v in d.items()))] for d in (results, failures)))
    expected = []
    for key, payload in asked:
        if key in results:
            expected.append(DONE if results[key] == payload else CHANGED)
        elif key in failures:
            expected.append(FAILED if failures[key] in {payload, NO_PAYLOAD} else CHANGED)
        else:
            expected.append(NEW)
    ids, payloads = key_array(k for k, _ in asked), key_array(p for _, p in asked)
    assert index.lookup(ids, payloads).tolist() == expected
    assert index.has_payload(payloads).tolist() == [p in set(results.values()) for _, p in asked]
    assert index.failed_payload(payloads).tolist() == [
        p in set(failures.values()) and p != NO_PAYLOAD for _, p in asked
    ]


VECTORS = st.lists(st.floats(width=32, allow_nan=False), min_size=3, max_size=3)
VALUES = st.fixed_dictionaries(
    {
        "id": st.text(alphabet=st.characters(exclude_categories=["Cs"])),
        "v": VECTORS,
        "n": st.none() | st.floats(allow_nan=False),
    }
)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.lists(VALUES, max_size=5), max_size=4))
def test_what_goes_through_the_journal_comes_out_of_the_part(batches):
    """A round trip of any values, in order, to the last bit."""
    columns = [Column("id", "string"), Column("v", "vector"), Column("n", "float64")]
    with tempfile.TemporaryDirectory(dir=MEMORY) as folder:
        store = Store.open(Path(folder) / "out", job=JOB, columns=columns, rows_per_part=9, clock=SystemClock())
        for batch in batches:
            rows = [{**values, "v": np.array(values["v"], np.float32)} for values in batch]
            store.append([Row(digest(b"i"), digest(b"p"), values) for values in rows], [])
        store.seal()
        store.abandon()
        files = sorted((Path(folder) / "out" / "results").iterdir())
        read = [row for file in files for row in pq.read_table(file).to_pylist()]
    assert read == [values for batch in batches for values in batch]
