"""The table of codes: what the service says is what we do."""

import pytest

from pipeline import errors
from pipeline.dialects.codes import ADVICE, ADVICE_BY_CODE, CODES, MAYBE_BILLED, advice, error_class
from pipeline.errors import (
    AllocationExhausted,
    ApiError,
    InvalidRequest,
    Misrouted,
    ModelTimedOut,
    ModelUnavailable,
    OutOfCapacity,
    RateLimited,
    RequestTooLarge,
    Scope,
    ServerFault,
    Unauthorized,
)

# (code, HTTP status it comes with, meaning): developers.cloudflare.com/workers-ai/platform/errors and observations
PUBLISHED = [
    (4006, 429, AllocationExhausted),
    (3036, 429, AllocationExhausted),
    (3021, 429, RateLimited),
    (3040, 429, OutOfCapacity),
    (3043, 500, ServerFault),
    (3046, 408, ModelTimedOut),
    (3007, 408, ModelTimedOut),
    (3008, 408, ModelTimedOut),
    (3003, 400, InvalidRequest),
    (3006, 413, RequestTooLarge),
    (3010, 400, RequestTooLarge),
    (3030, 400, InvalidRequest),
    (3023, 403, Unauthorized),
    (3039, 400, InvalidRequest),
    (5005, 405, InvalidRequest),
    (5019, 405, InvalidRequest),
    (3041, 403, ModelUnavailable),
    (5018, 403, ModelUnavailable),
    (3042, 404, ModelUnavailable),
    (5007, 400, ModelUnavailable),
    (5004, 400, InvalidRequest),
    (5006, 400, InvalidRequest),
    (5016, 403, ModelUnavailable),
    (5021, 413, RequestTooLarge),
    (5024, 400, InvalidRequest),
    (5035, 403, ModelUnavailable),
    (8002, 400, InvalidRequest),
    (8007, 400, InvalidRequest),
    (8008, 400, InvalidRequest),
    (7003, 404, Misrouted),
    (7000, 400, Misrouted),
    (7001, 405, Misrouted),
    (10000, 401, Unauthorized),
    (9106, 400, Unauthorized),
    (1000, 400, Unauthorized),
    (2001, 400, Misrouted),
    (2014, 500, ServerFault),
]


@pytest.mark.parametrize(("code", "status", "kind"), PUBLISHED)
def test_every_published_code_has_its_meaning(code, status, kind):
    """A code decides, whatever status comes with it."""
    assert CODES[code] is kind
    assert error_class(status, code) is kind
    assert error_class(500, code) is kind


def test_the_table_holds_nothing_that_is_not_published():
    """Every code we act on is one somebody has seen."""
    assert set(CODES) == {code for code, _, _ in PUBLISHED}


def test_every_refusal_has_a_code_and_every_code_a_refusal():
    """No class without a code, no code without a class: neither can be forgotten.

    But for the one that only other servers have, which have names instead of codes.
    """
    kinds = {kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, ApiError)}
    assert set(CODES.values()) == kinds - {ApiError, errors.QuotaExhausted}


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (429, RateLimited),
        (408, ModelTimedOut),
        (413, RequestTooLarge),
        (401, Unauthorized),
        (403, Unauthorized),
        (404, Misrouted),
        (405, Misrouted),
        (301, Misrouted),
        (302, Misrouted),
        (500, ServerFault),
        (502, ServerFault),
        (524, ServerFault),
        (200, ServerFault),
        (400, InvalidRequest),
        (422, InvalidRequest),
    ],
)
@pytest.mark.parametrize("code", [None, 99999, 0])
def test_an_unknown_code_is_judged_by_its_status(status, kind, code):
    """A code nobody has seen falls back on HTTP."""
    assert error_class(status, code) is kind


def test_only_the_daily_allocation_and_what_is_wrong_with_the_job_end_a_run():
    """3021 and 3040 are also 429, and must not be mistaken for the end of the day."""
    ending = {code for code, kind in CODES.items() if kind.scope is Scope.RUN}
    assert ending == {4006, 3036, 3041, 5018, 3042, 5007, 5016, 5035, 3023, 10000, 9106, 1000, 7000, 7001, 7003, 2001}


@pytest.mark.parametrize("kind", [kind for kind in dict.fromkeys(CODES.values()) if kind.scope is Scope.RUN])
def test_what_ends_a_run_comes_with_advice(kind):
    """Somebody who is stopped is told what to do."""
    assert ADVICE[kind]
    assert advice(kind(400, None, "x")) == ADVICE[kind]


@pytest.mark.parametrize("code", sorted(ADVICE_BY_CODE))
def test_some_codes_have_advice_of_their_own(code):
    """The more exact sentence wins."""
    assert advice(CODES[code](403, code, "x")) == ADVICE_BY_CODE[code]


def test_other_errors_have_no_advice():
    """No sentence is better than a wrong one."""
    assert advice(ServerFault(500, 3043, "x")) == ""
    assert set(CODES) >= MAYBE_BILLED
