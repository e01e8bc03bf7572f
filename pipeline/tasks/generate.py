"""`generate`: a prompt to an answer, optionally as JSON of a given schema.

Three answer shapes are read: ``{response, usage}`` of the older models, the OpenAI chat completion of the newer ones
(``choices[0].message``), and the Responses form (``output[]``, ``output_text``) of gpt-oss. Shapes: npm
@cloudflare/workers-types 5.20261117.1; `max_tokens` is always sent, because the service's default of 256 cuts answers
silently (developers.cloudflare.com/workers-ai/features/prompting/, 2026-11-22).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final

import orjson

from pipeline.errors import AnswerCutShort, ApiError, AttemptError, UnreadableAnswer
from pipeline.records import Answer, Column, Cost, Outline, Piece, Record, Request, Usage
from pipeline.tasks.asking import Asking, Said, longer, repair, times_longer
from pipeline.tasks.base import (
    PER_MILLION,
    Adapter,
    TaskContext,
    TaskKind,
    expected_tokens,
    flag_param,
    number_param,
    token_bound,
)
from pipeline.tasks.chat import MESSAGE_TOKENS, TEMPLATE_TOKENS, input_price_of, price_of, read_reply
from pipeline.tasks.conversation import Message, Prompts, with_instruction
from pipeline.tasks.jsonmode import JsonMode, Malformed
from pipeline.tasks.reasoning import effort_field, nothing_said, reasoning_of, split_thoughts, tool_calls_of
from pipeline.tasks.vision import image_tokens

_OWNED: Final = frozenset({"messages", "prompt", "stream", "input", "requests", "n", "stream_options", "background"})
_EXTRA: Final = frozenset(
    {
        "system",
        "prompt",
        "messages_column",
        "image_column",
        "json_schema",
        "max_tokens",
        "retry_truncated",
        "reasoning",
        "keep_reasoning",
    }
)
"""Parameters of ours that are not fields of a model's schema, or are named differently there."""

DEFAULT_MAX_TOKENS: Final = 256
_MAX_BYTES: Final = 4_000_000
_TOOLS_TOKENS: Final = 256
"""What a chat template says about tools before it lists them: an assumption, for templates are not published."""
_JSON_MODE_REFUSED: Final = 5024
_HOPELESS: Final = 5
"""JSON mode that was refused this often in a row, and never met, is not asked for again (public clients, 2026-11-22:
7 of 7 failed, twice, and each refusal burns neurons)."""


class Generate(Adapter):
    """Adapter of the task `generate`. One record, one request; what its answer makes necessary follows it.

    A text is bounded by its bytes, 16 tokens for each message's frame and 64 for what chat templates add (llama-3.1
    adds about 25); the answer by `max_tokens`. Reasoning counts as output and within `max_tokens`.
    """

    def __init__(self, context: TaskContext) -> None:
        super().__init__(context)
        model, params, fields = context.model, dict(context.params), context.fields
        self._in = (model.input_per_m_tokens or 0.0) * PER_MILLION
        self._out = (model.output_per_m_tokens or 0.0) * PER_MILLION
        self._max_tokens = number_param(
            params, "max_tokens", number_param(params, "max_completion_tokens", DEFAULT_MAX_TOKENS)
        )
        self._limit_field = "max_completion_tokens" if "max_completion_tokens" in fields else "max_tokens"
        self._prompts = Prompts(context)
        self._image_tokens = image_tokens(model.name)
        self._times_longer = times_longer(params)
        self._json = JsonMode(params["json_schema"], fields) if params.get("json_schema") is not None else None
        self._n_refused = 0
        """Refusals of JSON mode in a row; below 0 once it was met."""
        self._keeps_reasoning = flag_param(params, "keep_reasoning")
        self._has_tools = bool(params.get("tools") or params.get("functions"))
        self._fixed = {key: value for key, value in params.items() if key not in _EXTRA | {"max_completion_tokens"}}
        self._fixed.update(effort_field(context))
        self.columns: Sequence[Column] = (
            Column("response", "string"),
            *(self._json.columns if self._json else ()),
            *([Column("reasoning", "string")] if self._keeps_reasoning else []),
            *([Column("tool_calls", "json")] if self._has_tools else []),
            Column("finish_reason", "string"),
            Column("prompt_tokens", "int64"),
            Column("completion_tokens", "int64"),
        )
        self.max_pieces = 1
        self.max_request_bytes = _MAX_BYTES
        self.is_heavy = self._prompts.has_images
        self._overhead = self._overhead_bound(params)

    def _overhead_bound(self, params: Mapping[str, object]) -> int:
        """Tokens beside what is said: the frame of the answer, a schema in words or as a field, tools."""
        bound = MESSAGE_TOKENS
        if self._json is not None:
            bound += MESSAGE_TOKENS + token_bound(self._json.words)
        tools = [params[name] for name in ("tools", "functions") if params.get(name)]
        return bound + sum(_TOOLS_TOKENS + token_bound(orjson.dumps(given).decode()) for given in tools)

    def uses(self) -> Sequence[tuple[str, tuple[str, ...]]]:
        """Prompt or messages, system text, image."""
        return self._prompts.uses()

    def sent(self, record: Record) -> str:
        """The prompt, or the whole conversation."""
        return self._prompts.sent(record)

    def pieces(self, record: Record) -> list[Piece]:
        """One conversation, one piece.

        Raises:
            RecordUnusable: There is no prompt to send, or no image.
        """
        asking = Asking(messages=self._prompts.read(record), max_tokens=self._max_tokens)
        return [self._piece(record, asking, self._prompts.key(asking.messages))]

    def outline(self, record: Record) -> Outline:
        """The same without the piece."""
        asking = Asking(messages=self._prompts.read(record), max_tokens=self._max_tokens)
        return self._outline(asking, self._prompts.key(asking.messages))

    def _piece(self, record: Record, asking: Asking, payload_key: bytes, *, stage: int = 0) -> Piece:
        size, expected, ceiling, *_ = self._outline(asking, payload_key)
        return Piece(record, asking, size, ceiling, expected, payload_key, stage=stage)

    def _outline(self, asking: Asking, payload_key: bytes) -> Outline:
        pictures = sum(message.picture is not None for message in asking.messages) * self._image_tokens
        text_bound = asking.input_bound(image_tokens=0) + self._overhead
        likely = expected_tokens(text_bound - TEMPLATE_TOKENS) + pictures / 4
        answer = self._out * asking.max_tokens
        return Outline(
            size=asking.size,
            expected=min(likely, text_bound + pictures) * self._in + answer / 2,
            ceiling=(text_bound + pictures) * self._in + answer,
            payload_key=payload_key,
        )

    def payload(self, request: Request) -> Mapping[str, object]:
        """``{messages, max_tokens, …}``: chat messages work on every model and template the prompt rightly.

        An image is a part of its message, or the field ``image`` of a model that has one (a data URI in either).
        """
        asking = _asking(request)
        messages: Sequence[Message] = asking.messages
        fixed = dict(self._fixed)
        if self._json is not None:
            if self._json.field and not self._is_in_words(asking):
                fixed.update(self._json.field)
            else:
                messages = with_instruction(messages, self._json.words)
        is_inline = "image" not in self._context.fields
        pictures = [message.picture for message in messages if message.picture is not None]
        if pictures and not is_inline:
            fixed["image"] = pictures[-1].data_uri()
        said = [message.on_wire(inline=is_inline) for message in messages]
        return {**fixed, "messages": said, self._limit_field: self._cap(request)}

    def _is_in_words(self, asking: Asking) -> bool:
        return asking.in_words or self._n_refused >= _HOPELESS

    def _cap(self, request: Request) -> int:
        most = _asking(request).max_tokens
        return min(request.output_cap or most, most)

    def cost(self, request: Request) -> Cost:
        """Bytes, frames and images bound the input, the piece's own `max_tokens` the output."""
        bound = sum(piece.ceiling for piece in request.pieces) - self._out * _asking(request).max_tokens
        return Cost(input=max(0.0, bound), output_per_token=self._out, max_output=self._cap(request))

    def price(self, usage: Usage) -> float | None:
        """Input and output tokens at the model's prices, where they are known; cached input at its own."""
        return price_of(self._context.model, usage)

    def input_price(self, usage: Usage, charge: float) -> float:
        """The prompt tokens at their price; all of the charge where they were not counted."""
        return input_price_of(self._context.model, usage, charge)

    def parse(self, request: Request, answer: Answer) -> Sequence[object]:
        """One `Said` per piece; what does not match the schema is one with a problem.

        Raises:
            UnreadableAnswer: No text came back, and neither is there an earlier one nor will a longer one be asked for.
            AnswerCutShort: It ended at a bound below the piece's own.
        """
        asking = _asking(request)
        try:
            said = self._said(asking, answer, self._cap(request))
        except UnreadableAnswer:
            if asking.earlier is None:
                raise
            return [asking.earlier]
        if self._json is not None and not said.problem and not self._is_in_words(asking):
            self._n_refused = -1
        is_worse = asking.earlier is not None and not said.beats(asking.earlier)
        return [asking.earlier if is_worse else said]

    def _said(self, asking: Asking, answer: Answer, cap: int) -> Said:
        reply = read_reply(answer.result, answer.usage, cap=cap)
        is_cut = reply.finish_reason == "length"
        if is_cut and cap < asking.max_tokens:
            raise AnswerCutShort(f"cut at {cap} tokens to stay within the budget")
        text = reply.text
        values: dict[str, object] = dict.fromkeys(column.name for column in self.columns)
        calls = tool_calls_of(answer.result)
        if self._has_tools:
            values["tool_calls"] = calls
        if self._keeps_reasoning:
            values["reasoning"] = reasoning_of(answer.result)
            if text and values["reasoning"] is None:
                values["reasoning"], text = split_thoughts(text)
        problem = ""
        if not text and not (self._has_tools and calls):
            problem = nothing_said(answer.usage, self._context.fields, has_calls=calls is not None)
            if not is_cut or not self._times_longer:
                raise UnreadableAnswer(problem)
        values.update(
            response=text or None,
            finish_reason=reply.finish_reason,
            prompt_tokens=answer.usage.input_tokens,
            completion_tokens=answer.usage.output_tokens,
        )
        if self._json is not None and text:
            try:
                values.update(self._json.read(text, is_cut=is_cut))
            except Malformed as exc:
                problem = str(exc)
        return Said(
            values=values, text=text or "", is_cut=is_cut, problem=problem, input_tokens=answer.usage.input_tokens
        )

    def follow_up(self, record: Record, answered: Sequence[tuple[Piece, object]]) -> Sequence[Piece]:
        """A longer answer for one that was cut (`params.retry_truncated`), one repair for one that is malformed.

        What was cut is not repaired: under the same bound it would be cut again.
        """
        piece, said = answered[-1]
        asking = piece.content
        assert isinstance(asking, Asking)
        assert isinstance(said, Said)
        following: Asking | None = None
        if said is asking.earlier:  # nothing better came
            return []
        if said.is_cut:
            bound = asking.input_bound(image_tokens=self._image_tokens) + self._overhead
            window = self._context.model.context_window
            following = longer(asking, said, times=self._times_longer, window=window, input_bound=bound)
        elif said.problem and not asking.is_repair:
            following = repair(asking, said)
        return [] if following is None else [self._piece(record, following, piece.payload_key, stage=piece.stage + 1)]

    def instead(self, piece: Piece, error: AttemptError) -> Sequence[Piece]:
        """Where JSON mode gave up (5024): the same with the schema in the prompt, checked here as ever."""
        asking = piece.content
        assert isinstance(asking, Asking)
        is_refused = isinstance(error, ApiError) and error.api_code == _JSON_MODE_REFUSED
        if self._json is None or not is_refused or asking.in_words:
            return ()
        self._n_refused += self._n_refused >= 0
        return [replace(piece, content=replace(asking, in_words=True), part=(*piece.part, 0))]

    def fallback(self, piece: Piece, error: AttemptError) -> object | None:
        """The answer that a longer one or a repair was to improve."""
        asking = piece.content
        assert isinstance(asking, Asking)
        return asking.earlier

    def row(self, record: Record, values: Sequence[object]) -> Mapping[str, object]:
        """The columns.

        Raises:
            UnreadableAnswer: The answer is still not of the schema.
        """
        said = values[-1]
        assert isinstance(said, Said)
        if said.problem:
            raise UnreadableAnswer(said.problem)
        return said.values


def _asking(request: Request) -> Asking:
    asking = request.pieces[0].content
    assert isinstance(asking, Asking)
    return asking


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
  # system: "Answer in {lang}."      # a text before the prompt, with columns in braces
  # messages_column: messages        # instead of a prompt: a column with lists of {role, content}
  # retry_truncated: true            # ask again, with twice the tokens, for an answer that was cut
  # keep_reasoning: true             # a column with what the model thought first
""",
)
