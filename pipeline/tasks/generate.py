"""`generate`: a prompt to an answer, optionally as JSON of a given schema.

`max_tokens` is always sent, because the service's default of 256 cuts answers silently
(developers.cloudflare.com/workers-ai/features/prompting/, 2026-11-22).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import jsonschema_rs
import orjson

from pipeline.errors import AnswerCutShort, PlanError, UnreadableAnswer
from pipeline.records import Answer, Column, Cost, Outline, Piece, Record, Request, Usage, digest
from pipeline.tasks.base import (
    PER_MILLION,
    Adapter,
    TaskContext,
    TaskKind,
    expected_tokens,
    number_param,
    sendable_text,
    token_bound,
    whole,
)
from pipeline.tasks.chat import (
    MESSAGE_TOKENS,
    TEMPLATE_TOKENS,
    Reply,
    input_price_of,
    price_of,
    read_reply,
    unfenced,
)
from pipeline.tasks.jsoncolumns import columns_of, values_of

_OWNED: Final = frozenset({"messages", "prompt", "stream", "input", "requests", "n", "stream_options", "background"})
_EXTRA: Final = frozenset({"system", "json_schema", "max_tokens"})
"""Parameters of ours that are not fields of a model's schema, or are named differently there."""

DEFAULT_MAX_TOKENS: Final = 256
_MAX_BYTES: Final = 4_000_000
_LONGEST_PROBLEM: Final = 300


class Generate(Adapter):
    """Adapter of the task `generate`. One prompt, one request.

    A prompt is bounded by its bytes, 16 tokens for each message's frame and 64 for what chat templates add (llama-3.1
    adds about 25); the answer by `max_tokens`. Reasoning counts as output and within `max_tokens`.
    """

    def __init__(self, context: TaskContext) -> None:
        super().__init__(context)
        model, params = context.model, dict(context.params)
        self._in = (model.input_per_m_tokens or 0.0) * PER_MILLION
        self._out = (model.output_per_m_tokens or 0.0) * PER_MILLION
        self._max_tokens = number_param(
            params, "max_tokens", number_param(params, "max_completion_tokens", DEFAULT_MAX_TOKENS)
        )
        self._is_chat_shape = "max_completion_tokens" in context.fields
        self._limit_field = "max_completion_tokens" if self._is_chat_shape else "max_tokens"
        self._system = params.get("system")
        if self._system is not None and not isinstance(self._system, str):
            raise PlanError("should be text", key="params.system")
        schema = params.get("json_schema")
        if schema is not None and not isinstance(schema, dict):
            raise PlanError("should be a JSON Schema, a mapping with type: object", key="params.json_schema")
        self._schema: dict[str, object] | None = schema
        self._validator = _compile(schema) if schema is not None else None
        self._fixed = {key: value for key, value in params.items() if key not in _EXTRA | {"max_completion_tokens"}}
        self._fixed.update(self._response_format())
        parsed = columns_of(schema) if schema is not None else ()
        self._parsed = tuple(parsed)
        self.columns: Sequence[Column] = (
            Column("response", "string"),
            *parsed,
            Column("finish_reason", "string"),
            Column("prompt_tokens", "int64"),
            Column("completion_tokens", "int64"),
        )
        self.max_pieces = 1
        self.max_request_bytes = _MAX_BYTES
        overhead = [self._system or "", orjson.dumps(schema).decode() if schema else ""]
        self._overhead = TEMPLATE_TOKENS + 2 * MESSAGE_TOKENS + sum(token_bound(text) for text in overhead)

    def _response_format(self) -> dict[str, object]:
        """JSON mode in the spelling the model takes: bare on older models, OpenAI's wrapper on newer ones.

        A model without JSON mode is asked in words; the answer is validated here in every case.
        """
        if self._schema is None:
            return {}
        if "response_format" not in self._context.fields:
            asked = f"Answer with JSON only, matching this JSON Schema: {orjson.dumps(self._schema).decode()}"
            self._system = f"{self._system}\n\n{asked}" if self._system else asked
            return {}
        if self._is_chat_shape:
            wrapped = {"name": "answer", "schema": self._schema, "strict": True}
            return {"response_format": {"type": "json_schema", "json_schema": wrapped}}
        return {"response_format": {"type": "json_schema", "json_schema": self._schema}}

    def pieces(self, record: Record) -> list[Piece]:
        """One prompt, one piece.

        Raises:
            RecordUnusable: There is no prompt to send.
        """
        text = sendable_text(self._context.text, record.fields)
        return whole(record, text, self._outline(text))

    def outline(self, record: Record) -> Outline:
        """The same without the piece."""
        return self._outline(sendable_text(self._context.text, record.fields))

    def _outline(self, text: str) -> Outline:
        encoded = text.encode()
        size = len(encoded)
        most = (token_bound(text) + self._overhead) * self._in + self._out * self._max_tokens
        expected_in = expected_tokens(size + self._overhead - TEMPLATE_TOKENS) * self._in
        return Outline(size, expected_in + self._out * self._max_tokens / 2, most, digest(encoded))

    def payload(self, request: Request) -> Mapping[str, object]:
        """``{messages, max_tokens, …}``: chat messages work on every model and template the prompt rightly."""
        messages = [{"role": "user", "content": request.pieces[0].content}]
        if self._system:
            messages.insert(0, {"role": "system", "content": self._system})
        return {**self._fixed, "messages": messages, self._limit_field: self._cap(request)}

    def _cap(self, request: Request) -> int:
        return min(request.output_cap or self._max_tokens, self._max_tokens)

    def cost(self, request: Request) -> Cost:
        """Prompt bytes and frame bound the input, `max_tokens` the output."""
        bound = sum(piece.ceiling for piece in request.pieces) - self._out * self._max_tokens
        return Cost(input=max(0.0, bound), output_per_token=self._out, max_output=self._cap(request))

    def price(self, usage: Usage) -> float | None:
        """Input and output tokens at the model's prices, where they are known; cached input at its own."""
        return price_of(self._context.model, usage)

    def input_price(self, usage: Usage, charge: float) -> float:
        """The prompt tokens at their price; all of the charge where they were not counted."""
        return input_price_of(self._context.model, usage, charge)

    def parse(self, request: Request, answer: Answer) -> Sequence[object]:
        """One mapping per prompt: the columns of this task.

        Raises:
            UnreadableAnswer: No text came back, or it is not what the JSON schema says.
            AnswerCutShort: It ended at a bound below the job's own.
        """
        reply = read_reply(answer.result, answer.usage, cap=self._cap(request))
        if reply.finish_reason == "length" and self._cap(request) < self._max_tokens:
            raise AnswerCutShort(f"cut at {self._cap(request)} tokens to stay within the budget")
        if not reply.text:
            spent = f" after {answer.usage.output_tokens} tokens" if answer.usage.output_tokens else ""
            raise UnreadableAnswer(
                f"the model gave no text{spent}; if it thinks first, raise params.max_tokens or turn thinking off "
                "(params.chat_template_kwargs: {enable_thinking: false})"
            )
        values: dict[str, object] = {
            "response": reply.text,
            "finish_reason": reply.finish_reason,
            "prompt_tokens": answer.usage.input_tokens,
            "completion_tokens": answer.usage.output_tokens,
        }
        if self._validator is not None:
            values.update(self._structured(reply))
        return [values]

    def _structured(self, reply: Reply) -> Mapping[str, object]:
        assert self._validator is not None
        try:
            parsed = orjson.loads(unfenced(reply.text or ""))
            orjson.dumps(parsed)  # what is nested deeper than that cannot be checked or kept
        except (orjson.JSONDecodeError, orjson.JSONEncodeError):
            cut = "; it was cut at params.max_tokens" if reply.finish_reason == "length" else ""
            raise UnreadableAnswer(f"the answer is not JSON{cut}: {(reply.text or '')[:80]!r}") from None
        problem = next(iter(self._validator.iter_errors(parsed)), None)
        if problem is not None:
            where = "/".join(str(step) for step in problem.instance_path)
            said = problem.message[:_LONGEST_PROBLEM]
            raise UnreadableAnswer(f"the answer does not match params.json_schema at /{where[:80]}: {said}")
        return values_of(self._parsed, parsed)


def _compile(schema: dict[str, object]) -> jsonschema_rs.Draft202012Validator:
    try:
        return jsonschema_rs.Draft202012Validator(schema)
    except (ValueError, jsonschema_rs.ValidationError) as exc:
        raise PlanError(f"not a valid JSON Schema: {str(exc).splitlines()[0]}", key="params.json_schema") from exc


KIND: Final = TaskKind(
    name="generate",
    adapter=Generate,
    text=("prompt", "text"),
    owned=_OWNED,
    extra=_EXTRA,
    carriers=("messages", "prompt"),
    head="""\
task: generate                       # one answer per record
model: "@cf/meta/llama-3.1-8b-instruct-fp8"   # wai models --task generate lists others
params:                              # parameters of the model, checked before anything is sent
  max_tokens: 256                    # the most an answer may be long, and cost
  # temperature: 0.2
  # seed: 1
""",
)
