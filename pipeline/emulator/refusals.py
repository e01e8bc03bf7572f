"""The service's refusals: code, HTTP status and words.

Documented: developers.cloudflare.com/workers-ai/platform/errors/ (autumn 2026); the others were observed by public
clients up to 2026-11-22. Statuses nobody has reported (3010, 5024, 2001, 2014) are a guess.
"""

from __future__ import annotations

from typing import Final

DAILY_ALLOCATION: Final = (
    "AiError: you have used up your daily free allocation of 10,000 neurons, please upgrade to Cloudflare's Workers "
    "Paid plan if you would like to continue usage."
)

REFUSALS: Final[dict[int, tuple[int, str]]] = {
    4006: (429, DAILY_ALLOCATION),
    3036: (429, DAILY_ALLOCATION),
    3021: (429, "AiError: rate limiting: inference request per min rate reached"),
    3040: (429, "AiError: Capacity temporarily exceeded, please try again."),
    3043: (500, "AiError: AiError: Internal server error"),
    3046: (408, "AiError: Request timeout"),
    3007: (408, "AiError: Request timeout"),
    3008: (408, "AiError: Request was aborted"),
    3003: (400, "AiError: Incomplete request: missing headers or body"),
    3006: (413, "AiError: Request is too large"),
    3010: (400, "AiError: Unsupported audio input"),
    3023: (403, "AiError: Service unavailable for account"),
    3030: (400, "AiError: Input prompt contains NSFW content."),
    3041: (403, "AiError: Your account is not allowed to access this model"),
    3042: (404, "AiError: The model name is invalid"),
    5004: (400, "AiError: Invalid data: base64 input cannot be decoded"),
    5006: (400, "AiError: AiError: Bad input"),
    5007: (400, "AiError: No such model"),
    5016: (403, "AiError: Model agreement: submit the prompt 'agree' to accept the licence"),
    5021: (413, "AiError: The estimated number of input and maximum output tokens exceeded this model context window"),
    5024: (400, "AiError: AiError: JSON Mode couldn't be met"),
    5035: (403, "AiError: This model needs the Workers Paid plan or prepaid credits"),
    7000: (400, "No route for that URI"),
    7001: (405, "Method not allowed for this endpoint"),
    7003: (404, "Could not route to the requested account, perhaps your object identifier is invalid?"),
    8007: (400, "AiError: AiError: This model does not support request queuing"),
    9106: (400, "Authentication failed: malformed token"),
    10000: (401, "Authentication error"),
    1000: (400, "Invalid API Token"),
    2001: (400, "Please configure AI Gateway in the Cloudflare dashboard"),
    2014: (502, "AI Gateway: the provider timed out"),
}

ALLOCATION_CODES: Final = frozenset({4006, 3036})


class Refusal(Exception):
    """The service says no.

    Args:
        code: The service's code.
        message: Its words; those of `REFUSALS` when left out.
        status: HTTP status; that of `REFUSALS` when left out.
        retry_after_s: Seconds for a ``Retry-After`` header.
        neurons: Neurons it cost nevertheless.
    """

    def __init__(
        self,
        code: int,
        message: str | None = None,
        *,
        status: int | None = None,
        retry_after_s: float | None = None,
        neurons: float | None = None,
    ) -> None:
        usual_status, usual_message = REFUSALS[code]
        self.code = code
        self.status = status if status is not None else usual_status
        self.message = message if message is not None else usual_message
        self.retry_after_s = retry_after_s
        self.neurons = neurons
        super().__init__(self.message)


def bad_input(problem: str) -> Refusal:
    """Return 400 / 5006 in the service's words."""
    return Refusal(5006, f"AiError: AiError: Bad input: Error: {problem}")
