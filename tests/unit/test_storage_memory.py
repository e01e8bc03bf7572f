"""Answers to pieces: durable on return, found by what they depend on, in nobody's way when their file is broken."""

import asyncio
import os
import random
import sqlite3

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import OutputDamaged, OutputError, OutputUnwritable
from pipeline.interfaces import Remembered
from pipeline.records import digest
from pipeline.storage import AnswerFile, PieceMemory
from tests.support.stores import in_memory

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.text()
    | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


def key(text):
    return digest(text.encode())


def said(value, neurons=1.5):
    return Remembered(value, neurons, "@cf/a/b", "workers-ai")


@settings(deadline=None)  # a disk may be slow
@given(st.dictionaries(st.binary(min_size=16, max_size=16), JSON, max_size=5))
def test_what_is_kept_is_found(values):
    with in_memory() as folder:
        path = folder / "a.sqlite3"
        file = AnswerFile(path)
        file.keep([(at, said(value)) for at, value in values.items()])
        file.close()
        again = AnswerFile(path)
        assert again.recall([*values, key("else")]) == {at: said(value) for at, value in values.items()}
        again.close()


def test_many_keys_at_once(tmp_path):
    file = AnswerFile(tmp_path / "a.sqlite3")
    keys = [key(str(n)) for n in range(1_501)]
    file.keep([(at, said(n)) for n, at in enumerate(keys)])
    assert len(file.recall(keys)) == 1_501
    file.close()


def test_answers_of_another_scope_are_not_found(tmp_path):
    path = tmp_path / "a.sqlite3"
    one, other = AnswerFile(path, b"model a"), AnswerFile(path, b"model b")
    one.keep([(key("x"), said("from a"))])
    assert other.recall([key("x")]) == {}
    assert one.recall([key("x")])[key("x")].value == "from a"
    assert one.summary() == {"@cf/a/b": 1}
    one.close()
    other.close()


def test_what_json_cannot_hold_is_left_out(tmp_path):
    file = AnswerFile(tmp_path / "a.sqlite3")
    file.keep([(key("x"), said(object())), (key("y"), said("fine"))])
    assert set(file.recall([key("x"), key("y")])) == {key("y")}
    file.close()


def broken(path):
    path.write_bytes(b"this is no database" * 100)
    return path


def test_a_broken_file_is_told_whatever_is_asked_of_it(tmp_path):
    """With what to do; it can always be removed."""
    file = AnswerFile(broken(tmp_path / "a.sqlite3"), advice="wai cache --clear")
    for use in (lambda: file.recall([key("x")]), lambda: file.keep([(key("x"), said(1))]), file.summary, file.check):
        with pytest.raises(OutputDamaged, match=r"a\.sqlite3: damaged .*; wai cache --clear"):
            use()
    file.remove()
    assert list(tmp_path.iterdir()) == []
    assert (file.recall([key("x")]), file.check(), file.summary()) == ({}, 0, {})


def test_what_a_start_that_was_killed_leaves_is_no_damage(tmp_path):
    """An empty file, and one of a version that knew no checksums: its answers serve on."""
    path = tmp_path / "a.sqlite3"
    path.touch()
    assert AnswerFile(path).check() == 0
    path.unlink()
    with sqlite3.connect(path) as old:
        old.execute("CREATE TABLE answers (key PRIMARY KEY, value, neurons, model, endpoint, at) WITHOUT ROWID")
        old.execute("INSERT INTO answers VALUES (?, '7', 1.5, '@cf/a/b', 'workers-ai', '')", [key("x")])
    old.close()
    file = AnswerFile(path)
    assert file.recall([key("x")]) == {key("x"): said(7)}
    assert file.check() == 0
    file.keep([(key("x"), said(8))])
    assert file.recall([key("x")]) == {key("x"): said(8)}
    file.close()


def test_a_flipped_bit_never_becomes_an_answer(memory):
    """Whatever bit of the file: the answer is as it was, unknown, or the file is refused; and `check` tells which."""
    path, damaged = memory / "a.sqlite3", 0
    kept = {key(str(n)): said({"text": f"answer {n} " * 9}, 0.1 * n) for n in range(40)}
    file = AnswerFile(path)
    file.keep(list(kept.items()))
    file.close()
    data = path.read_bytes()
    rng = random.Random(5)
    for at in [rng.randrange(len(data)) for _ in range(300)]:
        path.write_bytes(data[:at] + bytes([data[at] ^ 1 << rng.randrange(8)]) + data[at + 1 :])
        file = AnswerFile(path)
        try:
            told = file.check()
            found = file.recall(list(kept))
        except OutputError:
            damaged += 1
        else:
            assert found.items() <= kept.items(), at
            assert told or len(found) == len(kept), at
            damaged += told
        finally:
            file.close()
    assert damaged > 100


def test_damage_to_the_jobs_own_answers_ends_the_run(tmp_path):
    """They were paid for: nobody asks again in silence."""
    memory = PieceMemory(AnswerFile(broken(tmp_path / "own.sqlite3")), AnswerFile(tmp_path / "shared.sqlite3"))
    with pytest.raises(OutputDamaged):
        memory.recall([key("x")])
    with pytest.raises(OutputDamaged):
        asyncio.run(memory.keep([(key("x"), said(1))]))
    memory.close(done=False)


def test_a_broken_cache_is_set_aside_and_the_run_goes_on(tmp_path):
    """Said once; what was asked is kept in the job's own file, and the next run begins a new cache."""
    notes = []
    shared = broken(tmp_path / "shared.sqlite3")

    def memory():
        return PieceMemory(AnswerFile(tmp_path / "own.sqlite3"), AnswerFile(shared), model="@cf/a/b", tell=notes.append)

    first = memory()
    assert first.recall([key("x")]) == {}
    asyncio.run(first.keep([(key("x"), said(1))]))
    assert first.recall([key("x")]) == {key("x"): said(1)}
    assert first.recall([key("y")]) == {}
    first.close(done=True)
    (note,) = notes
    assert "left out for the rest of this run" in note
    assert [path.name for path in tmp_path.iterdir()] == ["shared.sqlite3.damaged"]
    second = memory()
    asyncio.run(second.keep([(key("x"), said(1))]))
    second.close(done=True)
    assert AnswerFile(shared).summary() == {"@cf/a/b": 1}
    assert len(notes) == 1


def test_a_cache_that_another_process_has_begun_anew_is_left_alone(tmp_path):
    """Two that find it damaged: the second must not set aside what the first has begun."""
    shared = broken(tmp_path / "shared.sqlite3")
    one, other = (PieceMemory(AnswerFile(tmp_path / name), AnswerFile(shared)) for name in ("a", "b"))
    room = other._shared
    with pytest.raises(OutputDamaged):
        room.recall([key("x")])
    one.recall([key("x")])
    fresh = AnswerFile(shared)
    fresh.keep([(key("x"), said(1))])
    fresh.close()
    assert room.set_aside() is None
    assert fresh.check() == 0
    assert fresh.summary() == {"@cf/a/b": 1}
    fresh.close()


@pytest.mark.parametrize("file", ["own", "shared"])
def test_a_disk_that_refuses(tmp_path, file):
    """The cache's full disk is a note and takes nothing away; the output's own is told as what it is."""
    notes = []
    paths = {name: tmp_path / name / "a.sqlite3" for name in ("own", "shared")}
    memory = PieceMemory(AnswerFile(paths["own"]), AnswerFile(paths["shared"]), model="@cf/a/b", tell=notes.append)
    asyncio.run(memory.keep([(key("x"), said(1))]))
    full = getattr(memory, f"_{file}")._connection
    pages = full.execute("PRAGMA page_count").fetchone()[0]
    full.execute(f"PRAGMA max_page_count={pages}")  # what SQLite then says is what it says of a full disk
    large = [(key(str(n)), said("x" * 10_000)) for n in range(3)]
    if file == "own":
        with pytest.raises(OutputUnwritable, match="disk full: free some space"):
            asyncio.run(memory.keep(large))
        assert notes == []
    else:
        asyncio.run(memory.keep(large))
        assert len(memory.recall([at for at, _ in large])) == 3
        assert ["disk full" in note for note in notes] == [True]
        assert paths["shared"].exists(), "it is not damaged"
    memory.close(done=False)


def test_a_folder_that_may_not_be_written_can_still_be_checked(tmp_path, monkeypatch):
    """`wai status --verify` needs nothing but reading."""
    file = AnswerFile(tmp_path / "a.sqlite3")
    file.keep([(key("x"), said(1))])
    file.close()
    monkeypatch.setattr(os, "access", lambda *_: False)
    before = sorted(tmp_path.iterdir())
    assert file.check() == 0
    with pytest.raises(OutputUnwritable, match="readonly"):
        file.keep([(key("x"), said(1))])
    file.close()
    assert sorted(tmp_path.iterdir()) == before


def test_the_jobs_own_answers_keep_their_price_and_those_of_others_are_free(tmp_path):
    shared = tmp_path / "shared.sqlite3"

    async def first():
        memory = PieceMemory(AnswerFile(tmp_path / "own.sqlite3"), AnswerFile(shared), model="@cf/a/b")
        await asyncio.gather(*(memory.keep([(key(str(n)), said(n, 2.0))]) for n in range(50)))
        assert memory.recall([key("7")]) == {key("7"): said(7, 2.0)}
        memory.close(done=True)

    asyncio.run(first())
    assert [path.name for path in tmp_path.iterdir()] == ["shared.sqlite3"]
    memory = PieceMemory(AnswerFile(tmp_path / "own.sqlite3"), AnswerFile(shared), model="@cf/a/b")
    assert memory.recall([key("7"), key("none")]) == {key("7"): said(7, 0.0)}
    memory.close(done=False)


def test_what_another_model_has_said_in_its_place_serves_no_other_job(tmp_path):
    """A job with a fallback keeps both answers for itself; the next one has asked for its own model's."""
    own, shared = tmp_path / "own.sqlite3", tmp_path / "shared.sqlite3"

    def memory(model):
        return PieceMemory(AnswerFile(own), AnswerFile(shared), model=model)

    theirs = Remembered("from a stand-in", 1.0, "deeplx", "workers-ai")
    first = memory("@cf/a/b")
    asyncio.run(first.keep([(key("x"), said("from the model")), (key("y"), theirs)]))
    assert set(first.recall([key("x"), key("y")])) == {key("x"), key("y")}
    first.close(done=True)
    second = memory("@cf/a/b")
    assert set(second.recall([key("x"), key("y")])) == {key("x")}
    second.close(done=True)


def test_each_batch_is_synced(tmp_path):
    """A power cut after `keep` loses nothing: SQLite is told to sync every commit."""
    file = AnswerFile(tmp_path / "a.sqlite3")
    file.keep([(key("x"), said(1))])
    connection = file._connection
    assert isinstance(connection, sqlite3.Connection)
    assert connection.execute("PRAGMA synchronous").fetchone() == (2,)
    assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    file.close()
