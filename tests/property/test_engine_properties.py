"""Whatever the service answers and whenever the pass is stopped: one place per record, and books that balance."""

import asyncio

from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import (
    AllocationExhausted,
    ConnectFailed,
    InvalidRequest,
    ModelTimedOut,
    OutOfCapacity,
    RateLimited,
    RequestTimedOut,
    ResponseTruncated,
    ServerFault,
    UnreadableAnswer,
)
from pipeline.events import StopReason
from pipeline.records import Answer, Usage
from tests.support.fakes import FakeAdapter, Street, answer, broken, record, run_inline

OUTCOMES = {
    "answered": None,
    "busy": OutOfCapacity(429, 3040, "busy"),
    "minute": RateLimited(429, 3021, "minute", retry_after_s=5),
    "fault": ServerFault(500, 3043, "fault"),
    "gave up": ModelTimedOut(408, 3046, "timeout"),
    "slow": RequestTimedOut("slow"),
    "cut": ResponseTruncated("cut"),
    "bad": InvalidRequest(400, 5006, "bad"),
    "garbled": UnreadableAnswer("no vectors"),
    "unreachable": ConnectFailed("no route"),
    "used up": AllocationExhausted(429, 4006, "used up"),
}
MILD = [name for name in OUTCOMES if name not in {"unreachable", "used up"}]


@st.composite
def passes(draw):
    """A job, a budget, a service's moods, and perhaps a moment to stop."""
    kinds = draw(
        st.lists(st.sampled_from(["plain", "plain", "pieces", "broken", "empty", "dear", "unsent"]), max_size=60)
    )
    items = []
    for index, kind in enumerate(kinds):
        if kind == "broken":
            items.append(broken(index))
        else:
            texts = {
                "plain": f"t{index}",
                "pieces": f"a{index}|b{index}|c{index}",
                "empty": "",
                "dear": f"d{index}@30",
                "unsent": f"={index}",
            }
            items.append(record(index, texts[kind]))
    return {
        "items": items,
        "moods": draw(st.lists(st.sampled_from(MILD if draw(st.booleans()) else sorted(OUTCOMES)), max_size=60)),
        "batch": draw(st.integers(1, 8)),
        "concurrency": draw(st.integers(1, 8)),
        "limit": draw(st.sampled_from([1e6, 200.0, 40.0, 5.0, 0.5])),
        "ceiling": draw(st.sampled_from([1.0, 1.0, 6.0])),
        "disk_s": draw(st.sampled_from([0.0, 0.7])),
        "attempts": draw(st.integers(1, 4)),
        "end": draw(st.sampled_from(["none", "none", "stop", "stop and kill", "kill", "cancel"])),
        "after": draw(st.floats(0.0, 20.0)),
        "passes": draw(st.integers(1, 2)),
    }


async def go(job):
    def behave(payload, n):
        mood = job["moods"][n - 1] if n <= len(job["moods"]) else "answered"
        if mood == "garbled":
            return Answer(UnreadableAnswer("no vectors"), Usage(neurons=0.5), 1.0)
        return OUTCOMES[mood] or answer(payload, neurons=0.25 * len(payload["text"]))

    street = Street(
        job["items"],
        behave=behave,
        latency_s=lambda n: 0.1 + n % 5 / 4,
        adapter=FakeAdapter(batch=job["batch"], ceiling=job["ceiling"]),
        limit=job["limit"],
        concurrency=job["concurrency"],
        attempts=job["attempts"],
        disk_s=job["disk_s"],
    )
    for _ in range(job["passes"]):
        street.engine = type(street.engine)(street.parts)
        try:
            async with asyncio.timeout(job["after"] if job["end"] == "cancel" else 1e6):
                async with asyncio.TaskGroup() as group:
                    ending = group.create_task(end(street, job))
                    await street.run()
                    ending.cancel()
        except TimeoutError:
            street.reason = StopReason.INTERRUPTED
        if "kill" in job["end"] or job["end"] == "cancel":
            break  # a killed run has no further pass
    await asyncio.sleep(5)
    return street


async def end(street, job):
    if job["end"] in {"none", "cancel"}:
        return
    await asyncio.sleep(job["after"])
    if "stop" in job["end"]:
        street.engine.stop(StopReason.INTERRUPTED)
        await asyncio.sleep(0.3)
    if "kill" in job["end"]:
        street.engine.kill()


@given(passes())
@settings(max_examples=250, deadline=None)
def test_every_record_ends_in_one_place_and_every_reservation_once(job):
    """P1 and P3 on any interleaving: rows, failures and pending partition the input; the budget is never passed."""
    street = run_inline(go(job))
    street.check_books()
    assert sorted([*street.answered, *street.failed, *street.pending]) == sorted(item.id for item in job["items"])
    if street.reason is StopReason.COMPLETED:
        assert street.pending == []
    if job["end"] == "none":
        assert {item.id for item in street.marked} == {*street.answered, *street.failed}
        if street.reason is StopReason.BUDGET_SPENT:
            assert street.pending


@given(st.lists(st.integers(0, 4), max_size=40), st.integers(1, 5), st.integers(1, 4))
@settings(max_examples=100, deadline=None)
def test_every_record_of_any_number_of_pieces_has_one_row(numbers, batch, concurrency):
    """None, one, several: a row each, paid where something was sent, and known by the digest of its outline."""

    async def main():
        items = [
            record(at, "|".join(f"{at}.{n}" for n in range(number)) or f"={at}") for at, number in enumerate(numbers)
        ]
        street = Street(items, adapter=FakeAdapter(batch=batch), concurrency=concurrency)
        await street.run()
        return street

    street = run_inline(main())
    street.check_books()
    assert street.reason is StopReason.COMPLETED
    found = {row.values["row"]: row for row in street.sink.rows}
    assert len(street.sink.rows) == len(found) == len(numbers)
    assert street.budget.settled == sum(numbers)
    for at, number in enumerate(numbers):
        item = street.source.items[at]
        assert found[at].payload_key == street.adapter.outline(item).payload_key
        assert found[at].values["echo"] == item.fields["text"]
        assert (found[at].values["attempts"] == 0) == (number == 0)
