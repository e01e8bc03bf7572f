"""`caption`: a picture to a text that describes it, or to the answer to a question about it.

moondream takes ``{task, image: data URI, question or caption_length, max_tokens, stream}`` and answers ``{caption or
answer, finish_reason, metrics}``; it streams unless it is told not to, and reasons before it answers a question unless
it is told not to. llava takes ``{image: [0-255 …], prompt, max_tokens}`` and answers ``{description}``. Shapes: npm
@cloudflare/workers-types 5.20261117.1; defaults and ranges: developers.cloudflare.com/workers-ai/models/
moondream3.1-9B-A2B/, 2026-11-22.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import Final

from pipeline.errors import AnswerCutShort, PlanError, UnreadableAnswer
from pipeline.records import Answer, Column, Cost, Request, Usage
from pipeline.tasks.base import PER_MILLION, TaskContext, TaskKind, expected_tokens, number_param, token_bound
from pipeline.tasks.pictures import Picture
from pipeline.tasks.seeing import EXTRA, INPUT, Seeing

_OWNED: Final = frozenset({"task", "image", "target", "max_objects", "stream", "messages"})
_EXTRA: Final = EXTRA | {"question", "prompt", "max_tokens"}

DEFAULT_MAX_TOKENS: Final = 512
MOST_TOKENS: Final = 28_672
"""Of an answer of moondream, as published."""

DEFAULT_PROMPT: Final = "Describe this picture."
PICTURE_TOKENS: Final = 2_048
"""Bound on what a picture counts as; moondream and llava make 729 and 576 of it (their makers), more for the frame."""

LARGEST_AS_NUMBERS: Final = 1_000_000
"""Bytes of a picture that is sent as a list of numbers, which is four times as large."""

_USUAL_PICTURE_TOKENS: Final = 740
_FRAME_TOKENS: Final = 64
_LONGEST_REASON: Final = 64


class Caption(Seeing):
    """Adapter of the task `caption`. One picture, one request.

    A picture is bounded by 2,048 tokens, a question by its bytes, the answer by `max_tokens`, which is always sent
    (moondream's own default is 8,192).
    """

    columns: Sequence[Column] = (
        Column("caption", "string"),
        Column("finish_reason", "string"),
        Column("prompt_tokens", "int64"),
        Column("completion_tokens", "int64"),
    )

    def __init__(self, context: TaskContext) -> None:
        super().__init__(context)
        model, params = context.model, context.params
        self._in = (model.input_per_m_tokens or 0.0) * PER_MILLION
        self._out = (model.output_per_m_tokens or 0.0) * PER_MILLION
        self._has_tasks = "question" in context.fields
        self._max_tokens = number_param(params, "max_tokens", DEFAULT_MAX_TOKENS)
        self._question = _question(params)
        self._fixed = {key: value for key, value in params.items() if key not in _EXTRA}
        if self._has_tasks:
            self._check_moondream()
        else:
            self.most_bytes = LARGEST_AS_NUMBERS
            self._question = self._question or DEFAULT_PROMPT

    def _check_moondream(self) -> None:
        if self._max_tokens > MOST_TOKENS:
            raise PlanError(f"should be at most {MOST_TOKENS}, not {self._max_tokens}", key="params.max_tokens")
        for name, most in (("temperature", 2), ("top_p", 1)):
            value = self._fixed.get(name, 0)
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= most:
                raise PlanError(f"should be a number from 0 to {most}, not {value!r}", key=f"params.{name}")
        idle = "caption_length" if self._question else "reasoning"
        if idle in self._fixed:
            when = "a caption; remove params.question" if self._question else "a question; give params.question"
            raise PlanError(f"is for {when}", key=f"params.{idle}")

    def bound(self, picture: Picture) -> tuple[float, float]:
        """Tokens of picture, question and answer."""
        asked = self._question or ""
        most = (PICTURE_TOKENS + _FRAME_TOKENS + token_bound(asked)) * self._in + self._max_tokens * self._out
        usual = _USUAL_PICTURE_TOKENS + expected_tokens(len(asked.encode()))
        return usual * self._in + min(self._max_tokens, 100) * self._out, most

    def _cap(self, request: Request) -> int:
        return min(request.output_cap or self._max_tokens, self._max_tokens)

    def cost(self, request: Request) -> Cost:
        """Picture and question bound the input, `max_tokens` the output; llava does not say whether it was cut."""
        ceiling = sum(piece.ceiling for piece in request.pieces)
        if not self._has_tasks:
            return Cost(input=ceiling)
        rest = max(0.0, ceiling - self._out * self._max_tokens)
        return Cost(input=rest, output_per_token=self._out, max_output=self._cap(request))

    def price(self, usage: Usage) -> float | None:
        """Input and output tokens at the model's prices, where both are known."""
        if usage.input_tokens is None or usage.output_tokens is None or self._context.model.assumed_price:
            return None
        return usage.input_tokens * self._in + usage.output_tokens * self._out

    def input_price(self, usage: Usage, charge: float) -> float:
        """The input tokens at their price; all of the charge where they were not counted."""
        return usage.input_tokens * self._in if usage.input_tokens is not None else charge

    def payload(self, request: Request) -> Mapping[str, object]:
        """A data URI for moondream, numbers for llava."""
        content, mime = self.content(request)
        if not self._has_tasks:
            return {**self._fixed, "image": list(content), "prompt": self._question, "max_tokens": self._max_tokens}
        image = f"data:{mime};base64,{base64.b64encode(content).decode()}"
        wish: dict[str, object] = {"task": "caption"}
        if self._question:
            wish = {"task": "query", "question": self._question, "reasoning": False}
        return {**wish, **self._fixed, "image": image, "max_tokens": self._cap(request), "stream": False}

    def parse(self, request: Request, answer: Answer) -> Sequence[object]:
        """One mapping: the columns of this task.

        Raises:
            UnreadableAnswer: No text came back.
            AnswerCutShort: It ended at a bound below the job's own.
        """
        result, usage = answer.result, answer.usage
        name = "description" if not self._has_tasks else "answer" if self._question else "caption"
        text = result.get(name) if isinstance(result, dict) else None
        if not isinstance(result, dict) or not isinstance(text, str) or not text.strip():
            raise UnreadableAnswer("the model gave no text; if it thinks first, raise params.max_tokens")
        reason = result.get("finish_reason")
        finish = reason[:_LONGEST_REASON] if isinstance(reason, str) and reason else None
        if self._has_tasks and usage.output_tokens is not None and usage.output_tokens >= self._cap(request):
            finish = "length"
        if finish == "length" and self._cap(request) < self._max_tokens:
            raise AnswerCutShort(f"cut at {self._cap(request)} tokens to stay within the budget")
        return [
            {
                "caption": text.strip(),
                "finish_reason": finish,
                "prompt_tokens": usage.input_tokens,
                "completion_tokens": usage.output_tokens,
            }
        ]


def _question(params: Mapping[str, object]) -> str | None:
    """Read `params.question`, or `params.prompt`, which says the same.

    Raises:
        PlanError: Both are given, or it is no text.
    """
    given = [name for name in ("question", "prompt") if name in params]
    if len(given) > 1:
        raise PlanError("says the same as params.question; give one of them", key="params.prompt")
    if not given:
        return None
    value = params[given[0]]
    if not isinstance(value, str) or not value.strip():
        raise PlanError("should be a question or an instruction, as text", key=f"params.{given[0]}")
    return value


KIND: Final = TaskKind(
    name="caption",
    adapter=Caption,
    text=("path", "text"),
    media="images",
    owned=_OWNED,
    extra=_EXTRA,
    carriers=("image",),
    head="""\
task: caption                        # a text that describes a picture
model: "@cf/moondream/moondream3.1-9B-A2B"   # wai models --task caption lists others
params:                              # parameters of the model, checked before anything is sent
  max_tokens: 512                    # the most an answer may be long, and cost
  # question: Is there a person in the picture?   # its answer instead of a caption
  # max_pixels: 1000000              # make larger pictures smaller before they are sent
""",
    input=INPUT,
)
