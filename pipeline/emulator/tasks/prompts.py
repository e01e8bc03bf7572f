"""Reading what a chat request asks: its texts and images, its bound on output, its wish for JSON, whether to think."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Final

from pipeline.emulator.models import Model
from pipeline.emulator.refusals import Refusal, bad_input
from pipeline.emulator.tasks.base import Json
from pipeline.emulator.tasks.chat_images import IMAGE_TOKENS, read_images
from pipeline.emulator.tokens import chat_tokens

ANY_OBJECT: Final[Json] = {
    "type": "object",
    "properties": {"simulated": {"const": True}, "answer": {"type": "string"}},
    "required": ["simulated", "answer"],
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One chat request, understood.

    Attributes:
        prompt: All texts, joined.
        input_tokens: Their tokens.
        max_tokens: Bound on output tokens.
        schema: What the answer must satisfy; None for text.
        is_json_mode: It was asked for by a field, not in words.
        thinks: The model reasons before it answers.
    """

    prompt: str
    input_tokens: int
    max_tokens: int
    schema: Json | None
    is_json_mode: bool
    thinks: bool


def read_request(model: Model, body: Json) -> Asked:
    """Understand a request body that has passed its schema.

    Raises:
        Refusal: 5006 for what a schema cannot say, 5021 when input and bound exceed the context window.
    """
    texts = _texts(body)
    images = read_images(model, body)
    input_tokens = chat_tokens(texts) + IMAGE_TOKENS * len(images)
    max_tokens = _max_tokens(model, body)
    window = model.context_window
    if window is not None and input_tokens + max_tokens > window:
        raise Refusal(
            5021,
            "AiError: AiError: The estimated number of input and maximum output tokens "
            f"({input_tokens + max_tokens}) exceeded this model context window limit ({window}).",
        )
    schema = _schema(body)
    return Asked(
        prompt="\n".join([*texts, *images]),
        input_tokens=input_tokens,
        max_tokens=max_tokens,
        schema=schema if schema is not None else _schema_in_words(texts),
        is_json_mode=schema is not None,
        thinks=model.reasoning and not _told_not_to_think(body),
    )


def bare_schema(response_format: object) -> Json | None:
    """Return the schema of a ``response_format``, given bare or as OpenAI's ``{name, schema, strict}``."""
    if not isinstance(response_format, dict) or response_format.get("type") not in {"json_object", "json_schema"}:
        return None
    schema = response_format.get("json_schema")
    if isinstance(schema, dict) and isinstance(schema.get("schema"), dict) and "properties" not in schema:
        schema = schema["schema"]
    return schema if isinstance(schema, dict) and schema else ANY_OBJECT


def _schema(body: Json) -> Json | None:
    guided = body.get("guided_json")
    if isinstance(guided, dict):
        return guided
    text = body.get("text")
    if isinstance(text, dict) and isinstance(text.get("format"), dict):
        form = text["format"]
        return bare_schema({"type": form.get("type"), "json_schema": form.get("schema")})
    return bare_schema(body.get("response_format"))


def _schema_in_words(texts: list[str]) -> Json | None:
    """Find a schema that stands in the prompt, after the words "JSON Schema"."""
    for text in texts:
        begin = text.find("{", at) if (at := text.find("JSON Schema")) >= 0 else -1
        if begin >= 0:
            try:
                schema, _ = json.JSONDecoder().raw_decode(text[begin:])
            except ValueError:
                continue
            if isinstance(schema, dict):
                return schema
    return None


def _told_not_to_think(body: Json) -> bool:
    kwargs = body.get("chat_template_kwargs")
    told = isinstance(kwargs, dict) and kwargs.get("enable_thinking") is False
    return told or body.get("reasoning_effort") == "none"


def _max_tokens(model: Model, body: Json) -> int:
    for key in ("max_completion_tokens", "max_output_tokens", "max_tokens"):
        value = body.get(key)
        if isinstance(value, int | float) and not isinstance(value, bool):
            if value < 1:
                raise bad_input(f"minimum at '/{key}' not met: {value} is less than 1")
            return int(value)
    return model.max_tokens_default


def _texts(body: Json) -> list[str]:
    for key in ("messages", "input", "prompt"):
        value = body.get(key)
        if isinstance(value, str):
            instructions = body.get("instructions")
            return [instructions, value] if isinstance(instructions, str) else [value]
        if isinstance(value, list):
            if not value:
                raise bad_input(f"minItems at '/{key}' not met: the list is empty")
            return [_content(message) for message in value]
    raise bad_input("required properties at '/' are 'prompt' or 'messages'")


def _content(message: object) -> str:
    content = message.get("content") if isinstance(message, dict) else message
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        return " ".join(str(part.get("text", "")) for part in content if isinstance(part, dict))
    return ""
