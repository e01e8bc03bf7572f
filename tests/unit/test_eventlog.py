"""The event log: bounded within a run, and read back as the attempts of one record."""

import json
import tracemalloc
from datetime import UTC, datetime, timedelta

import pytest

from pipeline.eventlog import MOST_ATTEMPTS, EventLog, older, read_attempts
from pipeline.events import Event

START = datetime(2026, 11, 22, 8, tzinfo=UTC)


class Ticking:
    """A clock that goes on by a second each time it is asked."""

    def __init__(self):
        self.n = 0

    def now(self):
        self.n += 1
        return START + timedelta(seconds=self.n)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "events.jsonl"


@pytest.fixture
def log(path):
    logs = []

    def open_(run="run-1", **options):
        logs.append(EventLog(path, run, Ticking(), **options))
        return logs[-1]

    yield open_
    for each in logs:
        each.close()


def attempt(ids, number=1, code="3040", message="no capacity (HTTP 429, code 3040)"):
    facts = {"attempt": number, "code": code, "http_status": 429, "neurons": 0.5, "ids": list(ids)}
    return Event("attempt", message, facts)


def failed(record_id):
    return Event("failed", f"{record_id}: no", {"id": record_id, "code": "3040"})


def lines_of(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_both_files_stay_within_bounds_during_a_run(log, path):
    """However much fails, two files of bounded size are left, every line of them whole, and the newest is there."""
    events = log(most_bytes=4_000)
    for n in range(500):
        events(attempt([f"r{n}"]))
    assert path.stat().st_size <= 4_000
    assert older(path).stat().st_size <= 4_000
    assert [each.name for each in sorted(path.parent.iterdir())] == ["events.jsonl", "events.jsonl.1"]
    kept = [line["ids"][0] for file in (older(path), path) for line in lines_of(file)]
    assert kept == [f"r{n}" for n in range(500 - len(kept), 500)]


def test_a_message_that_json_cannot_hold_costs_nothing_but_its_letters(log, path):
    """What comes after it is written as well."""
    events = log()
    events(attempt(["a"], message="text/\udcff refused"))
    events(failed("b"))
    assert [line["message"] for line in lines_of(path)] == ["text/? refused", "b: no"]


def test_a_line_without_end_is_not_held(log, path):
    """Damage may join lines; what comes after is still found."""
    with path.open("wb") as file:
        for _ in range(64):
            file.write(b"x" * 1_000_000)
        file.write(b"\n")
    log()(attempt(["a"]))
    tracemalloc.start()
    found = read_attempts(path, "a")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert [each.code for each in found] == ["3040"]
    assert peak < 40_000_000


def test_a_log_that_was_long_already_is_put_aside(log, path):
    """What an earlier run left counts towards the bound."""
    path.write_bytes(b"x" * 5_000)
    log(most_bytes=5_000)(attempt(["a"]))
    assert older(path).stat().st_size == 5_000
    assert len(lines_of(path)) == 1


def test_a_request_of_many_that_fails_often_is_named_once(log, path):
    """The ids of a request stand in the log once; its later lines are small."""
    ids = [f"a/long/path/of/a/document/{n}" for n in range(100)]
    events = log()
    for number in range(1, 51):
        events(attempt(ids, number))
    first, *others = path.read_bytes().splitlines()
    assert len(first) > 2_000
    assert all(len(line) < 300 for line in others)
    assert [each.number for each in read_attempts(path, ids[57])] == [*range(1, 51)]
    assert {each.n_records for each in read_attempts(path, ids[57])} == {100}


def test_each_file_names_the_records_itself(log, path):
    """A request that goes on failing over a change of files is still found when the older file is gone."""
    events = log(most_bytes=3_000)
    for number in range(1, 41):
        events(attempt(["a", "b"], number))
    assert older(path).exists()
    older(path).unlink()
    found = read_attempts(path, "b")
    assert found
    assert [each.number for each in found] == [*range(41 - len(found), 41)]


def test_a_long_message_is_cut(log, path):
    """A line is small whatever the service says."""
    log()(attempt(["a"], message="x" * 100_000))
    assert path.stat().st_size < 1_000


def test_attempts_of_one_record(log, path):
    """All that is known of an attempt comes back, in order, of this record alone, through splits and runs."""
    events = log()
    events(Event("start", "4 records"))
    events(attempt(["a", "b", "c"]))
    events(Event("split", "3040: 3 records are sent again in two halves"))
    events(attempt(["a"]))
    events(attempt(["b", "c"], code="3043"))
    events(failed("b"))
    events(attempt(["c"]))
    log("run-2")(attempt(["b"], 7))
    found = read_attempts(path, "b")
    assert [(each.run, each.number, each.code, each.n_records, each.gave_up) for each in found] == [
        ("run-1", 1, "3040", 3, False),
        ("run-1", 1, "3043", 2, True),
        ("run-2", 7, "3040", 1, False),
    ]
    assert found[0].at == START + timedelta(seconds=2)
    assert (found[0].http_status, found[0].neurons) == (429, 0.5)
    assert len(read_attempts(path, "c")) == 3
    assert read_attempts(path, "d") == []


def test_a_record_is_not_another_one(log, path):
    """An id that is part of another's, of a message or of a key is not mixed up with it."""
    events = log()
    events(attempt(["r12"], message='"r1" was refused'))
    events(attempt(["code", "r12"], message="r1"))
    assert read_attempts(path, "r1") == []
    assert len(read_attempts(path, "code")) == 1
    assert len(read_attempts(path, "r12")) == 2


@pytest.mark.parametrize("name", ['with "quotes"', "line\nbreak", "ünï çødé", "back\\slash", "\u202e", "0"])
def test_ids_of_any_letters(log, path, name):
    """Whatever is in an id, it is found."""
    log()(attempt([name, "other"]))
    assert len(read_attempts(path, name)) == 1


def test_half_a_surrogate_pair_is_in_no_log(log, path):
    """An id that no log can hold is no error."""
    log()(attempt(["a"]))
    assert read_attempts(path, "\udc80") == []


def test_torn_and_foreign_lines_are_passed_over(log, path):
    """What is torn, empty, binary or of another program takes nothing with it."""
    log()(attempt(["a"]))
    whole = path.read_bytes()
    foreign = [
        b'["a"]\n',
        b'"a"\n',
        b"\n",
        b'\xff\xfe"a"\n',
        b'{"kind":"attempt","ids":["a"]}\n',
        b'{"kind":"attempt","ids":["a"],"at":"2026-11-22T08:00:00"}\n',
        b'{"kind":"attempt","ids":"a","request":["a"],"at":"2026-11-22T08:00:00Z"}\n',
        b'{"kind":"attempt","ids":["a"],"at":"2026-11-22T08:00:00Z","attempt":"x","neurons":null,"http_status":"y"}\n',
    ]
    path.write_bytes(whole[:40] + b"\n" + b"".join(foreign) + whole + whole[:60])
    found = read_attempts(path, "a")
    assert [each.number for each in found] == [0, 1]
    assert found[0].http_status is None


def test_a_log_from_before_requests_had_names(path):
    """Lines that name every record each time are read as well."""
    line = {"at": START.isoformat(), "run": "r", "kind": "attempt", "message": "m", "attempt": 2, "ids": ["a", "b"]}
    path.write_text(json.dumps(line, separators=(",", ":")) + "\n")
    assert [(each.number, each.n_records) for each in read_attempts(path, "b")] == [(2, 2)]


def test_the_last_attempts_are_read(log, path):
    """Memory is bounded: of very many attempts the last ones are kept."""
    events = log()
    for number in range(MOST_ATTEMPTS + 50):
        events(attempt(["a"], number))
    found = read_attempts(path, "a")
    assert [each.number for each in found] == [*range(50, MOST_ATTEMPTS + 50)]


def test_no_log_is_no_attempts(path):
    """A job that never ran, or a log that cannot be read, is no error."""
    assert read_attempts(path, "a") == []
    path.mkdir()
    assert read_attempts(path, "a") == []


def test_a_log_put_aside_while_it_is_read_is_not_missed(log, path, monkeypatch):
    """Attempts are neither lost nor told twice when the files change between opening the one and the other."""
    log()(attempt(["a"]))
    opened, turns = type(path).open, []

    def turning(self, *arguments, **options):
        try:
            return opened(self, *arguments, **options)
        finally:
            if not turns:  # right after the first of the two, whichever that is
                turns.append(self)
                path.replace(older(path))
                path.touch()

    monkeypatch.setattr(type(path), "open", turning)
    assert len(read_attempts(path, "a")) == 1


def test_a_full_disk_ends_the_log_and_nothing_else(log, path, monkeypatch):
    """A log that cannot begin anew is closed, and later events are dropped without a word."""
    events = log(most_bytes=200)
    events(attempt(["a"]))

    def refuse(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(type(path), "replace", refuse)
    for _ in range(5):
        events(attempt(["a"]))
    assert path.stat().st_size < 400
