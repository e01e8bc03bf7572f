"""The service's error codes and what each one means for us.

Documented: developers.cloudflare.com/workers-ai/platform/errors/ (autumn 2026). Observed: seen by public clients and
collected up to 2026-11-22; those are marked. A code that is not listed is judged by its HTTP status alone.
"""

from __future__ import annotations

from typing import Final

from pipeline.errors import (
    AllocationExhausted,
    ApiError,
    InvalidRequest,
    Misrouted,
    ModelTimedOut,
    ModelUnavailable,
    OutOfCapacity,
    QuotaExhausted,
    RateLimited,
    RequestTooLarge,
    ServerFault,
    Unauthorized,
)

ALLOCATION_PHRASE: Final = "daily free allocation"

CODES: Final[dict[int, type[ApiError]]] = {
    # the whole account, until 00:00 UTC
    4006: AllocationExhausted,  # observed 2026-07-22: the code the service really sends
    3036: AllocationExhausted,  # documented with the same text
    # the minute, or the moment
    3021: RateLimited,  # observed 2026-08-18; undocumented
    3040: OutOfCapacity,
    # the service failed on this request
    3043: ServerFault,
    2014: ServerFault,  # AI Gateway: the provider behind it timed out; observed
    3007: ModelTimedOut,
    3008: ModelTimedOut,
    3046: ModelTimedOut,  # observed: after about 120 s
    # too large as it is
    3006: RequestTooLarge,
    3010: RequestTooLarge,  # audio; observed 2026-09-18
    5021: RequestTooLarge,  # input + max_tokens over the context window; observed
    # never acceptable as it is
    3003: InvalidRequest,
    3030: InvalidRequest,  # prompt or picture flagged; observed
    3039: InvalidRequest,
    5004: InvalidRequest,
    5005: InvalidRequest,
    5006: InvalidRequest,  # schema validation; observed
    5019: InvalidRequest,
    5024: InvalidRequest,  # JSON mode could not be met; observed
    8002: InvalidRequest,  # upstream refusals, passed through; observed
    8007: InvalidRequest,
    8008: InvalidRequest,
    # the model, for this account
    3041: ModelUnavailable,
    3042: ModelUnavailable,
    5007: ModelUnavailable,
    5016: ModelUnavailable,
    5018: ModelUnavailable,
    5035: ModelUnavailable,
    # token and account
    1000: Unauthorized,
    3023: Unauthorized,
    9106: Unauthorized,
    10000: Unauthorized,
    # addresses
    2001: Misrouted,  # AI Gateway not found; observed
    7000: Misrouted,
    7001: Misrouted,
    7003: Misrouted,
}

MAYBE_BILLED: Final = frozenset({5024})
"""Refusals that come after the model has run: JSON mode that could not be met burns neurons (observed)."""

ADVICE: Final[dict[type[ApiError], str]] = {
    AllocationExhausted: (
        "the account's neurons for today are used up; run again after 00:00 UTC, or set budget.when_spent: wait"
    ),
    Unauthorized: (
        "CLOUDFLARE_API_TOKEN is wrong, lacks the permission Workers AI: Read, or is not for the account that "
        "CLOUDFLARE_ACCOUNT_ID names"
    ),
    Misrouted: "check CLOUDFLARE_ACCOUNT_ID, CLOUDFLARE_BASE_URL and endpoint.gateway",
    ModelUnavailable: "choose a model this account may use with: wai models",
    QuotaExhausted: "the credit for the key is used up",
}

ADVICE_BY_CODE: Final[dict[int, str]] = {
    5016: 'the model\'s licence must be accepted once per account: send {"prompt": "agree"} to it',
    5035: "the model needs the Workers Paid plan or prepaid AI Gateway credits",
    2001: "there is no such AI Gateway on this account: check endpoint.gateway",
}


def error_class(status: int, code: int | None) -> type[ApiError]:  # noqa: PLR0911 - one line per status, read top down
    """Choose the error for a refusal: by the service's code where it is known, by HTTP status otherwise."""
    if code in CODES:
        return CODES[code]
    if status == 429:
        return RateLimited
    if status == 408:
        return ModelTimedOut
    if status == 413:
        return RequestTooLarge
    if status in {401, 403}:
        return Unauthorized
    if status in {404, 405} or 300 <= status < 400:
        return Misrouted
    if status >= 500 or status < 300:  # a 200 that says success: false without a code we know
        return ServerFault
    return InvalidRequest


def advice(error: ApiError) -> str:
    """One sentence on what to do about an error that ends the run; empty where there is none."""
    if error.hint:
        return error.hint
    code = getattr(error, "api_code", None)
    return ADVICE_BY_CODE.get(code, "") or ADVICE.get(type(error), "") if code else ADVICE.get(type(error), "")
