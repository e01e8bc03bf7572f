"""Finds what a model thought before it answered, and the tools it wanted to call. Pure.

Thoughts stand in ``message.reasoning_content`` (some servers: ``reasoning``), in ``output[]`` items of type
``reasoning`` (gpt-oss in the Responses form), or in the text itself before ``</think>`` (qwq, deepseek-r1).
Shapes: npm @cloudflare/workers-types 5.20261117.1 and public clients, 2026-11-22.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import orjson

from pipeline.errors import PlanError
from pipeline.records import Usage
from pipeline.tasks.base import TaskContext

_END: Final = "</think>"
_BEGIN: Final = "<think>"


def without_thoughts(text: str) -> str:
    """Return what follows the thoughts in a text; all of it where there are none."""
    return split_thoughts(text)[1]


def split_thoughts(text: str) -> tuple[str | None, str]:
    """Return the thoughts in a text, None where there are none, and what follows them: nothing, where they were cut."""
    thoughts, end, rest = text.partition(_END)
    if not end and not text.lstrip().startswith(_BEGIN):
        return None, text
    return thoughts.strip().removeprefix(_BEGIN).strip() or None, rest.strip()


def reasoning_of(result: object) -> str | None:
    """Return the thoughts that an answer keeps apart from its text."""
    message = _message(result)
    for name in ("reasoning_content", "reasoning"):
        if isinstance(said := message.get(name), str) and said.strip():
            return said
    output = result.get("output") if isinstance(result, dict) else None
    texts: list[str] = []
    for item in output if isinstance(output, list) else ():
        if isinstance(item, dict) and item.get("type") == "reasoning":
            for name in ("content", "summary"):
                parts = item.get(name)
                texts += [
                    part["text"]
                    for part in (parts if isinstance(parts, list) else ())
                    if isinstance(part, dict) and isinstance(part.get("text"), str)
                ]
    return "\n".join(texts) or None


def tool_calls_of(result: object) -> str | None:
    """Return the tool calls of an answer as JSON text, None where there are none (or none that can be written)."""
    calls = _message(result).get("tool_calls")
    if calls is None and isinstance(result, dict):
        calls = result.get("tool_calls")
    if not isinstance(calls, list) or not calls:
        return None
    try:
        return orjson.dumps(calls).decode()
    except orjson.JSONEncodeError:
        return None


def nothing_said(usage: Usage, fields: frozenset[str], *, has_calls: bool) -> str:
    """Say why there may be no text, and what helps on this model.

    Args:
        usage: What the answer counted.
        fields: Input fields of the model's published schema.
        has_calls: It wanted to call a tool.
    """
    if has_calls:
        return "the model called a tool instead of answering, and params.tools is not given: there is none to call"
    spent = f" after {usage.output_tokens} tokens" if usage.output_tokens else ""
    calm = ""
    if "reasoning_effort" in fields:
        calm = " or let it think less (params.reasoning_effort)"
    elif "chat_template_kwargs" in fields:
        calm = " or turn thinking off (params.chat_template_kwargs: {enable_thinking: false})"
    return f"the model gave no text{spent}; if it thinks first, raise params.max_tokens{calm}"


def effort_field(context: TaskContext) -> Mapping[str, object]:
    """Return `params.reasoning: {effort: low}`, gpt-oss's own spelling, as the field that goes with messages.

    Raises:
        PlanError: It is something else, or the model does not take it.
    """
    given = context.params.get("reasoning")
    if given is None:
        return {}
    if not isinstance(given, dict) or set(given) != {"effort"}:
        raise PlanError("should be a mapping with effort alone, such as {effort: low}", key="params.reasoning")
    if "reasoning_effort" not in context.fields:
        raise PlanError(f"{context.model.name} takes no effort of reasoning", key="params.reasoning")
    if "reasoning_effort" in context.params:
        raise PlanError("says the same as params.reasoning_effort; remove one", key="params.reasoning")
    return {"reasoning_effort": given["effort"]}


def _message(result: object) -> Mapping[str, object]:
    choices = result.get("choices") if isinstance(result, dict) else None
    choice = choices[0] if isinstance(choices, list) and choices else None
    message = choice.get("message") if isinstance(choice, dict) else None
    return message if isinstance(message, dict) else {}
