"""The store: what it refuses, what it writes, and that anyone can read it."""

import contextlib
import errno
import json
import os
import signal
import sqlite3
import threading
import time
from datetime import UTC, datetime
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow.parquet as pq
import pytest

from pipeline.clock import SystemClock
from pipeline.errors import JobChanged, OutputDamaged, OutputError, OutputLocked, OutputUnwritable
from pipeline.interfaces import Remembered
from pipeline.records import NO_PAYLOAD, Column, Failure, Row, digest
from pipeline.storage import (
    CHANGED,
    DONE,
    FAILED,
    NEW,
    AnswerFile,
    Disk,
    DoneIndex,
    Store,
    key_array,
    read_index,
    read_state,
)
from pipeline.storage import parts as parts_room
from pipeline.storage.faults import FaultyDisk
from pipeline.storage.manifest import _seal, write_manifest
from pipeline.storage.parts import sha256_of
from tests.support.stores import job

AT = datetime(2026, 11, 22, 12, tzinfo=UTC)
COLUMNS = (
    Column("id", "string"),
    Column("embedding", "vector"),
    Column("a.b", "list<string>"),
    Column("scores", "list<struct>", None, (Column("label", "string"), Column("score", "float64"))),
    Column("flag", "bool"),
    Column("neurons", "float64"),
    Column("finished_at", "timestamp"),
)


def row(name, dim=4, **changes):
    values = {
        "id": name,
        "embedding": np.arange(dim, dtype=np.float32),
        "a.b": ["x"],
        "scores": [{"label": "l", "score": 0.5}],
        "flag": True,
        "neurons": 0.25,
        "finished_at": AT,
    }
    return Row(digest(name.encode()), digest(b"p", name.encode()), values | changes)


def failure(name, payload=None, retryable=True, code="5004"):
    key = digest(b"p", name.encode()) if payload is None else payload
    return Failure(digest(name.encode()), key, name, "f", 0, code, None, "bad", 2, retryable, AT)


def ids(names):
    return key_array(digest(name.encode()) for name in names)


def payloads(names):
    return key_array(digest(b"p", name.encode()) for name in names)


def test_four_readers_need_no_options(opened, folder):
    """pandas, pyarrow, Polars and DuckDB read results and failures as they are."""
    store = opened()
    for part in range(2):
        store.append([row(f"{part}-{i}") for i in range(3)], [failure(f"f{part}", retryable=False)])
        store.seal()
    results = folder / "results"
    frame = pd.read_parquet(results)
    assert frame["id"].tolist() == ["0-0", "0-1", "0-2", "1-0", "1-1", "1-2"]
    assert frame["embedding"][0].dtype == np.float32
    assert str(frame["finished_at"].dtype) == "datetime64[us, UTC]"
    assert pq.read_table(results).column("embedding").type.list_size == 4
    assert pl.read_parquet(results)["embedding"].dtype == pl.Array(pl.Float32, 4)
    assert duckdb.sql(f"select sum(embedding[2]) from '{results}/*.parquet'").fetchall() == [(6.0,)]
    assert pd.read_parquet(folder / "failures")["code"].tolist() == ["5004", "5004"]
    assert sorted(path.name for path in results.iterdir()) == ["part-00000.parquet", "part-00001.parquet"]


@pytest.mark.parametrize("simulated", [True, False])
def test_every_file_says_what_it_is(opened, folder, simulated):
    """Simulated answers never pass for real ones: metadata, manifest; pages are checksummed, vectors split by byte."""
    store = opened(job=job(simulated=simulated))
    store.append([row("a")], [failure("b")])
    store.seal()
    for kind in ("results", "failures"):
        file = pq.ParquetFile(folder / kind / "part-00000.parquet")
        metadata = {k.decode(): v.decode() for k, v in file.metadata.metadata.items() if k.startswith(b"wai.")}
        assert metadata == {
            "wai.format_version": "1",
            "wai.job": "job",
            "wai.model": "@cf/m",
            "wai.task": "embed",
            "wai.endpoint": "workers-ai",
            "wai.simulated": str(simulated).lower(),
            "wai.params": '{"pooling":"cls"}',
            "wai.pooling": "cls",
            **({"wai.dimensions": "4", "wai.normalized": "false"} if kind == "results" else {}),
        }
    vectors = pq.ParquetFile(folder / "results/part-00000.parquet").metadata.row_group(0).column(1)
    assert vectors.path_in_schema == "embedding.list.element"
    assert vectors.compression == "ZSTD"
    assert "BYTE_STREAM_SPLIT" in vectors.encodings
    assert json.loads((folder / "run/manifest.json").read_text())["endpoint"]["simulated"] is simulated


def test_vectors_of_another_length_are_refused_by_name(opened, folder):
    """The first answer tells the length, the manifest keeps it, and nothing of a bad batch is written."""
    store = opened()
    store.append([], [])
    with pytest.raises(OutputError, match="'none' has no vector"):
        store.append([row("none", embedding=None)], [])
    assert not list((folder / "run").glob("journal-*")), "nothing was written"
    store.append([row("a", 4)], [])
    assert store.columns[1].dim == 4
    with pytest.raises(OutputError, match="length 4 expected, not so for record 'bad'"):
        store.append([row("good", 4), row("bad", 5)], [])
    store.append([row("null", embedding=None)], [])
    store.abandon()
    store = opened()
    assert store.rows_in_journal == 2
    with pytest.raises(OutputError, match="'c'"):
        store.append([row("c", 3)], [])
    store.seal()
    assert pq.read_table(folder / "results").column("embedding").to_pylist() == [[0, 1, 2, 3], None]


def test_odd_values_are_kept_or_named(opened, folder):
    """A lone surrogate is replaced; a value of another type, a missing or an extra column names the record."""
    store = opened()
    store.append([row("a", **{"a.b": ["\ud800x"]})], [])
    for bad, words in (
        (row("t", neurons="much"), "'t'.*neurons"),
        (Row(b"i" * 16, b"p" * 16, {"id": "short"}), "'short'.*columns"),
        (row("k", **{"a.b": 5}), "'k'"),
        (Row(b"i", b"p" * 16, row("key").values), "16 bytes"),
    ):
        with pytest.raises(OutputError, match=words):
            store.append([row("fine"), bad], [])
    store.seal()
    assert pq.read_table(folder / "results").column("a.b").to_pylist() == [["\ufffd\ufffd\ufffdx"]]


def test_states_of_records(opened):
    """New, done, failed or changed, from parts and journals alike."""
    store = opened()
    store.append([row("a"), row("b")], [failure("f"), failure("unread", NO_PAYLOAD)])
    store.seal()
    store.append([row("c")], [failure("g")])
    index = store.index()
    names = ["a", "c", "f", "g", "unread", "new"]
    assert index.lookup(ids(names), payloads(names)).tolist() == [DONE, DONE, FAILED, FAILED, FAILED, NEW]
    assert index.lookup(ids(["a", "f"]), payloads(["b", "b"])).tolist() == [CHANGED, CHANGED]
    assert index.has_payload(payloads(["a", "f", "c"])).tolist() == [True, False, True]
    assert index.failed_payload(key_array([NO_PAYLOAD, digest(b"p", b"g")])).tolist() == [False, True]
    assert repr(index) == "DoneIndex(results=3, failures=3)"


def test_lookups_go_some_keys_at_a_time(monkeypatch):
    """However long the input, and wherever a slice of it ends."""
    rng = np.random.default_rng(3)
    table = rng.integers(1, 2**63, (50, 4)).astype(np.uint64)
    index = DoneIndex([table[:20]], [table[20:30]])
    id_keys, payload_keys = (np.ascontiguousarray(table[:, c : c + 2]).view("S16").ravel() for c in (0, 2))
    for size in (1, 7, 50, 1000):
        monkeypatch.setattr("pipeline.keycolumns._SLICE", size)
        assert index.lookup(id_keys, payload_keys).tolist() == [DONE] * 20 + [FAILED] * 10 + [NEW] * 20
        assert index.lookup(id_keys, payload_keys[::-1])[:30].tolist() == [CHANGED] * 30
        assert index.has_payload(payload_keys).tolist() == [True] * 20 + [False] * 30
        assert index.failed_payload(payload_keys).tolist() == [False] * 20 + [True] * 10 + [False] * 20
        assert index.lookup(id_keys[:0], payload_keys[:0]).tolist() == []


def test_the_index_is_fast():
    """A million lookups against a million rows."""
    table = np.random.default_rng(1).integers(0, 2**63, (1_000_000, 4)).astype(np.uint64)
    index = DoneIndex([table], [])
    asked = np.random.default_rng(2).permutation(table)
    id_keys, payload_keys = (np.ascontiguousarray(asked[:, c : c + 2]).view("S16").ravel() for c in (0, 2))
    started = time.process_time()
    assert (index.lookup(id_keys, payload_keys) == DONE).all()
    assert time.process_time() - started < 1.5


def test_folding_goes_on_beside_appends(opened, folder):
    """`rotate` hands over what is there; appends go to the next generation while a thread folds."""
    store = opened()
    store.append([row(str(i)) for i in range(12)], [])
    assert store.needs_fold
    generations = store.rotate()
    assert not store.needs_fold
    assert store.rotate() == []
    thread = threading.Thread(target=store.fold, args=(generations,))
    thread.start()
    for i in range(20):
        store.append([row(f"later-{i}")], [])
    thread.join()
    assert store.rows_in_journal == 20
    assert store.needs_fold
    with pytest.raises(ValueError, match="rotate"):
        store.fold([99])
    store.close({"run_id": "r1", "stop_reason": "interrupted"})
    store = opened()
    assert (store.rows_in_journal, store.recovery.rows) == (20, 20)
    store.seal()
    assert len(pd.read_parquet(folder / "results")) == 32
    assert store.manifest.runs[0]["stop_reason"] == "interrupted"
    assert not list((folder / "run").glob("journal-*"))


def test_a_journal_that_is_large_enough_is_folded(opened):
    """Also where an earlier run has left it."""
    for expected in ([], ["a"]):
        store = opened(rows_per_part=1_000, journal_cap_bytes=100)
        assert store.needs_fold is bool(expected)
        store.append([row("a")] if not expected else [], [])
        assert store.needs_fold
        store.abandon()


def test_row_groups_are_bounded(opened, folder):
    """At most 10,000 rows and 16 MiB, also where one append is larger."""
    store = opened()
    store.append([row(str(i)) for i in range(12_000)], [])
    store.append([row(f"L{i}", **{"a.b": ["x" * 5_000_000]}) for i in range(14)], [])
    store.seal()
    metadata = pq.read_metadata(folder / "results/part-00000.parquet")
    groups = [metadata.row_group(i) for i in range(metadata.num_row_groups)]
    assert sum(group.num_rows for group in groups) == 12_014
    assert max(group.num_rows for group in groups) <= 10_000
    assert max(group.total_byte_size for group in groups) < 40 << 20


def test_a_changed_job_is_refused_with_what_changed(opened):
    """Parameters, model, columns, real for simulated: each is named, old and new, with the ways out."""
    store = opened()
    store.append([row("a")], [])
    store.close({})
    for changes, words in (
        ({"job": job(identity={"params": {"pooling": "mean"}, "text": "{body}"})}, 'params.pooling: "cls" -> "mean"'),
        ({"job": job(identity={"params": {}, "text": "{body}"})}, 'params.pooling: "cls" -> (not set)'),
        ({"job": job(model="@cf/n")}, 'model: "@cf/m" -> "@cf/n"'),
        ({"job": job(simulated=True)}, 'endpoint: "real answers" -> "simulated answers (emulator)"'),
        ({"columns": COLUMNS[:-1]}, "columns: "),
    ):
        with pytest.raises(JobChanged) as caught:
            opened(**changes)
        assert words in str(caught.value)
        assert "--force-new" in str(caught.value)
    opened(job=job(name="other", base_url="https://y")).close({})


def test_force_new_moves_the_old_output_aside(opened, folder):
    """Nothing is deleted, and a damaged folder can be left behind too."""
    store = opened()
    store.append([row("a")], [])
    store.seal()
    store.close({})
    store = opened(job=job(model="@cf/n"), force_new=True)
    assert store.index().n_results == 0
    store.close({})
    (aside,) = folder.parent.glob("out.old-*")
    assert len(pd.read_parquet(aside / "results")) == 1
    (folder / "run/manifest.json").write_text("{")
    with pytest.raises(OutputDamaged, match="--force-new"):
        opened()
    opened(force_new=True)
    assert len(list(folder.parent.glob("out.old-*"))) == 2


def test_what_is_not_ours_is_not_touched(opened, folder, tmp_path):
    """A file, a folder of something else, a symlink that leads out, a manifest of a newer format."""
    folder.write_text("a file")
    with pytest.raises(OutputError, match="is a file"):
        opened()
    (tmp_path / "partly").mkdir()
    (tmp_path / "partly" / "run").touch()
    with pytest.raises(OutputError, match="run: is not a folder; move it away"):
        opened(tmp_path / "partly")
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs" / "thesis.txt").touch()
    with pytest.raises(OutputError, match="not ours"):
        opened(tmp_path / "theirs", force_new=True)
    assert [path.name for path in (tmp_path / "theirs").iterdir()] == ["thesis.txt"]
    (tmp_path / "linked").mkdir()
    (tmp_path / "linked" / "results").symlink_to(tmp_path / "theirs")
    with pytest.raises(OutputError, match="symlink"):
        opened(tmp_path / "linked")
    opened(tmp_path / "new").close({})
    manifest = tmp_path / "new/run/manifest.json"
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"format_version": 2, "written_by": "wai 9"}))
    with pytest.raises(OutputDamaged, match="written by wai 9"):
        opened(tmp_path / "new")
    manifest.unlink()
    (tmp_path / "new/run/journal-000000.wal").touch()
    with pytest.raises(OutputDamaged, match="missing"):
        opened(tmp_path / "new")


def test_leftovers_are_swept_and_damage_is_not(opened, folder):
    """Temporaries, unnamed parts and folded journals go; a named part that is missing or cut stops the run."""
    store = opened()
    store.append([row("a")], [])
    store.seal()
    store.append([row("b")], [])  # what a fold was making a part of
    store.close({})
    orphans = ["run/tmp-x", "run/staged-y", "results/part-00009.parquet", "run/index/results-00009.idx"]
    orphans.append("run/journal-000000.wal")
    for name in orphans:
        (folder / name).write_bytes(b"torn")
    store = opened()
    assert sorted(store.recovery.swept) == sorted(orphans)
    assert not any((folder / name).exists() for name in orphans)
    store.close({})
    part = folder / "results/part-00000.parquet"
    part.write_bytes(part.read_bytes()[:-1])
    with pytest.raises(OutputDamaged, match="part-00000"):
        opened()
    part.unlink()
    with pytest.raises(OutputDamaged, match="missing"):
        opened()
    part.symlink_to("/dev/null")
    with pytest.raises(OutputDamaged, match="plain file"):
        opened()


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('"rows": 2', '"rows": 3', "sha256 differs"),
        ('"format_version": 1', '"format_version": 2', "use the version that"),
    ],
)
def test_a_manifest_that_is_another_is_refused(opened, folder, old, new, said):
    """One digit is enough; and a newer format is left to the version that knows it, byte for byte."""
    store = opened()
    store.append([row("a"), row("b")], [])
    store.seal()
    store.close({})
    manifest = folder / "run/manifest.json"
    content = manifest.read_text()
    assert content.count(old) == 1
    manifest.write_text(content.replace(old, new))
    with pytest.raises(OutputDamaged, match=said):
        opened()
    assert manifest.read_text() == content.replace(old, new)


def test_verify_finds_any_flipped_byte(opened, folder):
    """In a part and in its sidecar, wherever it is."""
    store = opened()
    store.append([row("a")], [failure("b")])
    store.seal()
    assert store.verify() == []
    for path in [*folder.glob("results/*"), *folder.glob("failures/*"), *folder.glob("run/index/*")]:
        data = path.read_bytes()
        for at in range(0, len(data), max(1, len(data) // 12)):
            path.write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
            assert any(path.name in problem for problem in store.verify()), at
        path.write_bytes(data)
    assert store.verify() == []
    store.append([row("a")], [])
    assert store.verify() == ["1 records are there twice"]


@pytest.mark.parametrize("is_readable", [True, False])
def test_verify_reads_what_the_manifest_speaks_of(opened, folder, is_readable):
    """Also where a digest agrees: the rows are counted, and a part that no reader could open is told."""
    store = opened()
    store.append([row("a"), row("b")], [])
    store.seal()
    (entry,) = store.manifest.results
    part = folder / "results" / entry.name
    if is_readable:
        changes, words = {"rows": 3}, "2 rows where the manifest says 3"
    else:
        part.write_bytes(b"PAR1, it says, and no more")
        changes, words = {"sha256": sha256_of(part)}, "cannot be read"
    changed = store.manifest.model_copy(update={"results": (entry.model_copy(update=changes),)})
    write_manifest(Disk(), store.layout, changed)
    said = store.verify()
    assert any(part.name in problem and words in problem for problem in said)
    assert any(entry.index in problem for problem in said) is is_readable, "which has the rows of the part"


@pytest.mark.parametrize(
    ("what", "change", "words"),
    [
        ("results/part-00000.parquet", lambda path: path.unlink(), "missing"),
        ("results/part-00000.parquet", lambda path: path.rename("moved") and path.symlink_to("moved"), "is a symlink"),
        ("run/index/results-00000.idx", lambda path: path.unlink(), "missing"),
        ("run/pieces.sqlite3", lambda path: path.write_bytes(b"no SQLite" * 99), "damaged"),
        ("run/manifest.json", lambda path: path.unlink(), "missing"),
    ],
)
def test_verify_names_the_file(opened, folder, monkeypatch, what, change, words):
    """What is missing, a link or none of ours."""
    monkeypatch.chdir(folder.parent)
    store = opened()
    store.append([row("a")], [])
    store.seal()
    change(folder / what)
    assert any(f"{folder / what}: {words}" in problem for problem in store.verify())


def test_verify_tells_of_what_is_in_no_part_yet(opened, folder):
    """Damage in a journal, and in answers to pieces of records that are not finished."""
    store = opened()
    for name in "ab":
        store.append([row(name)], [])
    (journal,) = (folder / "run").glob("journal-*")
    data = journal.read_bytes()
    journal.write_bytes(data[:40] + bytes([data[40] ^ 1]) + data[41:])
    file = AnswerFile(store.layout.pieces)
    file.keep([(b"k", Remembered("an answer", 1.0, "m", "e"))])
    file.close()
    with contextlib.closing(sqlite3.connect(store.layout.pieces)) as connection:
        connection.execute("UPDATE answers SET neurons = 2.0")
        connection.commit()
    said = store.verify()
    assert [problem.split(": ")[1] for problem in said] == [
        "1 damaged places; their records are pending again",
        "1 damaged answers; the pieces they belong to will be asked again",
    ]


def test_verify_finds_files_that_are_gone(opened, folder):
    """In parts and in the journal; a path that is the record's own source is an input's, and another path none."""
    columns = (*COLUMNS, Column("source", "string"), Column("path", "string"))
    store = opened(columns=columns)

    def rows(prefix):
        made = {"a": ("s", "media/a.png"), "b": ("media/b.wav", "media/b.wav"), "c": ("s", "c.png"), "d": ("s", None)}
        return [row(prefix + name, source=source, path=path) for name, (source, path) in made.items()]

    (folder / "media" / "a.png").write_bytes(b"x")
    store.append(rows("sealed "), [])
    store.seal()
    store.append(rows("open "), [])
    assert store.verify() == []
    (folder / "media" / "a.png").unlink()
    problems = store.verify()
    assert len(problems) == 2
    assert all(
        problem.endswith("1 files that its rows name are missing, the first is media/a.png") for problem in problems
    )


def test_a_second_run_is_refused_until_the_first_is_dead(opened, folder):
    """By pid and host of the holder; kill -9 frees the lock at once."""
    ready, child_ready = os.pipe()
    child = os.fork()
    if child == 0:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)  # that of the tests' own time-out would go on with the tests
        signal.alarm(20)  # never outlives a test that fails
        held = Store.open(folder, job=job(), columns=COLUMNS, rows_per_part=10, clock=SystemClock())
        os.write(child_ready, repr(held)[:1].encode())
        signal.pause()
    os.read(ready, 1)
    started = time.monotonic()
    try:
        with pytest.raises(OutputLocked, match=f"process {child} on "):
            opened()
        assert time.monotonic() - started < 1
        assert read_state(folder).is_locked
        assert read_state(folder).holder["pid"] == child
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    assert not read_state(folder).is_locked
    opened()
    os.close(ready)
    os.close(child_ready)


def test_status_reads_along_without_the_lock(opened, folder):
    """Counts include what is still in journals; no folder, no state."""
    assert read_state(folder) is None
    store = opened()
    store.append([row("a")], [failure("f", code="3006"), failure("g")])
    store.seal()
    store.append([row("b"), row("c")], [failure("h")])
    state = read_state(folder)
    assert (state.results, state.failures, state.journal_results, state.journal_failures) == (3, 3, 2, 1)
    assert state.failures_by_code == {"5004": 2, "3006": 1}
    assert state.is_locked


def test_copies_carry_the_followers_own_columns(opened, folder):
    """An answer or a failure of the same payload is copied; the vector is the same, the name is not."""
    store = opened()
    store.append([row(f"r{i}", embedding=np.full(4, i, np.float32)) for i in range(30)], [failure("f")])
    own = {"neurons": 0.0, "finished_at": AT, "attempts": 0}
    names = [("x", "r7"), ("y", "f"), ("z", "nothing"), ("w", "r29"), ("v", "r7")]
    chunk = [(digest(name.encode()), digest(b"p", of.encode()), {"id": name, **own}) for name, of in names]
    shared = store.share([chunk])
    assert (shared.results, shared.failures, shared.missing) == (3, 1, 1)
    store.seal()
    frame = pd.read_parquet(folder / "results").set_index("id")
    assert [frame.loc[name, "embedding"][0] for name in "xwv"] == [7, 29, 7]
    assert frame.loc["x", "neurons"] == 0
    failures = pd.read_parquet(folder / "failures").set_index("id")
    assert failures.loc["y", ["code", "attempts"]].tolist() == ["5004", 0]
    assert store.index().lookup(ids(["x", "y"]), payloads(["r7", "f"])).tolist() == [DONE, FAILED]


@pytest.fixture
def grouped(opened, monkeypatch):
    """A store with a part of several row groups."""
    monkeypatch.setattr(parts_room, "GROUP_ROWS", 3)
    store = opened()
    store.append([row(f"r{n}") for n in range(20)], [failure("f")])
    store.seal()
    return store


def test_rows_are_taken_out_wherever_they_lie(grouped, folder):
    """In a part of several row groups each row that stays keeps its values and its key."""
    gone = {"r0", "r4", "r5", "r19"}
    left = [f"r{n}" for n in range(20) if f"r{n}" not in gone]
    assert grouped.drop_records(ids(gone)) == 4
    assert pq.read_table(folder / "results").column("id").to_pylist() == left
    assert grouped.index().lookup(ids([*left, *gone]), payloads([*left, *gone])).tolist() == [DONE] * 16 + [NEW] * 4
    assert grouped.verify() == []
    assert grouped.drop_failures() == 1
    grouped.append([], [failure("f")])
    grouped.seal()
    assert [part.name for part in (folder / "failures").iterdir()] == ["part-00001.parquet"], "no number is used twice"


def test_a_damaged_part_is_not_written_on(grouped, folder):
    """Damage never gets a new, valid digest: neither where rows are taken out nor where they are copied."""
    part = folder / "results" / "part-00000.parquet"
    data = part.read_bytes()
    part.write_bytes(data[:-5] + bytes([data[-5] ^ 1]) + data[-4:])
    follower = digest(b"z"), digest(b"p", b"r1"), {"id": "z"}
    for use in (lambda: grouped.drop_records(ids(["r0"])), lambda: grouped.share([[follower]])):
        with pytest.raises(OutputDamaged, match=r"part-00000\.parquet: its content is not what was written"):
            use()


@pytest.mark.parametrize("use", ["seal", "drop"])
def test_a_part_that_could_not_be_finished_frees_its_room(opened, folder, use):
    """On a full disk the half-written file goes at once, not with the next run."""
    disk = FaultyDisk()
    store = opened(disk=disk)
    store.append([row("a"), row("b")], [])
    if use == "drop":
        store.seal()
    names, write = [], disk.write

    def failing(fd, data, path):
        if path.suffix == ".parquet":
            names.append(path)
            disk.at, disk.error = disk.count + 1, errno.ENOSPC
        write(fd, data, path)

    disk.write = failing
    with pytest.raises(OutputUnwritable, match="disk full"):
        store.seal() if use == "seal" else store.drop_records(ids(["a"]))
    assert names
    assert not names[0].exists()


def test_a_part_that_does_not_read_as_it_was_written_is_not_published(opened, folder):
    """A disk that loses a bit on the way is noticed before the journal goes."""

    class Lossy(Disk):
        def write(self, fd, data, path):
            data = bytes(data)
            super().write(fd, bytes([data[0] ^ 1]) + data[1:] if path.suffix == ".parquet" else data, path)

    store = opened(disk=Lossy())
    store.append([row("a")], [])
    with pytest.raises(OutputDamaged, match="what was written cannot be read back"):
        store.seal()
    assert store.rows_in_journal == 1
    assert not list((folder / "results").iterdir())


def test_a_row_that_is_larger_than_a_row_group(opened, folder, monkeypatch):
    """It has one of its own."""
    monkeypatch.setattr(parts_room, "GROUP_BYTES", 10)
    store = opened()
    store.append([row("a"), row("b")], [])
    store.seal()
    assert pq.read_metadata(folder / "results/part-00000.parquet").num_row_groups == 2


def test_a_part_that_is_gone_when_rows_are_taken_out(grouped, folder):
    """Named, and nothing else is changed."""
    (folder / "results" / "part-00000.parquet").unlink()
    with pytest.raises(OutputDamaged, match=r"part-00000\.parquet: cannot be read: No such file"):
        grouped.drop_records(ids(["r0"]))


INDEX, MANIFEST = "run/index/results-00000.idx", "run/manifest.json"


@pytest.mark.parametrize(
    ("what", "change", "words"),
    [
        (INDEX, lambda _: b"no index", "not a key index"),
        (INDEX, lambda data: data[:8] + b"\2" + data[9:], "written by a newer version"),
        (INDEX, lambda data: data[:-1] + bytes([data[-1] ^ 1]), r"damaged \(expected 1 rows\)"),
        (INDEX, lambda _: None, "cannot be read: Input/output error"),
        (MANIFEST, lambda data: data.replace(b'"name": "job"', b'"name": "JOB"'), "sha256 differs"),
        (MANIFEST, lambda _: None, "cannot be read: Input/output error"),
        (MANIFEST, lambda _: sealed(b'{\n  "format_version": 1'), "job: Field required"),
    ],
)
def test_what_the_folder_says_of_itself_is_not_believed_when_damaged(opened, folder, what, change, words):
    """Indices and manifest: each kind of damage is told by its file, and an answer is not asked again for it."""
    store = opened()
    store.append([row("a")], [])
    store.seal()
    store.close({})
    path = folder / what
    data = change(path.read_bytes())
    path.unlink()
    if data is None:
        path.symlink_to("/proc/self/mem")  # a file whose first byte is EIO
    else:
        path.write_bytes(data)
    with pytest.raises(OutputDamaged, match=f"{path.name}: .*{words}"):
        read_index(folder)


def sealed(body):
    return body + _seal(body)


def test_keys_of_another_length_are_no_keys(opened):
    """Sixteen bytes, or nothing would be found and everything paid again."""
    store = opened()
    store.append([row("a")], [])
    with pytest.raises(TypeError, match="S16"):
        store.index().lookup(ids(["a"]).astype("S8"), payloads(["a"]))


def test_a_manifest_that_knows_no_columns_is_refused(opened, folder):
    """Restored from before the first answer told the length of the vectors: the rows stay in their journal."""
    store = opened()
    manifest = (folder / "run/manifest.json").read_bytes()
    store.append([row("a")], [])
    store.abandon()
    (folder / "run/manifest.json").write_bytes(manifest)
    store = opened()
    with pytest.raises(OutputDamaged, match="the manifest knows no columns"):
        store.seal()
    store.append([row("b")], [])
    store.seal()
    assert pq.read_table(folder / "results").num_rows == 2


@pytest.mark.slow
def test_folding_needs_the_memory_of_a_row_group(opened, folder):
    """50,000 vectors of 1,024 numbers (200 MB) fold in less than 150 MB."""
    store = opened(columns=(Column("id", "string"), Column("v", "vector")), rows_per_part=50_000)
    for start in range(0, 50_000, 500):
        vectors = np.random.default_rng(start).random((500, 1024), dtype=np.float32)
        names = [str(i) for i in range(start, start + 500)]
        store.append(
            [Row(digest(n.encode()), bytes(16), {"id": n, "v": v}) for n, v in zip(names, vectors, strict=True)], []
        )
    before = resident_peak_after_reset()
    store.seal()
    grown = peak_kib() - before
    assert grown < 150 * 1024
    assert pq.read_metadata(folder / "results/part-00000.parquet").num_rows == 50_000


def peak_kib():
    with Path("/proc/self/status").open() as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmHWM"))


def resident_peak_after_reset():
    """Forget the peak of earlier tests, so that only what follows is measured."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
        return peak_kib()
    except OSError:
        pytest.skip("needs Linux's /proc/self/clear_refs")


def test_an_output_without_rows_may_become_another_jobs(opened):
    """Where nothing was answered yet, a corrected spec needs no --force-new; with a single row it does."""
    opened().close({})
    store = opened(job=job(model="@cf/n"))
    assert store.manifest.job.model == "@cf/n"
    store.append([row("a")], [])
    store.close({})
    with pytest.raises(JobChanged):
        opened()
