"""Rows: the right columns, each record once, and a cost that adds up."""

import json
import random
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import InvalidRequest, PlanError, RequestTimedOut, ServerFault, UnreadableAnswer
from pipeline.failures import failure_of, failure_of_broken
from pipeline.records import NO_PAYLOAD, BrokenRecord, Column, GatewayNote, digest, record_key
from pipeline.rows import (
    AFTER,
    BEFORE,
    RowBuilder,
    Share,
    follower_values,
    outline_of,
    output_columns,
)
from tests.support.fakes import FakeAdapter, record

AT = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
ADAPTER = FakeAdapter()


def builder(keep=(), *, include_input=False):
    return RowBuilder(ADAPTER, [Column(name, "string") for name in keep], include_input)


def share(value, neurons=1.0, latency_ms=10.0, attempts=1):
    return Share(value, neurons, latency_ms, attempts, "@cf/fake/model")


def test_a_row_has_exactly_the_columns_of_the_output_in_their_order():
    """Identity, kept columns, what was sent, the task's, and what it took."""
    columns = output_columns(ADAPTER.columns, [Column("title", "string")], include_input=True)
    one = record(3, "hello", title="T", other="no")
    row = builder(["title"], include_input=True).add(ADAPTER.pieces(one)[0], share("HI"), AT)
    assert list(row.values) == [column.name for column in columns]
    assert row.values == {
        "id": "r3",
        "source": "s",
        "row": 3,
        "title": "T",
        "input": "hello",
        "echo": "HI",
        "model": "@cf/fake/model",
        "neurons": 1.0,
        "latency_ms": 10.0,
        "attempts": 1,
        "finished_at": AT,
    }
    assert (row.id_key, row.payload_key) == (digest(b"r3"), digest(b"hello"))


def test_a_kept_column_a_record_lacks_is_null():
    """Records need not all have every column."""
    row = builder(["title"]).add(ADAPTER.pieces(record(0))[0], share("x"), AT)
    assert row.values["title"] is None


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({"a": [1, None]}, '{"a":[1,null]}'),
        (["x"], '["x"]'),
        ("x", '"x"'),
        (5, "5"),
        (True, "true"),
        (None, None),
        (AT, '"2026-11-22T12:00:00+00:00"'),
        (2**64 - 1, "18446744073709551615"),
        ({1: b"x"}, '{"1":"b\'x\'"}'),
        (json.loads("[" * 300 + "]" * 300), None),
    ],
)
def test_a_kept_column_of_no_single_type_is_json_text(value, text):
    """For the record that was sent and for those that share its answer."""
    keep = [Column("k", "json")]
    one = record(0, k=value)
    row = RowBuilder(ADAPTER, keep, False).add(ADAPTER.pieces(one)[0], share("x"), AT)
    assert row.values["k"] == text
    assert follower_values(one, keep, None, AT)["k"] == text


@pytest.mark.parametrize("name", [column.name for column in (*BEFORE, *AFTER)] + ["echo", "input"])
def test_two_columns_of_one_name_are_refused(name):
    """A kept column may not hide one of ours."""
    with pytest.raises(PlanError, match=f'would be named "{name}"') as caught:
        output_columns(ADAPTER.columns, [Column(name, "string")], include_input=True)
    assert caught.value.key == "input.keep"


def test_input_is_a_free_name_where_it_is_not_included():
    """A column called `input` may be kept."""
    assert "input" in [
        c.name for c in output_columns(ADAPTER.columns, [Column("input", "string")], include_input=False)
    ]


@given(st.permutations(range(5)), st.randoms(use_true_random=False))
def test_pieces_are_put_together_in_order_however_they_arrive(order, chance):
    """One row with the last piece; its cost is the sum, its latency and attempts the worst."""
    rows = builder(include_input=True)
    pieces = ADAPTER.pieces(record(0, "a|b|c|d|e"))
    rows.expect(pieces)
    costs = [chance.random() for _ in pieces]
    made = [rows.add(pieces[i], share(f"v{i}", costs[i], i * 10.0, i + 1), AT) for i in order]
    assert made[:-1] == [None] * 4
    values = made[-1].values
    assert values["echo"] == "v0|v1|v2|v3|v4"
    assert values["input"] == "abcde"
    assert values["neurons"] == pytest.approx(sum(costs))
    assert (values["latency_ms"], values["attempts"]) == (40.0, 5)
    assert made[-1].payload_key == record_key(pieces)
    assert rows._partial == {}


@given(st.lists(st.booleans(), min_size=2, max_size=8), st.integers())
def test_a_record_with_failed_pieces_fails_once_and_leaves_nothing_behind(oks, seed):
    """However its pieces end and in whatever order: one row or one failure, and no memory of it."""
    rows = builder()
    pieces = ADAPTER.pieces(record(0, "|".join("p" for _ in oks)))
    rows.expect(pieces)
    ends = list(zip(pieces, oks, strict=True))
    random.Random(seed).shuffle(ends)
    made = [rows.add(piece, share("v"), AT) is not None if ok else rows.fail(piece) is not None for piece, ok in ends]
    assert made.count(True) == 1
    assert rows._partial == {}


def test_an_unfinished_record_begins_anew_in_the_next_pass():
    """Pieces of a pass that was stopped do not count in the next one."""
    rows = builder()
    first, second = pieces = ADAPTER.pieces(record(0, "a|b"))
    rows.expect(pieces)
    rows.add(first, share("old"), AT)
    rows.restart()
    rows.expect(pieces)
    assert rows.add(second, share("new"), AT) is None
    assert rows.add(first, share("new"), AT).values["echo"] == "new|new"


def test_the_key_of_a_record_is_that_of_all_its_pieces():
    """Another order, another cut, another key."""
    keys = [record_key(ADAPTER.pieces(record(0, text))) for text in ("a|b", "b|a", "ab", "a|b|")]
    assert len(set(keys)) == 4


@pytest.mark.parametrize("text", ["a", "a|b"])
def test_a_record_that_is_recognised_by_more_than_its_pieces(text):
    """Rows and failures have the key that the plan computed, however it was cut; also where a piece is halved."""
    key = digest(b"the file")
    pieces = [replace(piece, record_key=key) for piece in ADAPTER.pieces(record(0, text))]
    assert record_key(pieces) == outline_of(pieces).payload_key == key
    for end in ("row", "failure", "halves"):
        rows = builder()
        rows.expect(pieces)
        if end == "failure":
            assert rows.fail(pieces[0]) == key
            assert failure_of(pieces[0], ServerFault(500, 1, "x"), attempts=1, at=AT).payload_key == key
            continue
        ends = pieces
        if end == "halves":
            ends = [*(replace(pieces[0], part=(n,)) for n in range(2)), *pieces[1:]]
            rows.split(pieces[0], ends[:2])
        made = [rows.add(piece, share("v"), AT) for piece in ends]
        assert made[-1].payload_key == key


def test_a_record_without_pieces_has_every_column_and_no_cost():
    """As the others have them, under the digest of its outline."""
    one = record(4, "=kept", title="T")
    rows = RowBuilder(ADAPTER, [Column("title", "string")], include_input=True, tells_endpoint=True)
    row = rows.unsent(one, "@cf/fake/model", AT)
    names = [
        column.name
        for column in output_columns(
            ADAPTER.columns, [Column("title", "string")], include_input=True, tells_endpoint=True
        )
    ]
    assert list(row.values) == names
    assert row.values.items() >= {"echo": "=kept", "input": "=kept", "title": "T", "endpoint": None}.items()
    assert (row.values["neurons"], row.values["latency_ms"], row.values["attempts"]) == (0.0, 0.0, 0)
    assert row.payload_key == ADAPTER.outline(one).payload_key


def test_a_follower_has_its_own_identity_and_no_cost():
    """Who shares an answer paid nothing for it."""
    values = follower_values(record(7, "same", title="T7"), [Column("title", "string")], "same", AT)
    assert values == {
        "id": "r7",
        "source": "s",
        "row": 7,
        "title": "T7",
        "input": "same",
        "neurons": 0.0,
        "latency_ms": 0.0,
        "attempts": 0,
        "finished_at": AT,
    }
    assert "input" not in follower_values(record(7), [], None, AT)


@pytest.mark.parametrize(
    ("error", "code", "status", "message", "retryable"),
    [
        (ServerFault(500, 3043, "broken"), "3043", 500, "broken", True),
        (InvalidRequest(400, None, "bad"), "http_400", 400, "bad", False),
        (RequestTimedOut("no answer"), "timed_out", None, "no answer", True),
        (UnreadableAnswer("no vectors"), "unreadable_answer", None, "no vectors", True),
    ],
)
def test_a_failure_row_says_what_happened_and_whether_to_try_again(error, code, status, message, retryable):
    """Code, status, words, attempts."""
    failure = failure_of(ADAPTER.pieces(record(2, "x"))[0], error, attempts=4, at=AT)
    assert (failure.id, failure.source, failure.row, failure.at) == ("r2", "s", 2, AT)
    assert (failure.code, failure.http_status, failure.message, failure.attempts) == (code, status, message, 4)
    assert failure.retryable is retryable
    assert (failure.id_key, failure.payload_key) == (digest(b"r2"), digest(b"x"))


def test_a_record_that_was_never_sent_has_a_failure_without_a_payload():
    """Its digest is that of nothing, so that mended input is sent."""
    failure = failure_of_broken(BrokenRecord(ordinal=1, id="b", source="s", row=9, reason="is not JSON"), AT)
    assert (failure.payload_key, failure.attempts, failure.retryable) == (NO_PAYLOAD, 0, False)
    assert (failure.code, failure.message) == ("unreadable_record", "is not JSON")


# -- through an AI Gateway ----------------------------------------------------------------------------------------


def noted(cache, log_id=None):
    return Share("v", 1.0, 1.0, 1, "m", gateway=GatewayNote(cache, log_id))


def through_gateway(*shares):
    """The gateway's columns of a record of as many pieces as there are shares."""
    rows = RowBuilder(ADAPTER, [], include_input=False, through_gateway=True)
    pieces = ADAPTER.pieces(record(0, "|".join("abcdef"[: len(shares)])))
    assert len(pieces) == len(shares)
    rows.expect(pieces)
    outcomes = [rows.add(piece, share, AT) for piece, share in zip(pieces, shares, strict=True)]
    return outcomes[-1].values["cache"], outcomes[-1].values["log_id"]


@pytest.mark.parametrize(
    ("shares", "expected"),
    [
        ([noted("HIT", "a")], ("HIT", "a")),
        ([noted("MISS", "a")], ("MISS", "a")),
        ([noted(None, "a")], (None, "a")),
        ([Share("v", 1.0, 1.0, 1, "m")], (None, None)),
        ([noted("HIT", "a"), noted("HIT", "b")], ("HIT", "b")),
        ([noted("HIT", "a"), noted("MISS", None)], ("MISS", "a")),
        ([noted("HIT", "a"), noted(None, None)], ("MISS", "a")),
    ],
)
def test_what_a_gateway_said_stands_in_the_row(shares, expected):
    """A hit is one only where no model ran for any piece; the log entry is the last one there is."""
    assert through_gateway(*shares) == expected


def test_the_columns_of_a_gateway_come_last_and_only_with_one():
    """Jobs without a gateway keep their columns."""
    plain = [column.name for column in output_columns(ADAPTER.columns, [], include_input=False)]
    with_it = [c.name for c in output_columns(ADAPTER.columns, [], include_input=False, through_gateway=True)]
    assert with_it == [*plain, "cache", "log_id"]
