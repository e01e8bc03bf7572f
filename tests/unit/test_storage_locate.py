"""Where one record's row lies: found by its key, in parts and journals, without reading whole parts."""

import importlib
import os
from datetime import UTC, datetime

import pyarrow.parquet as pq
import pytest

from pipeline.errors import OutputDamaged
from pipeline.records import Column, Failure, Row, digest
from pipeline.storage import glance, locate
from pipeline.storage import parts as parts_room
from tests.support.stores import job

AT = datetime(2026, 11, 22, 12, tzinfo=UTC)
COLUMNS = (Column("id", "string"), Column("neurons", "float64"), Column("response", "string"))
ASKED = {"results": ["id", "neurons", "no such column"], "failures": ["id", "code"]}


@pytest.fixture
def store(opened):
    return opened(job=job(simulated=True))


def row(name, payload=None):
    key = digest((payload or f"p-{name}").encode())
    return Row(digest(name.encode()), key, {"id": name, "neurons": 0.5, "response": "x" * 50})


def failure(name):
    return Failure(
        digest(name.encode()), digest(f"p-{name}".encode()), name, "f", 0, "5004", None, "bad", 2, retryable=True, at=AT
    )


def found(folder, name, **options):
    return locate(folder, digest(name.encode()), columns=ASKED, **options)


def rows_of(folder, file):
    return pq.read_table(folder / file)["id"].to_pylist()


def test_every_row_is_found_where_it_is(store, folder):
    """Part and row number are those at which a reader of the part finds the record."""
    names = [f"r{n}" for n in range(35)]
    for name in names:
        store.append([row(name)], [])
    store.append([], [failure("bad0"), failure("bad1")])
    store.seal()
    for name in names:
        it = found(folder, name)
        assert rows_of(folder, it.file)[it.row] == name
        assert it.values == {"id": name, "neurons": 0.5}
        assert (it.kind, it.payload_key) == ("results", digest(f"p-{name}".encode()))
    it = found(folder, "bad1")
    assert (it.kind, it.row, it.values) == ("failures", 1, {"id": "bad1", "code": "5004"})
    assert rows_of(folder, it.file)[it.row] == "bad1"
    assert found(folder, "r35") is None


def test_rows_in_journals(store, folder):
    """A row that no part holds yet is found in its journal, results and failures alike."""
    store.append([row("a"), row("b")], [failure("c")])
    assert found(folder, "b").values["id"] == "b"
    assert found(folder, "b").row is None
    assert found(folder, "b").file.startswith("run/journal-")
    assert found(folder, "c").kind == "failures"
    assert found(folder, "d") is None


def test_by_payload(store, folder):
    """The first row that was answered for a payload is found, before any failure."""
    store.append([row("a", "same"), row("b", "same")], [])
    store.seal()
    assert found(folder, "same", by="payload").values["id"] == "a"
    assert found(folder, "same") is None


@pytest.mark.parametrize("by", ["id", "payload"])
def test_keys_that_are_half_alike_are_different(store, folder, by):
    """All 128 bits decide, in parts and in journals."""
    wanted, halves = b"a" * 8 + b"b" * 8, (b"a" * 16, b"b" * 16, b"b" * 8 + b"a" * 8)
    for n, key in enumerate([*halves, wanted]):
        other = digest(str(n).encode())
        keys = (key, other) if by == "id" else (other, key)
        store.append([Row(*keys, {"id": str(n), "neurons": 0.0, "response": ""})], [])
    assert locate(folder, wanted, columns=ASKED, by=by).values["id"] == "3"
    store.seal()
    assert locate(folder, wanted, columns=ASKED, by=by).row == 3


def test_only_the_row_group_it_is_in_is_read(store, folder, monkeypatch):
    """Damage elsewhere in the part is not met, for it is not read; damage at the row is."""
    monkeypatch.setattr(parts_room, "GROUP_ROWS", 3)
    store.append([row(f"r{n}") for n in range(10)], [])
    store.seal()
    (path,) = (folder / "results").iterdir()
    metadata = pq.read_metadata(path)
    assert metadata.num_row_groups >= 3
    column = metadata.row_group(0).column(0)
    start = column.dictionary_page_offset or column.data_page_offset
    raw = bytearray(path.read_bytes())
    raw[start : start + column.total_compressed_size] = bytes(column.total_compressed_size)
    path.write_bytes(raw)
    assert found(folder, "r9").values["id"] == "r9"
    with pytest.raises(OutputDamaged):
        found(folder, "r0")


def test_files_that_vanish_meanwhile(store, folder, monkeypatch):
    """A fold between listing and reading takes the journal away: the row is found in the part it went to."""
    room = importlib.import_module("pipeline.storage.locate")  # the door has a function of this name
    store.append([row("a")], [])
    reader, folds = room.JournalReader, []

    def folding(path):
        if not folds:
            folds.append(path)
            store.seal()
            assert not path.exists()
        return reader(path)

    monkeypatch.setattr(room, "JournalReader", folding)
    it = found(folder, "a")
    assert folds
    assert (it.file, it.row) == ("results/part-00000.parquet", 0)


def test_an_index_that_promises_too_much(store, folder, monkeypatch):
    """A part that is not there is damage, and not a record that is unknown."""
    store.append([row("a")], [])
    store.seal()
    next((folder / "results").iterdir()).unlink()
    with pytest.raises(OutputDamaged, match=r"part-00000\.parquet"):
        found(folder, "a")


def test_a_glance(store, folder, tmp_path):
    """A look at the folder tells who writes it and whether it is simulated; where nothing is, nothing is known."""
    assert glance(folder).writer == os.getpid()
    assert glance(folder).simulated is True
    assert glance(folder).last_run == {}
    store.close({"stop_reason": "completed"})
    assert glance(folder).writer is None
    assert glance(folder).last_run["stop_reason"] == "completed"
    assert glance(tmp_path / "nowhere") is None
    assert found(tmp_path / "nowhere", "a") is None
