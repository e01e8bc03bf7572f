"""What is tried again, how often, and how long it waits."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import (
    AllocationExhausted,
    AnswerCutShort,
    BudgetExhausted,
    ConnectFailed,
    InvalidRequest,
    Misrouted,
    ModelTimedOut,
    ModelUnavailable,
    OutOfCapacity,
    RateLimited,
    RequestTimedOut,
    RequestTooLarge,
    ResponseTruncated,
    ServerFault,
    Unauthorized,
    UnreadableAnswer,
)
from pipeline.retry import RetryPolicy, attempts

POLICY = RetryPolicy(attempts=6, max_delay_s=60.0)


def api(kind, **more):
    return kind(429, None, "x", **more)


def n_attempts(error, n_pieces=1, policy=POLICY):
    """How many attempts an error that lasts gets."""
    n = 1
    while policy.allows(error, n, n_pieces):
        n += 1
    return n


@pytest.mark.parametrize(
    ("error", "alone", "in_a_batch"),
    [
        (api(RateLimited), 100, 100),  # costs nothing and says nothing about the request
        (api(OutOfCapacity), 24, 24),
        (api(ServerFault), 6, 3),
        (api(ModelTimedOut), 2, 2),  # may be billed each time
        (RequestTimedOut("x"), 2, 2),
        (ResponseTruncated("x"), 6, 3),
        (ConnectFailed("x"), 6, 6),
        (UnreadableAnswer("x"), 2, 1),
        (AnswerCutShort("x"), 1, 1),
        (api(InvalidRequest), 1, 1),
        (api(RequestTooLarge), 1, 1),
        (api(ModelUnavailable), 1, 1),
        (api(Unauthorized), 1, 1),
        (api(Misrouted), 1, 1),
        (api(AllocationExhausted), 1, 1),
        (BudgetExhausted(room=0, asked=1), 1, 1),
        (ValueError("bug"), 1, 1),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
def test_each_failure_gets_its_number_of_attempts(error, alone, in_a_batch):
    """Patience where nothing is lost, little where it may be billed, none where it is pointless."""
    assert n_attempts(error) == alone
    assert n_attempts(error, n_pieces=2) == n_attempts(error, n_pieces=100) == in_a_batch


def test_one_attempt_means_one():
    """`retry.attempts: 1` turns retries off, except for refusals that cost nothing."""
    policy = RetryPolicy(attempts=1, max_delay_s=60)
    for error in (api(ServerFault), RequestTimedOut("x"), UnreadableAnswer("x"), ConnectFailed("x")):
        assert n_attempts(error, policy=policy) == 1
    assert n_attempts(api(OutOfCapacity), policy=policy) == 4


def test_what_the_service_asks_is_honoured_up_to_the_bound():
    """Retry-After wins over the guess, and the user's bound over Retry-After."""
    rng = random.Random(1)
    assert POLICY.delay_s(api(ServerFault, retry_after_s=7.0), 1, rng) == 7.0
    assert POLICY.delay_s(api(OutOfCapacity, retry_after_s=3600.0), 1, rng) == 60.0
    assert POLICY.delay_s(api(OutOfCapacity, retry_after_s=0.0), 1, rng) == 0.0


def test_after_a_full_minute_nobody_waits_twice():
    """The cool-down holds everyone; the request itself adds nothing."""
    assert POLICY.delay_s(api(RateLimited, retry_after_s=30.0), 3, random.Random(1)) == 0.0


@given(st.integers(1, 10_000), st.floats(0.25, 3600), st.integers())
def test_waits_grow_and_stay_within_bounds(attempt, longest, seed):
    """Exponential with full jitter: never nothing, never more than the bound."""
    delay = RetryPolicy(attempts=6, max_delay_s=longest).delay_s(api(ServerFault), attempt, random.Random(seed))
    assert min(0.25, longest) <= delay <= max(0.25, min(longest, 0.5 * 2.0 ** min(attempt, 30)))


class Unlucky(random.Random):
    """Always draws the longest wait."""

    def uniform(self, a, b):  # noqa: ARG002
        return b


@pytest.mark.parametrize(("attempt", "longest"), [(1, 1.0), (2, 2.0), (3, 4.0), (6, 32.0), (7, 60.0), (10_000, 60.0)])
def test_the_longest_wait_doubles_from_a_second_to_the_bound(attempt, longest):
    assert POLICY.delay_s(api(ServerFault), attempt, Unlucky()) == longest


def test_waits_differ():
    """Requests that failed together do not come back together."""
    rng = random.Random(1)
    assert len({POLICY.delay_s(api(ServerFault), 5, rng) for _ in range(100)}) == 100


async def drive(errors, policy=POLICY, n_pieces=1, interrupt=None):
    """Run the loop over attempts that end with `errors` in turn; return (attempts, waits, outcome)."""
    waits, made = [], 0

    async def sleep(seconds):
        waits.append(seconds)
        if interrupt is not None:
            raise interrupt

    try:
        async for attempt in attempts(policy, sleep=sleep, rng=random.Random(1), n_pieces=n_pieces):
            with attempt:
                made += 1
                if made <= len(errors):
                    raise errors[made - 1]
    except Exception as error:  # noqa: BLE001 - the outcome is what is tested
        return made, waits, error
    return made, waits, None


async def test_the_loop_waits_through_the_given_sleep_and_ends_with_success():
    """Two failures, two waits, then done."""
    made, waits, outcome = await drive([api(ServerFault), api(OutOfCapacity, retry_after_s=9.0)])
    assert (made, outcome) == (3, None)
    assert 0.25 <= waits[0] <= 1.0
    assert waits[1] == 9.0


async def test_the_loop_ends_with_the_last_error_itself():
    """No wrapper: the engine asks the error for its scope."""
    last = api(ServerFault)
    made, waits, outcome = await drive([api(ServerFault) for _ in range(5)] + [last])
    assert outcome is last
    assert made == 6
    assert len(waits) == 5


@pytest.mark.parametrize("error", [api(InvalidRequest), BudgetExhausted(room=0, asked=1), KeyError("bug")])
async def test_the_loop_does_not_repeat_what_is_not_to_be_repeated(error):
    """Anything but a passing failure comes out at once."""
    assert await drive([error]) == (1, [], error)


async def test_what_the_sleep_raises_ends_the_loop():
    """A stop while waiting leaves the loop with its own error."""
    stop = RuntimeError("stopped")
    made, _, outcome = await drive([api(ServerFault)] * 3, interrupt=stop)
    assert (made, outcome) == (1, stop)


async def test_the_kind_of_failure_decides_anew_each_time():
    """A time-out after other failures does not get a second chance of its own beyond its bound."""
    slow = RequestTimedOut("x")
    assert (await drive([api(ServerFault), slow]))[2] is slow
