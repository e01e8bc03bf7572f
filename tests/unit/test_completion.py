"""Pieces: their answers are kept, shared and put together, whatever the order and whoever fails."""

# ruff: noqa: ARG002 - a fake has the form of what it stands for

import asyncio

import pytest

from pipeline.completion import Answered, spread
from pipeline.errors import InvalidRequest
from pipeline.events import StopReason
from pipeline.interfaces import Remembered
from pipeline.records import Piece, Request, digest
from pipeline.sender import Delivered
from tests.support.fakes import FakeAdapter, Street, answer, record, run_inline
from tests.unit.test_engine import run


class FakeMemory:
    """Answers in memory."""

    def __init__(self):
        self.known = {}

    def recall(self, keys):
        return {key: self.known[key] for key in keys if key in self.known}

    async def keep(self, answers):
        await asyncio.sleep(0.01)
        self.known.update(answers)


class Sharing(FakeAdapter):
    """Equal pieces have equal answers."""

    shares_pieces = True


class Condensing(FakeAdapter):
    """Asks once more with all values of the first stage in one."""

    def follow_up(self, record, answered):
        if answered[0][0].stage or len(answered) == 1:
            return ()
        text = "+".join(value for _, value in answered)
        return (
            Piece(record, text, size=len(text), ceiling=1.0, expected=1.0, payload_key=digest(text.encode()), stage=1),
        )


def sent(street):
    return [text for payload in street.endpoint.calls for text in payload["text"]]


@pytest.mark.parametrize(
    ("pieces", "shares"),
    [
        ([(0, 0.0)], [12.0]),
        ([(9, 1.0), (1, 3.0)], [3.0, 9.0]),
        ([(5_000_000, 0.0), (1, 0.5), (1, 0.5)], [0.0, 6.0, 6.0]),
        ([(10, 0.0), (30, 0.0)], [3.0, 9.0]),
        ([(0, 0.0), (0, 0.0)], [6.0, 6.0]),
    ],
)
def test_a_charge_is_shared_out_by_what_was_expected(pieces, shares):
    """Not by bytes, unless nothing was expected: a text of megabytes is converted for nothing, a picture is not."""
    made = [
        Piece(record(0), "", size=size, ceiling=1.0, expected=expected, payload_key=b"k") for size, expected in pieces
    ]
    assert spread(12.0, made) == shares


def test_equal_pieces_are_sent_once_across_records_and_inside_one():
    items = [record(0, "a|b|a"), record(1, "b|c"), record(2, "a")]
    street = run(items, adapter=Sharing(), memory=FakeMemory())
    assert sorted(sent(street)) == ["a", "b", "c"]
    assert {row.values["id"]: row.values["echo"] for row in street.sink.rows} == {"r0": "a|b|a", "r1": "b|c", "r2": "a"}
    assert sum(row.values["neurons"] for row in street.sink.rows) == 3.0


def test_without_sharing_every_piece_is_sent():
    street = run([record(0, "a"), record(1, "a")], memory=FakeMemory())
    assert sent(street) == ["a", "a"]
    assert street.parts.memory.known == {}, "a record that is one piece is safe in its row"


def test_a_task_that_keeps_no_pieces_has_none_kept():
    """Its later pieces depend on more than what is sent."""

    class Forgetful(Condensing):
        keeps_pieces = False

    street = run([record(0, "a|b")], adapter=Forgetful(), memory=FakeMemory())
    assert street.answered == ["r0"]
    assert street.parts.memory.known == {}


def test_pieces_that_were_answered_before_are_not_sent_again_and_keep_their_price():
    memory = FakeMemory()
    memory.known[digest(b"a")] = Remembered("a", 7.0, "@cf/fake/model", "first")
    street = run([record(0, "a|b"), record(1, "x|y")], memory=memory)
    assert sorted(sent(street)) == ["b", "x", "y"]
    assert {row.values["id"]: row.values["neurons"] for row in street.sink.rows} == {"r0": 8.0, "r1": 2.0}
    assert len(memory.known) == 4


def test_a_record_whose_pieces_are_all_known_needs_no_request():
    memory = FakeMemory()
    for part in ("a", "b"):
        memory.known[digest(part.encode())] = Remembered(part, 1.0, "@cf/fake/model", "first")
    street = run([record(0, "a|b")], memory=memory)
    assert street.reason is StopReason.COMPLETED
    assert sent(street) == []
    assert street.answered == ["r0"]
    assert street.marked


def test_a_later_stage_is_sent_and_remembered_as_well():
    memory = FakeMemory()
    street = run([record(0, "a|b")], adapter=Condensing(), memory=memory)
    assert sent(street) == ["a", "b", "a+b"]
    (row,) = street.sink.rows
    assert (row.values["echo"], row.values["neurons"], row.values["attempts"]) == ("a+b", 3.0, 2)
    again = run([record(0, "a|b")], adapter=Condensing(), memory=memory)
    assert sent(again) == []
    assert again.answered == ["r0"]


def test_who_waits_for_a_piece_that_fails_fails_with_it():
    def behave(payload, _):
        return InvalidRequest(400, 5006, "bad") if "bad" in payload["text"] else answer(payload)

    items = [record(0, "bad|a"), record(1, "bad"), record(2, "a")]
    street = run(items, adapter=Sharing(), memory=FakeMemory(), behave=behave)
    assert sorted(street.failed) == ["r0", "r1"]
    assert street.answered == ["r2"]
    assert sent(street).count("bad") == 1


def test_who_waits_for_a_piece_of_a_failed_record_is_sent_itself():
    """The piece is dropped, the answer is still needed; of those that wait, only who has not failed too."""

    def behave(payload, _):
        return InvalidRequest(400, 5006, "bad") if "bad" in payload["text"] else answer(payload)

    pieces = [f"p{n}" for n in range(60)]
    items = [record(0, "|".join(["bad", *pieces])), record(1, f"bad|{pieces[-1]}"), record(2, pieces[-1])]
    street = run(items, adapter=Sharing(), memory=FakeMemory(), behave=behave, concurrency=1)
    assert sorted(street.failed) == ["r0", "r1"]
    assert street.answered == ["r2"]
    assert sent(street).count(pieces[-1]) == 1
    assert len(sent(street)) < 10
    assert street.parts.rows._partial == {}


def test_a_piece_of_a_failed_record_that_another_waits_for_is_left_pending_with_it():
    """It did not fit into the budget: the run is not completed, though its own record has failed."""

    def behave(payload, _):
        return InvalidRequest(400, 5006, "bad") if "bad" in payload["text"] else answer(payload)

    items = [record(0, "bad|big@50"), record(1, "big@50")]
    street = run(items, adapter=Sharing(), memory=FakeMemory(), behave=behave, limit=10, concurrency=1)
    assert street.failed == ["r0"]
    assert street.pending == ["r1"]
    assert street.reason is StopReason.BUDGET_SPENT


def test_what_stands_in_for_an_answer_is_not_remembered():
    """The next run asks again."""

    class Contented(Sharing):
        def fallback(self, piece, error):
            return "instead" if piece.content == "bad" else None

    def behave(payload, _):
        return InvalidRequest(400, 5006, "bad") if "bad" in payload["text"] else answer(payload)

    memory = FakeMemory()
    street = run([record(0, "bad|a")], adapter=Contented(), memory=memory, behave=behave)
    assert [row.values["echo"] for row in street.sink.rows] == ["instead|a"]
    assert set(memory.known) == {digest(b"a")}


def test_who_waits_for_a_piece_that_is_cut_is_sent_itself():
    class Cutting(Sharing):
        def instead(self, piece, error):
            if piece.record.id != "r0":
                return ()
            parts = [piece.content[:1], piece.content[1:]]
            return [
                Piece(
                    piece.record, part, size=1, ceiling=1.0, expected=1.0, payload_key=digest(part.encode()), part=(at,)
                )
                for at, part in enumerate(parts)
            ]

    seen = []

    def behave(payload, _):
        seen.append(payload["text"][0])
        return InvalidRequest(413, 3006, "large") if seen.count("zz") == 1 and seen[-1] == "zz" else answer(payload)

    street = run(
        [record(0, "zz"), record(1, "zz")], adapter=Cutting(), memory=FakeMemory(), behave=behave, concurrency=1
    )
    assert sorted(street.answered) == ["r0", "r1"]
    assert {row.values["id"]: row.values["echo"] for row in street.sink.rows} == {"r0": "z|z", "r1": "zz"}


@pytest.mark.parametrize("after", [0.5, 1.5, 2.5, 10.0])
def test_a_stop_at_any_time_leaves_every_record_in_one_place(after):
    async def during(street):
        await asyncio.sleep(after)
        street.engine.stop(StopReason.INTERRUPTED)

    items = [record(index, f"a|b{index % 3}|c{index}") for index in range(12)]
    street = run(items, adapter=Sharing(), memory=FakeMemory(), during=during, concurrency=2)
    assert len(street.answered) + len(street.pending) == 12
    assert not street.failed


def test_a_piece_that_is_being_written_down_is_not_sent_again():
    """Its like, admitted while its answer is on the way to the disk, takes that answer."""

    class Slow(FakeMemory):
        async def keep(self, answers):
            await asyncio.sleep(5.0)
            self.known.update(answers)

    async def main():
        adapter = Sharing()
        street = Street([], adapter=adapter, memory=Slow())
        ends = street.engine._ends
        (first,), (second,), (third,) = (adapter.pieces(record(at, "same")) for at in range(3))
        assert await ends.admit([first]) == [first]
        request = Request((first,))
        delivered = Delivered(["same"], 1.0, 1.0)
        async with asyncio.TaskGroup() as group:
            group.create_task(ends.answered(Answered(request, delivered, 1, "m", "e")))
            await asyncio.sleep(0.0)
            asked = [await ends.admit([second])]
            await asyncio.sleep(1.0)
            asked.append(await ends.admit([third]))
        assert asked == [[], []]
        assert sorted(street.answered) == ["r0", "r1", "r2"]

    run_inline(main())
