"""When to try again, how often, and how long to wait first; tenacity drives it.

Takes a policy, hands on tenacity strategies. Waiting happens in the worker that owns the request, which holds neither
a slot nor neurons while it waits.
"""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception

from pipeline.errors import (
    ApiError,
    AttemptError,
    ModelTimedOut,
    OutOfCapacity,
    RateLimited,
    RequestTimedOut,
    ResponseTruncated,
    Scope,
    ServerFault,
    UnreadableAnswer,
)

_BASE_SECONDS: Final = 0.5
_TIMEOUT_ATTEMPTS: Final = 2
_BATCH_ATTEMPTS: Final = 3
_PATIENCE: Final = 4
_RATE_ATTEMPTS: Final = 100

SPLITTABLE: Final = (ServerFault, ModelTimedOut, RequestTimedOut, ResponseTruncated)
"""Failures that one bad record can cause in a request of several: out of attempts, the halves are tried alone."""


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """Which failures are tried again, as data.

    Attributes:
        attempts: Attempts per request, >= 1.
        max_delay_s: Longest wait between two attempts, seconds.
    """

    attempts: int
    max_delay_s: float

    def allows(self, error: BaseException, attempt: int, n_pieces: int) -> bool:
        """Decide whether attempt number `attempt` (from 1) that ended with `error` is followed by another.

        Refusals that cost nothing and say nothing about the request (3021, 3040) get more patience; time-outs, which
        may be billed, less; a request of several records is split early rather than tried for long.
        """
        if isinstance(error, UnreadableAnswer):
            return n_pieces == 1 and attempt < min(2, self.attempts)  # models vary; one more chance, then a failure row
        if not isinstance(error, AttemptError) or error.scope is not Scope.ATTEMPT:
            return False
        return attempt < self._bound(error, n_pieces)

    def _bound(self, error: AttemptError, n_pieces: int) -> int:
        if isinstance(error, RateLimited):
            return _RATE_ATTEMPTS
        if isinstance(error, OutOfCapacity):
            return self.attempts * _PATIENCE
        if isinstance(error, ModelTimedOut | RequestTimedOut):
            return min(_TIMEOUT_ATTEMPTS, self.attempts)
        if n_pieces > 1 and isinstance(error, SPLITTABLE):
            return min(_BATCH_ATTEMPTS, self.attempts)
        return self.attempts

    def delay_s(self, error: BaseException, attempt: int, rng: random.Random) -> float:
        """Seconds to wait after attempt number `attempt`: what the service asked, else exponential with full jitter."""
        if isinstance(error, RateLimited):
            return 0.0  # everyone waits in the limiter's cool-down; waiting here as well would double it
        if isinstance(error, ApiError) and error.retry_after_s is not None:
            return min(error.retry_after_s, self.max_delay_s)
        ceiling = min(self.max_delay_s, _BASE_SECONDS * 2.0 ** min(attempt, 30))
        return rng.uniform(_BASE_SECONDS / 2, ceiling)


def attempts(
    policy: RetryPolicy, *, sleep: Callable[[float], Awaitable[None]], rng: random.Random, n_pieces: int
) -> AsyncRetrying:
    """Make the loop over the attempts of one request, for ``async for``.

    `sleep` waits between two of them; what it raises ends the loop. The last error is raised as it is.
    """
    return AsyncRetrying(
        stop=lambda state: not policy.allows(_error(state), state.attempt_number, n_pieces),
        wait=lambda state: policy.delay_s(_error(state), state.attempt_number, rng),
        retry=retry_if_exception(lambda error: isinstance(error, AttemptError)),
        sleep=sleep,
        reraise=True,
    )


def _error(state: RetryCallState) -> BaseException:
    """What the latest attempt ended with; tenacity asks only after one that failed."""
    error = state.outcome.exception() if state.outcome is not None else None
    assert error is not None
    return error
