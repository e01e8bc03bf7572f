from datetime import UTC, date, datetime, timedelta

import pytest

from pipeline.emulator.config import EmulatorConfig
from pipeline.emulator.gates import Gates, RateWindows
from pipeline.emulator.meter import Meters
from pipeline.emulator.models import find_model
from pipeline.emulator.refusals import Refusal
from pipeline.emulator.stats import Stats

CHAT = find_model("@cf/meta/llama-3.2-1b-instruct")
BGE = find_model("@cf/baai/bge-small-en-v1.5")
LARGE = find_model("@cf/baai/bge-large-en-v1.5")
PAID = find_model("@cf/zai-org/glm-5.2")


class Time:
    def __init__(self):
        self.wall = datetime(2026, 11, 22, 23, 59, tzinfo=UTC)
        self.seconds = 0.0

    def now(self):
        return self.wall

    def monotonic(self):
        return self.seconds


@pytest.fixture
def time():
    return Time()


def gates(time, **options):
    meters = Meters(time.now)
    return Gates(EmulatorConfig(**options), meters, time.monotonic), meters


def code(call, *args):
    with pytest.raises(Refusal) as caught:
        call(*args)
    return caught.value.code


def test_the_meter_is_exact_and_belongs_to_account_and_day(time):
    meters = Meters(time.now)
    for _ in range(3):
        meters.charge("a", "m", neurons=0.001, input_tokens=2, output_tokens=1)
    meters.charge("b", "m", neurons=None, input_tokens=5, output_tokens=0)
    assert meters.spent("a") == 0.001 + 0.001 + 0.001
    assert meters.spent("b") == 0.0
    assert meters.today_by_model()["m"].requests == 4
    time.wall += timedelta(minutes=1)
    assert meters.spent("a") == 0.0
    rows = list(meters.rows("a", date(2026, 11, 22), date(2026, 11, 23)))
    assert [(day, model, sums.input_tokens) for day, model, sums in rows] == [(date(2026, 11, 22), "m", 6)]


def test_the_day_is_utc_whatever_zone_the_clock_speaks(time):
    time.wall = time.wall.astimezone(tz=None)
    assert Meters(time.now).today() == date(2026, 11, 22)


def test_the_allocation_refuses_once_it_is_reached_and_not_before(time):
    it, meters = gates(time, daily_neurons=1.0)
    meters.charge("a", "m", neurons=0.999, input_tokens=0, output_tokens=0)
    it.admit("a", BGE)
    meters.charge("a", "m", neurons=0.5, input_tokens=0, output_tokens=0)
    assert code(it.admit, "a", BGE) == 4006
    it.admit("b", BGE)
    time.wall += timedelta(minutes=1)
    it.admit("a", BGE)


def test_the_free_plan_has_no_paid_models(time):
    it, _ = gates(time, paid_plan=False)
    assert code(it.admit, "a", PAID) == 5035


def test_requests_per_minute_slide(time):
    windows = RateWindows(time.monotonic)
    assert windows.admit("a", "t", 2)
    time.seconds = 30.0
    assert windows.admit("a", "t", 2)
    assert not windows.admit("a", "t", 2)
    assert windows.admit("b", "t", 2)
    time.seconds = 59.9
    assert not windows.admit("a", "t", 2)
    time.seconds = 60.0
    assert windows.admit("a", "t", 2)
    assert not windows.admit("a", "t", 2)


def test_limits_count_by_task_and_paid_models_by_themselves(time):
    it, _ = gates(time)
    for _ in range(20):
        it.admit("a", PAID)
    assert code(it.admit, "a", PAID) == 3021
    for _ in range(300):
        it.admit("a", CHAT)
    assert code(it.admit, "a", CHAT) == 3021
    for _ in range(1500):
        it.admit("a", BGE)
    assert code(it.admit, "a", LARGE) == 3021
    it.admit("a", BGE)


def test_the_limit_can_be_lifted_replaced_and_given_a_hint(time):
    it, _ = gates(time, rate_limit=False, rpm=1)
    it.admit("a", CHAT)
    it.admit("a", CHAT)
    it, _ = gates(time, rpm=1, retry_after_s=7)
    it.admit("a", CHAT)
    with pytest.raises(Refusal) as caught:
        it.admit("a", CHAT)
    assert caught.value.retry_after_s == 7


def test_capacity_bounds_what_runs_at_once(time):
    it, _ = gates(time, capacity=2)
    it.admit("a", CHAT)
    it.admit("b", BGE)
    assert code(it.admit, "a", CHAT) == 3040
    it.leave()
    it.admit("a", CHAT)
    assert (it.running, it.max_running) == (2, 2)


def test_stats_count_repeats_and_arrivals_after_the_refusal(time):
    stats = Stats(time.now, time.monotonic)
    stats.arrived()
    stats.answered(200)
    stats.delivered([b"a", b"b"])
    stats.delivered([b"b", b"c"])
    stats.arrived()
    stats.answered(429, 4006)
    stats.arrived()
    told = stats.report()
    assert told["input_digests"] == {"distinct": 3, "repeated": 1}
    assert told["after_refusal"] == 1
    assert told["requests"]["by_code"] == {"4006": 1}
    time.wall += timedelta(minutes=1)
    stats.arrived()
    assert stats.report()["after_refusal"] == 1
