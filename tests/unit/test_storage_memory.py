"""Answers to pieces: durable on return, found by what they depend on, in nobody's way when their file is broken."""

import asyncio
import sqlite3

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import OutputDamaged, OutputUnwritable
from pipeline.interfaces import Remembered
from pipeline.records import digest
from pipeline.storage import AnswerFile, PieceMemory

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


@given(st.dictionaries(st.binary(min_size=16, max_size=16), JSON, max_size=5))
def test_what_is_kept_is_found(tmp_path_factory, values):
    path = tmp_path_factory.mktemp("kept") / "a.sqlite3"
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


def test_a_broken_file_knows_nothing_and_says_so_when_asked(tmp_path):
    path = tmp_path / "a.sqlite3"
    path.write_bytes(b"this is no database" * 100)
    file = AnswerFile(path)
    assert file.recall([key("x")]) == {}
    with pytest.raises(OutputDamaged, match="wai cache --clear"):
        file.summary()
    with pytest.raises(OutputUnwritable):
        file.keep([(key("x"), said(1))])
    file.remove()
    assert list(tmp_path.iterdir()) == []


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
