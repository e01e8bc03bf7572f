"""Several rows of one record: written, found, copied, counted and lost as one (docs/adr/0014)."""

import os

import pyarrow.parquet as pq
import pytest

from pipeline.errors import OutputError
from pipeline.records import Column, Row, digest
from pipeline.storage import framing as framing_room
from pipeline.storage import locate, read_state, verify_folder
from pipeline.storage import parts as parts_room
from pipeline.storage.columns import BatchTooLarge, Encoder
from pipeline.storage.index import key_array
from pipeline.storage.journal import RESULT_GROUPS, RESULT_ROWS, JournalReader
from pipeline.storage.manifest import read_manifest, write_manifest

COLUMNS = (Column("id", "string"), Column("part", "int32"), Column("neurons", "float64"))


def result(name, n_rows, payload=None):
    first, *more = [{"id": name, "part": part, "neurons": 0.5} for part in range(n_rows)]
    return Row(digest(name.encode()), digest((payload or name).encode()), first, more=more)


def frames(store):
    return [frame for number in store.layout.generations() for frame in JournalReader(store.layout.journal(number))]


def in_parts(folder):
    return [
        (row["id"], row["part"])
        for part in sorted((folder / "results").iterdir())
        for row in pq.read_table(part).to_pylist()
    ]


def test_only_what_has_several_rows_is_written_otherwise(opened):
    """So that an older program reads all other journals, and refuses these."""
    store = opened()
    store.append([result("a", 1), result("b", 1)], [])
    store.append([result("c", 1), result("d", 3)], [])
    assert [(frame.kind, frame.rows, frame.records) for frame in frames(store)] == [
        (RESULT_ROWS, 2, 2),
        (RESULT_GROUPS, 4, 2),
    ]
    assert store.count_records() == (4, 0)


def test_a_torn_frame_takes_the_whole_record(opened, folder):
    """Wherever it was cut off: never half of a record."""
    store = opened()
    store.append([result("a", 2)], [])
    journal = store.layout.journal(0)
    before = journal.stat().st_size
    store.append([result("b", 40)], [])
    store.sync()
    store.abandon()
    whole = journal.read_bytes()
    for size in range(before, len(whole), 97):
        os.truncate(journal, 0)
        journal.write_bytes(whole[:size])
        assert sum(frame.rows for frame in JournalReader(journal)) == 2
    again = opened()
    assert again.count_records() == (1, 0)
    again.seal()
    assert in_parts(folder) == [("a", 0), ("a", 1)]


def test_rows_that_row_groups_part_are_found_and_copied_together(opened, folder, monkeypatch):
    """A follower gets all rows of its leader, in one frame; neighbours of the leader do not come along."""
    monkeypatch.setattr(parts_room, "GROUP_ROWS", 3)
    store = opened(rows_per_part=100)
    store.append([result("a", 2), result("b", 8), result("c", 1)], [])
    store.seal()
    (part,) = (folder / "results").iterdir()
    assert pq.read_metadata(part).num_row_groups >= 4
    assert locate(folder, digest(b"b"), columns={"results": ["neurons"], "failures": []}).values == {"neurons": 4.0}
    followers = [
        (digest(name.encode()), digest(of.encode()), {"id": name, "neurons": 0.0})
        for name, of in (("d", "b"), ("e", "c"), ("f", "b"))
    ]
    shared = store.share([followers])
    assert (shared.results, shared.missing) == (3, 0)
    assert [(frame.kind, frame.rows, frame.records) for frame in frames(store)] == [(RESULT_GROUPS, 17, 3)]
    store.seal()
    copied = in_parts(folder)[11:]
    assert sorted(copied) == [*[("d", n) for n in range(8)], ("e", 0), *[("f", n) for n in range(8)]]
    assert verify_folder(folder) == []


def test_records_and_rows_are_counted_apart(opened, folder):
    """In journals and parts, before and after some are taken out."""
    store = opened()
    store.append([result("a", 3), result("b", 1)], [])
    store.seal()
    store.append([result("c", 5)], [])
    state = read_state(folder)
    assert (state.results, state.rows, state.journal_results) == (3, 9, 1)
    store.drop_records(key_array([digest(b"a")]))
    state = read_state(folder)
    assert (state.results, state.rows, store.count_records()) == (2, 6, (2, 0))
    assert [entry.n_records for entry in read_manifest(store.layout).results] == [1, 1]
    assert verify_folder(folder) == []


@pytest.mark.parametrize("n_rows", [1, 3])
def test_a_record_that_is_there_twice_is_found(opened, folder, n_rows):
    """Also where its rows lie side by side in one part."""
    store = opened()
    store.append([result("a", n_rows)], [])
    store.append([result("a", n_rows)], [])
    assert verify_folder(folder) == ["1 records are there twice"]
    store.seal()
    assert verify_folder(folder) == ["1 records are there twice"]


def test_a_manifest_that_knows_too_few_records_is_found(opened, folder):
    store = opened()
    store.append([result("a", 3), result("b", 3)], [])
    store.seal()
    manifest = store.manifest
    (entry,) = manifest.results
    write_manifest(
        store._disk, store.layout, manifest.model_copy(update={"results": (entry.model_copy(update={"records": 1}),)})
    )
    assert verify_folder(folder) == ["2 records where the manifest says 1"]


def test_a_batch_that_is_too_large_is_halved_between_records(opened, monkeypatch):
    """And a record that is too large by itself is refused by its name."""
    batch = Encoder.batch

    def limited(self, rows):
        if len(rows) > 5:
            raise BatchTooLarge
        return batch(self, rows)

    monkeypatch.setattr(framing_room.Encoder, "batch", limited)
    store = opened()
    store.append([result("a", 3), result("b", 3), result("c", 3)], [])
    assert [(frame.rows, frame.records) for frame in frames(store)] == [(3, 1), (3, 1), (3, 1)]
    with pytest.raises(OutputError, match=r"'d'.*larger than 2 GiB"):
        store.append([result("d", 6)], [])
