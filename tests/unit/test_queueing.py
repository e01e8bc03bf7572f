"""The queue: receipts outlive a crash, answers find their requests, and what is lost is said and sent again."""

import asyncio
import json

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.charges import charge_of_failure
from pipeline.dialects.queue import is_unsupported, read_progress, read_receipt
from pipeline.dialects.workers_ai import WorkersAI
from pipeline.errors import AllocationExhausted, ConnectFailed, InvalidRequest, RateLimited, UnreadableAnswer
from pipeline.limits import Pace
from pipeline.queueing import QueueEndpoint, QueueNotes, Receipt
from pipeline.records import Answer, ItemRefused, Usage
from pipeline.wire import HttpResponse
from tests.support.fakes import run_inline
from tests.support.hostile import nested
from tests.support.virtual import LoopClock

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


@pytest.mark.parametrize("error", [nested(1_000), "\x1b[2J\u202e", {"message": nested(1_000)}, [5], "x" * 10_000])
def test_any_reason_of_a_refusal_can_be_shown(error):
    """However deep it is, and whatever it would do to a terminal."""
    found = read_progress(said({"responses": [{"id": 1, "success": False, "error": error}]}), REFERENCES).items
    assert found["b"].reason.isprintable()
    assert 0 < len(found["b"].reason) <= 300


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


# -- asking -------------------------------------------------------------------------------------------------------


def http(body, status=200):
    return HttpResponse(status, {"content-type": "application/json"}, orjson.dumps(body), latency_ms=1.0)


def result(value):
    return http({"success": True, "result": value, "errors": [], "messages": []})


def refusal(status, code, message="no"):
    return http({"success": False, "result": None, "errors": [{"code": code, "message": message}]}, status)


NO_QUEUE = refusal(400, 8007, "This model does not support request queuing")
BUSY, MINUTE = refusal(429, 3040), refusal(429, 3021)
USED_UP = refusal(429, 4006, "you have used up your daily free allocation")


class FakeService:
    """Answers every prompt with itself, for one neuron; `before` gets (kind, number of its kind) and may say otherwise.

    Kinds: ``submit`` and ``ask`` for the queue, ``alone`` for a request by itself.
    """

    def __init__(self, before=lambda *_: None):
        self.before = before
        self.queued, self.asked = {}, []

    async def send(self, request):
        await asyncio.sleep(0.1)
        body = orjson.loads(request.body)
        kind = "submit" if "requests" in body else "ask" if "request_id" in body else "alone"
        self.asked.append((kind, body))
        said = self.before(kind, sum(other == kind for other, _ in self.asked))
        if isinstance(said, BaseException):
            raise said
        return said or self._answer(kind, body)

    def _answer(self, kind, body):
        if kind == "submit":
            return result({"status": "queued", "request_id": self.queue(*self.prompts(kind, body))})
        if kind == "ask":
            names = self.queued[body["request_id"]]
            items = [{"external_reference": name, "success": True, "result": {"response": name}} for name in names]
            return result({"responses": items, "usage": {"neurons": float(len(names))}})
        return result({"response": body["prompt"], "usage": {"neurons": 1.0}})

    def queue(self, *names):
        self.queued[f"q{len(self.queued) + 1}"] = names
        return f"q{len(self.queued)}"

    @staticmethod
    def prompts(kind, body):
        return [item["prompt"] for item in body["requests"]] if kind == "submit" else [body["prompt"]]

    def sent(self):
        """What was sent to be answered, in order."""
        return [name for kind, body in self.asked if kind != "ask" for name in self.prompts(kind, body)]


def endpoint(service, path, told=None):
    clock = LoopClock()
    dialect = WorkersAI(
        base_url="https://api.example.com/v4", account_id="a" * 32, model="@cf/a/b", gateway=None, now=clock.now
    )
    pace = Pace(100_000, clock)
    tell = (told if told is not None else []).append
    return QueueEndpoint(service, dialect, QueueNotes(path / "queue.jsonl"), pace=pace, clock=clock, tell=tell)


def payload(names):
    return {"requests": [{"prompt": name, "external_reference": name} for name in names]}


def calls(service, path, names="ab", *, fails=None, n=2):
    """Call `n` times for the same requests, of which the first ends with `fails`; return error, answer and endpoint."""

    async def main():
        queue = endpoint(service, path)
        error = None
        if fails is not None:
            with pytest.raises(fails) as caught:
                await queue.call(payload(names), None)
            error = caught.value
        answered = [await queue.call(payload(names), None) for _ in range(n - (fails is not None))]
        return error, answered[-1] if answered else None

    return run_inline(main())


def echoed(names):
    return {name: {"response": name} for name in names}


def one_is_refused(kind, n):
    """The first time the queue is done, it has answered `a` and refused `b`."""
    if (kind, n) != ("ask", 1):
        return None
    items = [{"id": 0, "success": True, "result": {"response": "a"}}, {"id": 1, "success": False, "error": "busy"}]
    return result({"responses": items, "usage": {"neurons": 1.0}})


def test_what_the_queue_has_answered_is_not_queued_again_when_the_rest_cannot_be(tmp_path):
    """It is paid for: the next attempt has it, and the one that failed is booked at what it cost."""
    service = FakeService(lambda kind, n: MINUTE if (kind, n) == ("submit", 2) else one_is_refused(kind, n))
    error, answer = calls(service, tmp_path, fails=RateLimited)
    assert answer.result == echoed("ab")
    assert service.sent() == ["a", "b", "b", "b"]
    assert charge_of_failure(error, ceiling=10.0) == 1.0
    assert answer.usage.neurons == 1.0


def test_what_the_queue_has_answered_does_not_fail_with_what_it_refused(tmp_path):
    service = FakeService(lambda kind, n: BUSY if (kind, n) == ("submit", 2) else one_is_refused(kind, n))
    _, answer = calls(service, tmp_path, n=1)
    assert answer.result["a"] == {"response": "a"}
    assert isinstance(answer.result["b"], ItemRefused)
    assert answer.usage.neurons == 1.0


def test_a_receipt_is_open_until_all_of_it_is_handed_out(tmp_path):
    """What answered in the first round is nowhere on disk: a run killed in the second one asks for it again."""
    seen = []

    def before(kind, n):
        if (kind, n) == ("submit", 2):
            seen.extend(QueueNotes(tmp_path / "queue.jsonl").open_receipts()[0])
        return one_is_refused(kind, n)

    calls(FakeService(before), tmp_path, n=1)
    assert seen == [Receipt("q1", ("a", "b"))]
    assert QueueNotes(tmp_path / "queue.jsonl").open_receipts() == ([], 0)


def test_what_is_queued_is_asked_about_again_when_the_network_is_back(tmp_path):
    """And not queued twice; the attempt is booked at its ceiling, for nobody has said what it costs."""
    service = FakeService(lambda kind, n: ConnectFailed("gone") if kind == "ask" and n <= 20 else None)
    error, answer = calls(service, tmp_path, fails=ConnectFailed)
    assert service.sent() == ["a", "b"]
    assert answer.result == echoed("ab")
    assert charge_of_failure(error, ceiling=10.0) == 10.0
    assert answer.usage.neurons == 0.0
    assert QueueNotes(tmp_path / "queue.jsonl").open_receipts() == ([], 0)


def test_what_an_earlier_run_has_queued_is_not_lost_because_the_network_is_gone(tmp_path):
    """It was booked then: neither the attempt that could not ask nor the one that could costs anything."""
    notes = QueueNotes(tmp_path / "queue.jsonl")
    notes.add(intent=["a", "b"])
    notes.add(queued="q1", references=["a", "b"])
    service = FakeService(lambda kind, n: ConnectFailed("gone") if kind == "ask" and n <= 20 else None)
    service.queue("a", "b")
    error, answer = calls(service, tmp_path, fails=ConnectFailed)
    assert service.sent() == []
    assert answer.result == echoed("ab")
    assert charge_of_failure(error, ceiling=10.0) is None
    assert answer.usage.neurons == 0.0
    assert notes.open_receipts() == ([], 0)


@pytest.mark.parametrize(("said", "fails"), [(USED_UP, AllocationExhausted), (MINUTE, RateLimited)])
def test_what_is_sent_alone_ends_with_the_refusal_and_keeps_its_answers(tmp_path, said, fails):
    """Nothing leaves after the refusal was read; what was answered before is booked, and not asked again."""
    names = "abcdefghijklmnopqrst"

    def before(kind, n):
        return NO_QUEUE if kind == "submit" else said if n == 9 else None

    service = FakeService(before)
    error, answer = calls(service, tmp_path, names, fails=fails)
    assert {name: item["response"] for name, item in answer.result.items()} == {name: name for name in names}
    alone = [body["prompt"] for kind, body in service.asked if kind == "alone"]
    assert len(alone) == len(names) + 1
    assert charge_of_failure(error, ceiling=100.0) == 15.0, "two times eight at once, one of them refused"
    assert answer.usage.neurons == 5.0
