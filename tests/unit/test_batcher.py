"""The batcher: nothing lost, nothing reordered, no request over its limits."""

from hypothesis import given
from hypothesis import strategies as st

from pipeline.batcher import Batcher, count_requests, fit, halves
from pipeline.records import Piece, Record, Request

RECORD = Record(ordinal=0, id="r", source="s", row=0, fields={})


def piece(size, ceiling=1.0):
    return Piece(record=RECORD, content=object(), size=size, ceiling=ceiling, expected=0.0, payload_key=b"")


def batches(pieces, max_pieces, max_bytes):
    batcher = Batcher(max_pieces=max_pieces, max_bytes=max_bytes)
    made = [request for item in pieces if (request := batcher.add(item)) is not None]
    if (last := batcher.flush()) is not None:
        made.append(last)
    return made


@given(st.lists(st.integers(1, 50)), st.integers(1, 10), st.integers(1, 100))
def test_requests_partition_the_pieces_in_order_and_keep_to_the_limits(sizes, max_pieces, max_bytes):
    pieces = [piece(size) for size in sizes]
    made = batches(pieces, max_pieces, max_bytes)
    assert [item for request in made for item in request.pieces] == pieces
    for request in made:
        assert 1 <= len(request.pieces) <= max_pieces
        assert sum(item.size for item in request.pieces) <= max_bytes or len(request.pieces) == 1
    assert len(made) == count_requests(sizes, max_pieces=max_pieces, max_bytes=max_bytes)


def test_a_hundred_texts_make_one_request():
    assert [len(request.pieces) for request in batches([piece(10)] * 250, 100, 10_000)] == [100, 100, 50]


@given(st.lists(st.floats(0, 10), min_size=1), st.floats(0, 40))
def test_what_fits_is_within_the_room_and_nothing_is_lost(ceilings, room):
    request = Request(tuple(piece(1, ceiling) for ceiling in ceilings))
    fitting, rest = fit(request, room)
    kept = [*(fitting.pieces if fitting else ()), *(rest.pieces if rest else ())]
    assert sorted(map(id, kept)) == sorted(map(id, request.pieces))
    if fitting:
        assert sum(item.ceiling for item in fitting.pieces) <= room
    else:
        assert min(ceilings) > room


@given(st.integers(2, 40))
def test_halves_keep_order_and_lose_nothing(n):
    request = Request(tuple(piece(index) for index in range(n)), output_cap=7)
    first, second = halves(request)
    assert first.pieces + second.pieces == request.pieces
    assert first.pieces
    assert second.pieces
    assert first.output_cap == second.output_cap == 7
