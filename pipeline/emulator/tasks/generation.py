"""Text generation in the service's three shapes: ``{response, usage}``, ``chat.completion`` and Responses.

Which one a model speaks is read from its published output schema (npm @cloudflare/workers-types 5.20261117.1).
``usage.neurons`` in the body: public clients, summer 2026 on. JSON mode: an object under ``response`` on old models, a
JSON string in ``message.content`` on new ones; 5024 when the bound cuts the JSON of an old model.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import orjson

from pipeline.emulator.config import EmulatorConfig
from pipeline.emulator.models import Model, check_input, output_fields, output_mentions
from pipeline.emulator.refusals import Refusal, bad_input
from pipeline.emulator.tasks.base import Json, Ran, input_digest
from pipeline.emulator.tasks.prompts import ANY_OBJECT, Asked, bare_schema, read_request
from pipeline.emulator.tasks.prose import Prose
from pipeline.emulator.tasks.samples import Sampler
from pipeline.emulator.tokens import count_tokens, cut_tokens

CREATED: Final = 1_790_000_000
REASONING_TOKENS: Final = (5, 30)
SAMPLE_WORDS: Final = (2, 6)


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """What the stand-in wrote.

    Attributes:
        content: The answer as text; None when reasoning used up the bound.
        value: The answer as a value in JSON mode, None otherwise or when it was cut.
        reasoning: The thoughts before it, None without.
        reasoning_tokens: Their tokens.
        output_tokens: All tokens written.
        cut: The bound ended the answer.
    """

    content: str | None
    value: object
    reasoning: str | None
    reasoning_tokens: int
    output_tokens: int
    cut: bool


def run(model: Model, body: Json, config: EmulatorConfig) -> Ran:
    """Answer ``POST /ai/run/{model}``."""
    if body.get("stream") is True:
        raise bad_input("const at '/stream' not met: the emulator does not stream")
    check_input(model, _with_wrapped_schema(model, body))
    asked = read_request(model, body)
    written = _write(model, body, asked, config)
    fields = output_fields(model.name)
    if "input" in body and "output" in fields:
        return _ran(model, asked, written, _responses(model, asked, written))
    if "choices" in fields:
        return _ran(model, asked, written, _completion(model, asked, written))
    return _ran(model, asked, written, _old(model, asked, written))


def run_openai(model: Model, body: Json, config: EmulatorConfig) -> Ran:
    """Answer ``POST /ai/v1/chat/completions``, whatever shape the model speaks natively."""
    messages = body.get("messages")
    if not isinstance(messages, list) or not all(isinstance(m, dict) and "role" in m for m in messages):
        raise bad_input("required properties at '/' are 'messages': a list of objects with 'role' and 'content'")
    if body.get("stream") is True:
        raise bad_input("const at '/stream' not met: the emulator does not stream")
    asked = read_request(model, body)
    written = _write(model, body, asked, config)
    return _ran(model, asked, written, _completion(model, asked, written))


def _with_wrapped_schema(model: Model, body: Json) -> Json:
    """Show the validator OpenAI's ``{name, schema}`` where a bare schema came.

    Sources disagree on which of the two newer models take (docs page of 2026-04-21, gemma-4's schema); both pass here.
    """
    wish = body.get("response_format")
    if not isinstance(wish, dict):
        return body
    schema = wish.get("json_schema")
    if not isinstance(schema, dict) or "choices" not in output_fields(model.name) or schema is not bare_schema(wish):
        return body
    return {**body, "response_format": {**wish, "json_schema": {"name": "answer", "schema": schema}}}


def _write(model: Model, body: Json, asked: Asked, config: EmulatorConfig) -> Written:
    prose = Prose(model.name, asked.prompt, salt=str(body.get("seed", "")))
    reasoning, thought = None, 0
    if asked.thinks:
        reasoning = cut_tokens(prose.text(prose.chance.randint(*REASONING_TOKENS)), asked.max_tokens)
        thought = count_tokens(reasoning)
    left = asked.max_tokens - thought
    value: object = None
    if asked.schema is None:
        content = prose.text(prose.chance.randint(*config.answer_tokens))
    else:
        value = Sampler(asked.schema, prose.chance, lambda: prose.words(prose.chance.randint(*SAMPLE_WORDS))).value()
        if asked.schema is ANY_OBJECT:
            value = {"simulated": True, "answer": prose.text(prose.chance.randint(*config.answer_tokens))}
        content = orjson.dumps(value).decode()
    tokens = count_tokens(content)
    cut = tokens > left
    if cut:
        content, value, tokens = cut_tokens(content, left), None, left
    return Written(
        content=content or None,
        value=value,
        reasoning=reasoning,
        reasoning_tokens=thought,
        output_tokens=thought + tokens,
        cut=cut,
    )


def _ran(model: Model, asked: Asked, written: Written, output: Json) -> Ran:
    return Ran(
        output=output,
        input_tokens=asked.input_tokens,
        output_tokens=written.output_tokens,
        neurons=model.neurons(asked.input_tokens, written.output_tokens),
        texts=0,
        digests=(input_digest(model, asked.prompt.encode("utf-8", "surrogatepass")),),
    )


def _charged(model: Model, asked: Asked, written: Written, usage: Json) -> Json:
    neurons = model.neurons(asked.input_tokens, written.output_tokens)
    return usage if neurons is None else {**usage, "neurons": neurons}


def _usage(model: Model, asked: Asked, written: Written) -> Json:
    usage: Json = {
        "prompt_tokens": asked.input_tokens,
        "completion_tokens": written.output_tokens,
        "total_tokens": asked.input_tokens + written.output_tokens,
        "prompt_tokens_details": {"cached_tokens": 0},
    }
    if written.reasoning is not None:
        usage["completion_tokens_details"] = {"reasoning_tokens": written.reasoning_tokens}
    return _charged(model, asked, written, usage)


def _id(prefix: str, model: Model, asked: Asked) -> str:
    return prefix + input_digest(model, asked.prompt.encode("utf-8", "surrogatepass")).hex()


def _old(model: Model, asked: Asked, written: Written) -> Json:
    if asked.is_json_mode and written.cut:
        neurons = model.neurons(asked.input_tokens, written.output_tokens)
        raise Refusal(5024, "AiError: AiError: JSON Mode couldn't be met", neurons=neurons)
    response = written.value if asked.is_json_mode else _with_thoughts(written)
    tools: Json = {"tool_calls": []} if output_mentions(model.name, "tool_calls") else {}
    return {"response": response, **tools, "usage": _usage(model, asked, written)}


def _with_thoughts(written: Written) -> str:
    """Old models that think do so in the answer itself (qwq, deepseek-r1: public clients)."""
    content = written.content or ""
    if written.reasoning is None:
        return content
    begun = f"<think>\n{written.reasoning}\n"
    return f"{begun}</think>\n\n{content}" if content else begun


def _completion(model: Model, asked: Asked, written: Written) -> Json:
    message: Json = {"role": "assistant", "content": written.content}
    if output_mentions(model.name, "refusal") or "choices" not in output_fields(model.name):
        message["refusal"] = None
    if written.reasoning is not None:
        message["reasoning_content"] = written.reasoning
    finish = "length" if written.cut else "stop"
    return {
        "id": _id("chatcmpl-", model, asked),
        "object": "chat.completion",
        "created": CREATED,
        "model": model.name,
        "choices": [{"index": 0, "message": message, "finish_reason": finish, "logprobs": None}],
        "usage": _usage(model, asked, written),
    }


def _responses(model: Model, asked: Asked, written: Written) -> Json:
    """OpenAI's Responses form, spoken by gpt-oss when the request has ``input``."""
    status = "incomplete" if written.cut else "completed"
    output: list[Json] = []
    if written.reasoning is not None:
        thoughts = [{"type": "reasoning_text", "text": written.reasoning}]
        output.append({"id": _id("rs_", model, asked), "type": "reasoning", "summary": [], "content": thoughts})
    if written.content is not None:
        words = [{"type": "output_text", "text": written.content}]
        output.append(
            {
                "id": _id("msg_", model, asked),
                "type": "message",
                "role": "assistant",
                "status": status,
                "content": words,
            }
        )
    usage: Json = {
        "input_tokens": asked.input_tokens,
        "output_tokens": written.output_tokens,
        "total_tokens": asked.input_tokens + written.output_tokens,
    }
    return {
        "id": _id("resp_", model, asked),
        "object": "response",
        "created_at": CREATED,
        "status": status,
        "incomplete_details": {"reason": "max_output_tokens"} if written.cut else None,
        "output": output,
        "output_text": written.content or "",
        "usage": _charged(model, asked, written, usage),
    }
