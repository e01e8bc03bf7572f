"""The queue: receipts outlive a crash, answers find their requests, and what is lost is said and sent again."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.dialects.queue import is_unsupported, read_progress, read_receipt
from pipeline.errors import InvalidRequest, UnreadableAnswer
from pipeline.queueing import QueueNotes, Receipt
from pipeline.records import Answer, ItemRefused, Usage

REFERENCES = ("a", "b", "c")


def said(result):
    return Answer(result=result, usage=Usage(), latency_ms=1.0)


def items(*, nested=False, named=True):
    results = [{"response": name} for name in REFERENCES]
    return [
        {
            "id": at,
            "success": True,
            "result": {"result": result} if nested else result,
            **({"external_reference": REFERENCES[at]} if named else {}),
        }
        for at, result in enumerate(results)
    ]


@given(
    st.permutations(range(3)), st.booleans(), st.booleans(), st.sampled_from(["responses", "results"]), st.booleans()
)
def test_answers_find_their_requests(order, nested, named, key, wrapped):
    """Out of order, under either name, nested once more, with and without a reference."""
    all_items = items(nested=nested, named=named)
    result = {key: [all_items[at] for at in order], "usage": {}}
    found = read_progress(said({"result": result} if wrapped else result), REFERENCES)
    assert found.items == {name: {"response": name} for name in REFERENCES}


@pytest.mark.parametrize("status", ["queued", "running"])
def test_what_is_not_done_is_waited_for(status):
    assert read_progress(said({"status": status, "request_id": "x"}), REFERENCES) is None


@pytest.mark.parametrize("result", [None, [], "x", {}, {"responses": None}, {"result": 3}, {"status": "lost"}])
def test_what_is_no_answer_of_a_queue_is_refused(result):
    with pytest.raises(UnreadableAnswer):
        read_progress(said(result), REFERENCES)


@pytest.mark.parametrize(
    "item",
    [
        {"id": 1, "success": False, "error": "too long"},
        {"id": 1, "external_reference": "b", "success": False, "errors": [{"message": "too long"}]},
    ],
)
def test_a_refusal_is_that_of_one_request(item):
    found = read_progress(said({"responses": [item]}), REFERENCES).items
    assert list(found) == ["b"]
    assert isinstance(found["b"], ItemRefused)
    assert "too long" in found["b"].reason


@pytest.mark.parametrize("item", [None, 3, [], {"id": 9}, {"id": True}, {"external_reference": "z"}, {"id": -1}])
def test_answers_to_nothing_that_was_asked_are_left_out(item):
    assert read_progress(said({"responses": [item]}), REFERENCES).items == {}


@pytest.mark.parametrize("result", [None, {}, {"request_id": 3}, {"request_id": ""}, {"request_id": "x" * 300}])
def test_a_receipt_without_a_number_is_none(result):
    with pytest.raises(UnreadableAnswer):
        read_receipt(said(result))


def test_only_one_8007_means_that_there_is_no_queue():
    assert is_unsupported(InvalidRequest(400, 8007, "This model does not support request queuing"))
    assert not is_unsupported(InvalidRequest(400, 8007, "NSFW"))
    assert not is_unsupported(InvalidRequest(400, 5006, "does not support request queuing"))


def test_notes_tell_what_is_still_in_the_queue(tmp_path):
    notes = QueueNotes(tmp_path / "queue.jsonl")
    assert notes.open_receipts() == ([], 0)
    notes.add(intent=["a"])
    assert notes.open_receipts() == ([], 1)
    notes.add(queued="r1", references=["a"])
    notes.add(intent=["b"])
    notes.add(refused=["b"])
    notes.add(intent=["c"])
    notes.add(queued="r2", references=["c"])
    assert notes.open_receipts() == ([Receipt("r1", ("a",)), Receipt("r2", ("c",))], 0)
    notes.add(collected="r1")
    assert notes.open_receipts() == ([Receipt("r2", ("c",))], 0)


@pytest.mark.parametrize("torn", [1, 10, 30])
def test_a_torn_note_costs_only_itself(tmp_path, torn):
    path = tmp_path / "queue.jsonl"
    notes = QueueNotes(path)
    notes.add(intent=["a"])
    notes.add(queued="r1", references=["a"])
    path.write_bytes(path.read_bytes() + json.dumps({"collected": "r1", "more": "x" * 40}).encode()[:torn])
    assert notes.open_receipts()[0] == [Receipt("r1", ("a",))]
    notes.add(collected="r1")
    assert QueueNotes(path).open_receipts()[0] == []
