"""What every task that talks with a chat model shares: what is sent, what it can cost, how replies are read.

Three answer shapes are read: ``{response, usage}`` of the older models, the OpenAI chat completion of the newer ones
(``choices[0].message``), and the Responses form (``output[]``, ``output_text``) of gpt-oss. Shapes: npm
@cloudflare/workers-types 5.20261117.1.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import orjson

from pipeline.catalog import ModelInfo
from pipeline.errors import AnswerCutShort, UnreadableAnswer
from pipeline.records import Answer, Cost, Piece, Request, Usage
from pipeline.schemas import check_params
from pipeline.tasks.base import PER_MILLION, Adapter, TaskContext, expected_tokens, token_bound

MESSAGE_TOKENS: Final = 16
"""Bound on what a message's frame adds."""

TEMPLATE_TOKENS: Final = 64
"""Bound on what a chat template adds to a conversation (llama-3.1 adds about 25)."""

_LONGEST_REASON: Final = 64


@dataclass(frozen=True, slots=True)
class Reply:
    """What a model said.

    Attributes:
        text: The answer; None where the model gave none.
        finish_reason: ``stop``, ``length`` or what the service says.
    """

    text: str | None
    finish_reason: str


CHAT_FIELDS: Final = frozenset(
    {
        "messages",
        "prompt",
        "input",
        "requests",
        "stream",
        "stream_options",
        "n",
        "background",
        "response_format",
        "max_tokens",
        "max_completion_tokens",
        "tools",
        "tool_choice",
    }
)
"""Fields of the models' schemas that a task fills itself when it writes the conversation."""

THINKING_TOKENS: Final = 1_024
"""Room for the thoughts of a model that may not be told to leave them, beside a short answer."""

_QUIET: Final[Mapping[str, object]] = {"chat_template_kwargs": {"enable_thinking": False}}

Messages = Sequence[Mapping[str, str]]


class Chat:
    """A conversation with one model, under the parameters of a job.

    Models that think before they answer are told not to, where they can be told and the user does not say otherwise:
    thoughts are paid as output and count within the bound.

    Args:
        context: Model, its fields, and `params`.
        max_tokens: Bound on an answer.
        own: Parameters of the task's own, which are not sent.
        fixed: Fields that every request carries.
    """

    def __init__(
        self, context: TaskContext, *, max_tokens: int, own: frozenset[str], fixed: Mapping[str, object]
    ) -> None:
        model = context.model
        self._model = model
        self._in = (model.input_per_m_tokens or 0.0) * PER_MILLION
        self._out = (model.output_per_m_tokens or 0.0) * PER_MILLION
        self.max_tokens = max_tokens
        is_new = "max_completion_tokens" in context.fields
        self._limit_field = "max_completion_tokens" if is_new else "max_tokens"
        self._fixed = {**fixed, **{key: value for key, value in context.params.items() if key not in own}}
        if model.reasoning and not check_params(model.name, model.task, _QUIET, frozenset(), carriers=("messages",)):
            self._fixed = {**_QUIET, **self._fixed}

    def payload(self, request: Request, messages: Messages) -> Mapping[str, object]:
        """``{messages, max_tokens, …}``."""
        return {**self._fixed, "messages": list(messages), self._limit_field: self.cap(request)}

    def cap(self, request: Request) -> int:
        """Bound on the output tokens of a request."""
        return min(request.output_cap or self.max_tokens, self.max_tokens)

    def ceiling(self, messages: Messages, extra: int = 0) -> float:
        """The most neurons a conversation costs: its bytes and frames bound the input, `max_tokens` the output.

        Args:
            messages: What is sent.
            extra: Tokens beside them, e.g. those of a JSON schema.
        """
        bound = sum(token_bound(message["content"]) + MESSAGE_TOKENS for message in messages)
        return (TEMPLATE_TOKENS + bound + extra) * self._in + self.max_tokens * self._out

    def expected(self, size: int, output: float) -> float:
        """Neurons for `size` bytes of messages and `output` tokens."""
        return expected_tokens(size) * self._in + output * self._out

    def cost(self, request: Request) -> Cost:
        """What `ceiling` bounds, with the output by itself."""
        bound = sum(piece.ceiling for piece in request.pieces) - self._out * self.max_tokens
        return Cost(input=max(0.0, bound), output_per_token=self._out, max_output=self.cap(request))

    def reply(self, request: Request, answer: Answer) -> Reply:
        """Read an answer.

        Raises:
            UnreadableAnswer: It has no known shape, or no text.
            AnswerCutShort: It ended at a bound below the job's own.
        """
        cap = self.cap(request)
        reply = read_reply(answer.result, answer.usage, cap=cap)
        if reply.finish_reason == "length" and cap < self.max_tokens:
            raise AnswerCutShort(f"cut at {cap} tokens to stay within the budget")
        if not reply.text or reply.text.isspace():
            spent = f" after {answer.usage.output_tokens} tokens" if answer.usage.output_tokens else ""
            raise UnreadableAnswer(f"the model gave no text{spent}; if it thinks first, raise params.max_tokens")
        return reply


def json_mode(schema: Mapping[str, object], fields: frozenset[str]) -> Mapping[str, object]:
    """Ask for JSON of a schema in the spelling the model takes; nothing where it has no JSON mode.

    Bare on older models, OpenAI's wrapper on newer ones (features/json-mode/ of the documentation, 2026-04-21, and the
    schemas of the newer models). The answer is checked here in every case.
    """
    if "response_format" not in fields:
        return {}
    if "max_completion_tokens" in fields:
        schema = {"name": "answer", "schema": schema, "strict": True}
    return {"response_format": {"type": "json_schema", "json_schema": schema}}


def price_of(model: ModelInfo, usage: Usage) -> float | None:
    """Neurons for counted tokens at the model's prices, cached input at its own; None where either is not known."""
    if usage.input_tokens is None or usage.output_tokens is None or model.assumed_price:
        return None
    cached = min(usage.cached_tokens or 0, usage.input_tokens)
    input_rate = model.input_per_m_tokens or 0.0
    cached_rate = input_rate if model.cached_input_per_m_tokens is None else model.cached_input_per_m_tokens
    output = usage.output_tokens * (model.output_per_m_tokens or 0.0)
    return ((usage.input_tokens - cached) * input_rate + cached * cached_rate + output) * PER_MILLION


def input_price_of(model: ModelInfo, usage: Usage, charge: float) -> float:
    """Neurons for the counted input tokens; all of `charge` where they were not counted."""
    if usage.input_tokens is None:
        return charge
    return usage.input_tokens * (model.input_per_m_tokens or 0.0) * PER_MILLION


def unfenced(text: str) -> str:
    """Strip the Markdown fence some models put around JSON."""
    text = text.strip()
    if text.startswith("```") and text.endswith("```"):
        return text[3:-3].removeprefix("json").strip()
    return text


def read_reply(result: object, usage: Usage, *, cap: int) -> Reply:
    """Read any of the three answer shapes.

    Raises:
        UnreadableAnswer: It is none of them.
    """
    if isinstance(result, dict):
        if isinstance(result.get("choices"), list) and result["choices"]:
            return _chat_reply(result["choices"][0])
        if "response" in result:
            return Reply(_as_text(result["response"]), _finish(usage, cap))
        if isinstance(result.get("output"), list) or isinstance(result.get("output_text"), str):
            return _responses_reply(result)
    raise UnreadableAnswer("the answer is not a reply of any known shape")


def _finish(usage: Usage, cap: int) -> str:
    """The older shape names no reason: an answer as long as allowed was cut."""
    return "length" if usage.output_tokens is not None and usage.output_tokens >= cap else "stop"


def _as_text(value: object) -> str | None:
    """JSON mode of the older models answers with an object where text is announced.

    Raises:
        UnreadableAnswer: It is nested deeper than can be written.
    """
    if value is None or isinstance(value, str):
        return value
    try:
        return orjson.dumps(value).decode()
    except orjson.JSONEncodeError:
        raise UnreadableAnswer("the answer is nested too deeply") from None


def _chat_reply(choice: object) -> Reply:
    message = choice.get("message") if isinstance(choice, dict) else None
    if not isinstance(choice, dict) or not isinstance(message, dict):
        raise UnreadableAnswer("the answer's first choice holds no message")
    reason = choice.get("finish_reason")
    return Reply(
        _as_text(message.get("content")), reason[:_LONGEST_REASON] if isinstance(reason, str) and reason else "stop"
    )


def _responses_reply(result: Mapping[str, object]) -> Reply:
    incomplete = result.get("incomplete_details")
    reason = incomplete.get("reason") if isinstance(incomplete, dict) else None
    finish = "length" if reason == "max_output_tokens" else "stop"
    if isinstance(result.get("output_text"), str):
        return Reply(str(result["output_text"]), finish)
    texts: list[str] = []
    output = result.get("output")
    for item in output if isinstance(output, list) else []:
        content = item.get("content") if isinstance(item, dict) and item.get("type") == "message" else None
        parts = content if isinstance(content, list) else []
        texts.extend(
            part["text"]
            for part in parts
            if isinstance(part, dict) and part.get("type") == "output_text" and isinstance(part.get("text"), str)
        )
    return Reply("".join(texts) or None, finish)


class ChatTask(Adapter, ABC):
    """An adapter that asks a chat model: one conversation a piece.

    Attributes:
        _chat: Set by the task.
    """

    _chat: Chat

    @abstractmethod
    def messages_of(self, piece: Piece) -> Messages:
        """What is said for a piece."""

    def payload(self, request: Request) -> Mapping[str, object]:
        """The conversation under the job's parameters."""
        return self._chat.payload(request, self.messages_of(request.pieces[0]))

    def cost(self, request: Request) -> Cost:
        """As of any chat."""
        return self._chat.cost(request)

    def price(self, usage: Usage) -> float | None:
        """Counted tokens at the model's prices."""
        return price_of(self._context.model, usage)

    def input_price(self, usage: Usage, charge: float) -> float:
        """The prompt tokens at their price."""
        return input_price_of(self._context.model, usage, charge)
