"""What every task that talks with a chat model shares: the reading of replies, and their price.

Three answer shapes are read: ``{response, usage}`` of the older models, the OpenAI chat completion of the newer ones
(``choices[0].message``), and the Responses form (``output[]``, ``output_text``) of gpt-oss. Shapes: npm
@cloudflare/workers-types 5.20261117.1.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import orjson

from pipeline.catalog import ModelInfo
from pipeline.errors import UnreadableAnswer
from pipeline.records import Usage
from pipeline.tasks.base import PER_MILLION

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
