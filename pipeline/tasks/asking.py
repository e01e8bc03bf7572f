"""What a piece of `generate` asks, what came of it, and what is asked next: a repair, or a longer answer. Pure.

Every chain of pieces ends: one repair, and as many longer answers as `params.retry_truncated` allows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

from pipeline.errors import PlanError
from pipeline.tasks.base import encodable, number_param, token_bound
from pipeline.tasks.chat import MESSAGE_TOKENS, TEMPLATE_TOKENS
from pipeline.tasks.conversation import Message

_QUOTED: Final = 4_000
_NO_WINDOW_LIMIT: Final = 16_384
_UNLIMITED: Final = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """What came of one request.

    Attributes:
        values: Columns of the row; incomplete where there is a problem.
        text: The answer.
        is_cut: It ended at `max_tokens`.
        problem: Why it cannot be taken; "" where it can.
        input_tokens: As counted by the service.
    """

    values: Mapping[str, object]
    text: str
    is_cut: bool
    problem: str = ""
    input_tokens: int | None = None

    def beats(self, other: Said) -> bool:
        """Whether it is the better of two answers: usable first, then complete, then longer."""
        return self._rank >= other._rank

    @property
    def _rank(self) -> tuple[bool, bool, int]:
        return not self.problem, not self.is_cut, len(self.text)


@dataclass(frozen=True, slots=True, kw_only=True)
class Asking:
    """Content of a piece.

    Attributes:
        messages: What is said, in order.
        max_tokens: Bound on the answer.
        in_words: JSON is asked for in the prompt, not by the service's JSON mode.
        earlier: The answer that this one is to improve.
        is_repair: It follows an answer that was malformed.
        n_longer: How often the bound was raised.
    """

    messages: tuple[Message, ...]
    max_tokens: int
    in_words: bool = False
    earlier: Said | None = None
    is_repair: bool = False
    n_longer: int = 0

    def __str__(self) -> str:
        """All that is said."""
        return "\n".join(message.content for message in self.messages)

    @property
    def size(self) -> int:
        """Bytes of text and images."""
        return sum(
            len(message.content.encode()) + (message.picture.size if message.picture else 0)
            for message in self.messages
        )

    def input_bound(self, *, image_tokens: int) -> int:
        """Bound on input tokens: bytes of text, the frame of each message, images."""
        return TEMPLATE_TOKENS + sum(
            MESSAGE_TOKENS + token_bound(message.content) + (image_tokens if message.picture else 0)
            for message in self.messages
        )


def repair(asking: Asking, said: Said) -> Asking:
    """Ask once more: the conversation, the malformed answer, and what is wrong with it."""
    quoted = encodable(said.text[:_QUOTED])
    wish = (
        f"That cannot be used: {said.problem[:_QUOTED]}. Send the corrected JSON only, with nothing before or after it."
    )
    messages = (*asking.messages, Message("assistant", quoted), Message("user", encodable(wish)))
    return replace(asking, messages=messages, earlier=said, is_repair=True)


def longer(asking: Asking, said: Said, *, times: int, window: int | None, input_bound: int) -> Asking | None:
    """Ask for the same with twice the bound, or what the context window leaves; None where that is no more.

    Args:
        asking: What was asked.
        said: The answer that was cut.
        times: How often the bound may be raised.
        window: Tokens of input and output together, None where not published.
        input_bound: Bound on the input, for an answer that does not count it.
    """
    if asking.n_longer >= times:
        return None
    used = said.input_tokens if said.input_tokens is not None else input_bound
    most = window - used - MESSAGE_TOKENS if window is not None else _NO_WINDOW_LIMIT
    bound = min(2 * asking.max_tokens, most)
    if bound <= asking.max_tokens:
        return None
    return replace(asking, max_tokens=bound, earlier=said, n_longer=asking.n_longer + 1)


def times_longer(params: Mapping[str, object]) -> int:
    """Read `params.retry_truncated`: true for as often as the context window allows, or a number of times.

    Raises:
        PlanError: It is neither.
    """
    value = params.get("retry_truncated", False)
    if isinstance(value, bool):
        return _UNLIMITED if value else 0
    try:
        return number_param(params, "retry_truncated", 1)
    except PlanError as exc:
        raise PlanError("should be true, false or a number of times", key="params.retry_truncated") from exc
