"""The plan: what is there, what is left, what it costs, and every mistake before anything is spent."""

from collections import Counter
from datetime import UTC, date, datetime, timedelta
from unittest import mock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline import keycolumns
from pipeline.errors import PlanError
from pipeline.forecast import FREE_NEURONS, USD_PER_NEURON, forecast
from pipeline.plan import (
    SAMPLES,
    ScanStopped,
    State,
    check_columns,
    kept_columns,
    make_plan,
    scan,
)
from pipeline.records import NO_PAYLOAD, Outline, Record, digest
from pipeline.tasks.base import columns_used
from pipeline.template import TextTemplate
from tests.support.fakes import FakeAdapter, FakeIndex, FakeSource, broken, record

ADAPTER = FakeAdapter(batch=3, ceiling=2.0)


def scanned(items, keep=(), check=lambda _: [], adapter=ADAPTER, **more):
    return scan(FakeSource(items), adapter, keep=keep, check=check, **more)


def planned(items, index=None, *, dedupe=True):
    return make_plan(scanned(items), index or FakeIndex(), ADAPTER, dedupe=dedupe)


# -- scanning ---------------------------------------------------------------------------------------------------


def test_a_scan_counts_and_prices_every_record():
    """One entry for each record, in order; records of several pieces are summed."""
    found = scanned([record(0, "abc"), record(1, "de|f@7"), broken(2), record(3, "")])
    assert len(found) == 4
    assert found.sizes.tolist() == [3, 5, 0, 0]
    assert found.ceilings.tolist() == [2.0, 9.0, 0.0, 0.0]
    assert found.expected.tolist() == [1.0, 2.0, 0.0, 0.0]
    assert found.n_unusable == 2
    assert [bytes(key) for key in found.id_keys] == [digest(f"r{i}".encode()) for i in range(4)]
    assert found.payload_keys.tobytes()[-16:] == NO_PAYLOAD
    assert found.first_unusable == ["s, row 2: is not JSON", "s, row 3: the text is empty"]


def test_only_a_sample_is_checked_and_nothing_is_cut():
    """Planning does not do what takes long."""

    class Sampling(FakeAdapter):
        def outline(self, record):
            return Outline(1, 1.0, 1.0, digest(record.id.encode()))

        def sample(self, record):
            return {"sample": record.id}

        pieces = payload = None

    checked = []
    scanned([record(n) for n in range(30)], adapter=Sampling(), check=lambda payload: checked.append(payload) or [])
    assert checked == [{"sample": f"r{n}"} for n in range(SAMPLES)]


def test_a_record_of_which_nothing_is_sent_costs_nothing_and_is_counted():
    """No neurons, no request, no sample of a payload; nor does it make records of several pieces look like one."""
    items = [record(0, "=a"), record(1, "=b"), record(2, "=a"), broken(3), record(4, "b|c|d|e|f|g"), record(5, "")]
    asked = []
    found = scanned(items, check=lambda payload: asked.append(payload) or [])
    assert len(asked) == 1
    plan = make_plan(found, FakeIndex(), ADAPTER, dedupe=True)
    assert (plan.unsent, plan.requests, plan.at_most) == (3, 2, 12.0)
    done = make_plan(found, FakeIndex({digest(b"r1"): 1}), ADAPTER, dedupe=True)
    assert done.unsent == 2


def test_digests_that_end_in_zeros_keep_their_length():
    """NumPy strips trailing zeros of byte strings for display only: nothing is mixed up in comparisons."""
    found = scanned([record(index, f"t{index}") for index in range(3000)])
    assert len(set(found.id_keys.tolist())) == 3000
    assert found.id_keys.tobytes() == b"".join(digest(f"r{i}".encode()) for i in range(3000))


def test_only_the_first_unusable_records_are_named():
    """Three are enough to see what is wrong."""
    found = scanned([broken(index) for index in range(50)])
    assert (found.n_unusable, len(found.first_unusable)) == (50, 3)


def test_an_empty_input_is_an_empty_scan():
    """No special case."""
    found = scanned([])
    assert len(found) == 0
    assert planned([]).requests == 0


def test_an_id_that_stands_twice_is_refused_with_both_places():
    """A second row would overwrite the first, or be taken for it."""
    items = [record(index) for index in range(20)]
    items[17] = Record(ordinal=17, id="r4", source="other.jsonl", row=3, fields={"text": "y"})
    with pytest.raises(PlanError) as caught:
        scanned(items)
    assert caught.value.key == "input.id"
    assert '"r4" stands twice: in s, row 4 and in other.jsonl, row 3 (1 repetition in all)' in str(caught.value)


def test_an_id_that_stands_often_is_counted():
    """And the places named are two different ones."""
    items = [Record(ordinal=i, id="same", source="s", row=i, fields={"text": "x"}) for i in range(4)]
    with pytest.raises(PlanError, match=r"in s, row 0 and in s, row 1 \(3 repetitions in all"):
        scanned(items)


def test_the_scan_stops_when_progress_raises():
    """Ctrl-C while a large input is read."""
    source = FakeSource(record(index, f"t{index}") for index in range(30_000))

    def progress(n):
        if n >= 10_000:
            raise ScanStopped

    with pytest.raises(ScanStopped):
        scan(source, ADAPTER, keep=(), check=lambda _: [], progress=progress)
    assert source.n_read == 10_000


def test_progress_ends_with_the_total():
    """What is shown last is true."""
    seen = []
    scanned([record(index) for index in range(7)], progress=seen.append)
    assert seen[-1] == 7


def test_the_first_payloads_are_held_against_the_schema():
    """What the service would refuse is found before anything is spent, and only samples are checked."""
    asked = []
    scanned([record(index) for index in range(100)], check=lambda payload: asked.append(payload) or [])
    assert len(asked) == 20
    with pytest.raises(PlanError, match="published schema: text: too long; cap: no") as caught:
        scanned([broken(0), record(1)], check=lambda _: ["text: too long", "cap: no"])
    assert caught.value.key == "params"


# -- columns ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (["a", None], "string"),
        ([1, 2], "int64"),
        ([1, 2.5], "float64"),
        ([1.5], "float64"),
        ([True, None], "bool"),
        ([True, 1], "json"),
        (["a", 1], "json"),
        ([["a"]], "json"),
        ([1, 2**63 - 1, -(2**63) + 1], "int64"),
        ([1, 2**63], "json"),
        ([{"a": 1}], "json"),
        ([datetime(2026, 1, 1, tzinfo=UTC)], "timestamp"),
        ([date(2026, 1, 1)], "date"),
        ([datetime(2026, 1, 1, tzinfo=UTC), date(2026, 1, 1)], "json"),
        ([b"x"], "binary"),
        ([None], "string"),
    ],
)
def test_kept_columns_are_typed_by_what_they_hold(values, kind):
    """Pure columns keep their type; mixtures become JSON text."""
    found = scanned([record(index, f"t{index}", kept=value) for index, value in enumerate(values)], keep=["kept"])
    (column,) = kept_columns(["kept"], found.kept)
    assert (column.name, column.kind) == ("kept", kind)


def test_a_column_nobody_has_is_named_with_the_nearest_one():
    """For what is sent and for what is kept, each with its key."""
    found = scanned([record(0, titel="x")])
    with pytest.raises(PlanError, match=r'no record has a column "title".*did you mean "titel"\?') as caught:
        check_columns(found, uses=columns_used("input.text", TextTemplate.parse("text")), keep=["title"])
    assert caught.value.key == "input.keep"
    with pytest.raises(PlanError, match='did you mean "text"') as caught:
        check_columns(found, uses=columns_used("input.text", TextTemplate.parse("{txt}")), keep=[])
    assert caught.value.key == "input.text"
    check_columns(found, uses=columns_used("input.text", TextTemplate.parse("text")), keep=["titel"])


def test_a_default_column_may_be_absent_where_its_fallback_is_there():
    """`prompt`, else `text`."""
    template = TextTemplate(parts=(("", "prompt"),), plain="prompt", fallback="text", source="prompt")
    check_columns(scanned([record(0)]), uses=columns_used("input.text", template), keep=[])


def test_an_input_without_a_readable_record_has_no_columns_to_complain_of():
    """The failure rows tell what is wrong."""
    check_columns(scanned([broken(0)]), uses=columns_used("input.text", TextTemplate.parse("text")), keep=["x"])


# -- deciding ---------------------------------------------------------------------------------------------------


def test_what_the_output_holds_is_not_sent_again():
    """Done, failed and changed records are not pending; the costs are those of the pending ones."""
    items = [record(index, f"t{index}") for index in range(10)]
    key = lambda index: digest(f"r{index}".encode())  # noqa: E731
    plan = planned(items, FakeIndex({key(0): 1, key(1): 1, key(2): 2, key(3): 3}))
    counts = [plan.count(state) for state in State]
    assert counts == [6, 2, 1, 1, 0]
    assert (plan.requests, plan.expected, plan.at_most) == (2, 6.0, 12.0)


def test_equal_payloads_are_sent_once():
    """The first of them in the input's order is sent, the others follow it."""
    items = [record(index, text) for index, text in enumerate("abacab")]
    plan = planned(items)
    assert plan.state.tolist() == [0, 0, 4, 0, 4, 4]
    assert plan.requests == 1
    assert planned(items, dedupe=False).count(State.PENDING) == 6


def test_a_payload_the_output_knows_is_shared_not_sent():
    """Answered or failed for another record before: it is not paid for again."""
    items = [record(index, text) for index, text in enumerate("abcd")]
    plan = planned(items, FakeIndex(payloads={digest(b"a")}, failed={digest(b"c")}))
    assert plan.state.tolist() == [4, 0, 4, 0]


def test_records_without_a_payload_never_follow_each_other():
    """Two broken records are two failures."""
    assert planned([broken(0), broken(1), record(2, "")]).state.tolist() == [0, 0, 0]


@given(st.lists(st.sampled_from("abcdef"), max_size=60))
@settings(max_examples=50, deadline=None)
def test_each_payload_has_exactly_one_sender(letters):
    """Deduplication neither drops a payload nor sends it twice."""
    plan = planned([record(index, letter) for index, letter in enumerate(letters)])
    senders = [letter for letter, state in zip(letters, plan.state, strict=True) if state == State.PENDING]
    assert sorted(senders) == sorted(set(letters))
    assert plan.count(State.FOLLOWER) == len(letters) - len(set(letters))


def test_work_is_what_is_pending_now():
    """A marked record is not sent in the next pass, and followers are read when they are wanted."""
    items = [record(0, "a"), record(1, "b"), record(2, "a"), broken(3)]
    plan, source = planned(items), FakeSource(items)
    assert [item.ordinal for item in plan.work(source)] == [0, 1, 3]
    plan.mark(items[1])
    assert [item.ordinal for item in plan.work(source)] == [0, 3]
    assert [item.ordinal for item in plan.followers(source, plan.state == State.FOLLOWER)] == [2]


# -- forecast ---------------------------------------------------------------------------------------------------


def simulate(neurons, per_day, spent_today):
    """The same by counting days one after the other."""
    day, usd, left, used, last = -1, 0.0, neurons, spent_today, 0
    while left > 1e-9:
        day += 1
        spend = min(left, max(0.0, per_day - used))
        usd += (max(0.0, used + spend - FREE_NEURONS) - max(0.0, used - FREE_NEURONS)) * USD_PER_NEURON
        left -= spend
        if spend:
            last = day
        used = 0.0
    return last, usd


@given(st.floats(0.01, 400_000), st.floats(500, 60_000), st.floats(0, 70_000))
@settings(deadline=None)
def test_a_forecast_spreads_the_whole_over_days(neurons, per_day, spent_today):
    """The days' spending adds up to the total, and only what is beyond the free allocation costs money."""
    today = date(2026, 11, 22)
    made = forecast(neurons, per_day=per_day, spent_today=spent_today, today=today)
    last, usd = simulate(neurons, per_day, spent_today)
    assert made.finish_date == today + timedelta(days=last)
    assert made.days == last + 1
    assert made.usd_beyond_free == pytest.approx(usd, abs=1e-9)
    room = max(0.0, per_day - spent_today) + last * per_day
    assert room - per_day - 1e-6 <= neurons <= room + 1e-6 or last == 0


def test_nothing_to_spend_is_no_day():
    """A job that is done is done."""
    assert forecast(0, per_day=100, spent_today=0, today=date(2026, 1, 1)).days == 0


def test_a_hundred_years_are_counted_at_once():
    """A large job at a small budget."""
    made = forecast(40_000 * 20_000.0, per_day=20_000, spent_today=0, today=date(2026, 1, 1))
    assert made.days == 40_000
    assert made.usd_beyond_free == pytest.approx(40_000 * 0.11)


@pytest.mark.parametrize("per_day", [0.001, 1e-9, 5e-324])
def test_no_forecast_goes_beyond_the_calendar(per_day):
    """A budget that would take millions of years is no reason to fail."""
    made = forecast(10_000, per_day=per_day, spent_today=0, today=date(2026, 1, 1))
    assert made.finish_date == date.max
    assert made.days > 2_900_000
    assert made.usd_beyond_free == 0


def test_the_price_beyond_the_free_allocation_is_the_published_one():
    """USD 0.011 per 1,000 neurons, above 10,000 a day."""
    assert forecast(11_000, per_day=20_000, spent_today=0, today=date(2026, 1, 1)).usd_beyond_free == pytest.approx(
        0.011
    )


@given(
    rows=st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3), st.booleans()), max_size=30),
    size=st.integers(1, 8),
)
def test_every_key_that_stands_twice_is_looked_at(rows, size):
    """The quick look, some keys at a time, passes over none; keys that share a word only cost another look."""
    keys = np.array([row[:2] for row in rows], dtype="<u8").reshape(-1, 2).view("S16").ravel()
    among = np.array([row[2] for row in rows], dtype=np.bool_)
    with mock.patch.object(keycolumns, "_SLICE", size):
        marked = keycolumns.perhaps_repeated(keys)
        marked_among = keycolumns.perhaps_repeated(keys, among)
    words = Counter(row[0] for row in rows)
    assert marked.tolist() == [words[row[0]] > 1 for row in rows]
    words = Counter(row[0] for row in rows if row[2])
    assert marked_among.tolist() == [row[2] and words[row[0]] > 1 for row in rows]
