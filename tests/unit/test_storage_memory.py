"""Answers to pieces: durable on return, found by what they depend on, in nobody's way when their file is broken."""

import asyncio
import contextlib
import json
import os
import random
import sqlite3

import pytest
from hypothesis import given, settings
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


@settings(deadline=None)
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


@pytest.mark.parametrize("is_asked_first", [True, False])
def test_a_broken_file_knows_nothing_says_so_when_asked_and_is_begun_anew(tmp_path, is_asked_first):
    path = tmp_path / "a.sqlite3"
    path.write_bytes(b"this is no database" * 100)
    file = AnswerFile(path)
    with pytest.raises(OutputDamaged, match="wai cache --clear"):
        file.summary()
    if is_asked_first:
        assert file.recall([key("x")]) == {}
    file.keep([(key("x"), said(1))])
    assert file.recall([key("x")]) == {key("x"): said(1)}
    assert (tmp_path / "a.sqlite3.damaged").read_bytes() == b"this is no database" * 100
    file.remove()
    assert list(tmp_path.iterdir()) == []


def kept(path, n):
    """A file of so many answers, closed; what they are."""
    file = AnswerFile(path)
    answers = {key(str(at)): said({"n": at, "text": f"answer {at} " * 5}, at / 7) for at in range(n)}
    file.keep(list(answers.items()))
    file.close()
    return answers


@pytest.mark.parametrize("flips", [100, pytest.param(2_000, marks=pytest.mark.torture)])
def test_a_flipped_bit_makes_no_other_answer(tmp_path, flips):
    """Wherever it is: an answer is as it was or not known, and what is asked for again can be kept."""
    path, copy = tmp_path / "a.sqlite3", tmp_path / "copy" / "a.sqlite3"
    answers = kept(path, 40)
    data = path.read_bytes()
    copy.parent.mkdir()
    rng = random.Random(31)
    lost = 0
    for _ in range(flips):
        at, mask = rng.randrange(len(data)), 1 << rng.randrange(8)
        copy.write_bytes(data[:at] + bytes([data[at] ^ mask]) + data[at + 1 :])
        file = AnswerFile(copy)
        known = file.recall(list(answers))
        assert known.items() <= answers.items(), f"bit {mask} of byte {at}"
        missing = {one: answer for one, answer in answers.items() if one not in known}
        lost += len(missing)
        if missing:
            file.keep(list(missing.items()))
            assert file.recall(list(missing)) == missing, f"bit {mask} of byte {at}"
        file.remove()
    assert lost


@pytest.mark.parametrize("share", [0.0, 0.3, 0.7, 0.99])
def test_a_file_that_was_cut_is_begun_anew(tmp_path, share):
    path = tmp_path / "a.sqlite3"
    answers = kept(path, 400)
    os.truncate(path, int(share * path.stat().st_size))
    file = AnswerFile(path)
    assert file.recall(list(answers)).items() <= answers.items()
    file.keep(list(answers.items()))
    assert file.recall(list(answers)) == answers
    file.close()


def test_answers_that_an_earlier_version_kept_are_known(tmp_path):
    """They have no digest: a value then was its JSON and nothing else."""
    path = tmp_path / "a.sqlite3"
    answers = kept(path, 3)
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as plain:
        for at, answer in answers.items():
            plain.execute("UPDATE answers SET value = ? WHERE key = ?", (json.dumps(answer.value).encode(), at))
    file = AnswerFile(path)
    assert file.recall(list(answers)) == answers
    file.close()


def test_a_full_disk_is_no_damage(tmp_path):
    """It is told as what it is, and nothing is moved."""
    path = tmp_path / "a.sqlite3"
    kept(path, 3)
    file = AnswerFile(path)
    file.recall([key("0")])
    file._connection.execute("PRAGMA max_page_count = 1")
    with pytest.raises(OutputUnwritable, match="full"):
        file.keep([(key("x"), said("x" * 100_000))])
    assert not path.with_name("a.sqlite3.damaged").exists()
    file.close()


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
