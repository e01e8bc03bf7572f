"""Texts that are longer than a model reads: how long they may be, and where they are cut.

A tokenizer is not at hand, so tokens are guessed, on the safe side for ordinary prose (`cautious_tokens`). Bytes alone
would be safe for any text (`token_bound`), but they are four times the tokens of English: each text would be cut into
four parts too many. What is at most as long in bytes as the model's window is never counted.

Where the guess is too low (letters that are no words: base64, gene sequences), models that refuse such a text make it
cut in halves on the way (`Embed.instead`); where a service cuts silently, the end of that part is not read.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Mapping
from typing import Final, Literal, cast, get_args

from pipeline.catalog import ModelInfo
from pipeline.errors import PlanError, RecordUnusable
from pipeline.segments import Segment, beginning, passages, size_of
from pipeline.tasks.base import number_param

Mode = Literal["chunk", "mean", "truncate", "error"]
PARAMS: Final = frozenset({"long_text", "chunk_tokens"})

_MODES: Final[tuple[str, ...]] = get_args(Mode)
_LEAST: Final = 32
"""Tokens of a part at least; no character takes more (U+FDFA becomes 18 letters when it is normalised)."""

_TRAINED: Final = {"@cf/baai/bge-m3": 8192}
"""Tokens of a text that a model was made for, where the catalogue knows only what a request may hold.

huggingface.co/BAAI/bge-reranker-v2-m3/discussions/9 of its makers, 2026-11-22."""

_BYTES_PER_REQUEST_TOKEN: Final = 2.4
"""qwen3, whose window is for the whole request: 20,000 characters passed and 50,000 did not (2026-11-22)."""

_ONE_EACH: Final = r"\u0080-\u07ff\u1e00-\u1eff\u2000-\u206f\u3000-\u30ff\u3400-\u9fff\uff00-\uffef"
_TOKEN: Final = re.compile(rf"[A-Za-z][a-z]{{0,2}}|\s{{2,8}}|[^\S ]|[!-@\[-`{{-~\x00-\x1f\x7f{_ONE_EACH}]")
_OTHER: Final = re.compile(rf"[^\x00-\x7f{_ONE_EACH}]+")
_MOST_CHARACTERS: Final = 16
"""Characters that may belong to one token by the rule above, and then some: white space takes eight."""


def cautious_tokens(text: str) -> int:
    """Guess the tokens of a text, rather too many than too few.

    A token for every three letters of a lower-case word or its beginning (English has four to five, and three in
    terms of medicine and chemistry); one for each capital after another, digit, sign, line break and run of spaces;
    one for each letter of Latin, Greek, Cyrillic, Hebrew and Arabic script beyond ASCII, and for each Chinese or
    Japanese character; a token a byte for everything else. Sub-word tokenizers normalise (NFKC) before they count,
    which can lengthen a text, so the longer of both forms is meant.
    """
    if text.isascii():
        return len(_TOKEN.findall(text))
    if unicodedata.is_normalized("NFKC", text):
        return _counted(text)
    return max(_counted(text), _counted(unicodedata.normalize("NFKC", text)))


def _counted(text: str) -> int:
    return len(_TOKEN.findall(text)) + sum(size_of(run) for run in _OTHER.findall(text))


class LongTexts:
    """What happens to texts that a model may not read as a whole.

    Args:
        params: Of the job: ``long_text`` and ``chunk_tokens``.
        model: Whose window counts.
        overhead: Tokens put around every text.

    Attributes:
        mode: What is done with them.
        room: Tokens that a text may have, None where nobody knows.

    Raises:
        PlanError: A parameter is out of its bounds.
    """

    def __init__(self, params: Mapping[str, object], model: ModelInfo, *, overhead: int) -> None:
        mode = params.get("long_text", "chunk")
        if mode not in _MODES:
            raise PlanError(f"should be one of {', '.join(_MODES)}, not {mode!r}", key="params.long_text")
        self.mode = cast("Mode", mode)
        self._model = model.name
        window = model.max_input_tokens or _TRAINED.get(model.name) or model.context_window
        self._is_of_request = window is not None and window == model.context_window
        self.room = window - overhead if window is not None else None
        if self.room is not None and self.room < _LEAST:
            raise PlanError(f"leaves no room for texts: {model.name} reads {window:,} tokens", key="params.instruction")
        if "chunk_tokens" in params:
            self.room = self._chunk(number_param(params, "chunk_tokens", _LEAST))

    def _chunk(self, most: int) -> int:
        if self.mode not in {"chunk", "mean"}:
            raise PlanError(f"has no meaning with long_text: {self.mode}", key="params.chunk_tokens")
        if most < _LEAST or (self.room is not None and most > self.room):
            bounds = f"at least {_LEAST}" if self.room is None else f"between {_LEAST} and {self.room:,}"
            raise PlanError(f"should be {bounds}, not {most:,}", key="params.chunk_tokens")
        return most

    def fits(self, text: str) -> bool:
        """Whether the model reads all of a text, were it prose."""
        return self.room is None or self._size(text) <= self.room

    def chunks(self, text: str) -> list[Segment]:
        """Cut a text that does not fit into parts that do."""
        assert self.room is not None
        return passages(text, most=self.room, language="en", measure=self._size)

    def beginning(self, text: str) -> Segment:
        """The first part of a text that does not fit."""
        assert self.room is not None
        start = len(text) - len(text.lstrip())
        enough = text[start : start + (self.room + 1) * _MOST_CHARACTERS]
        first = beginning(enough, most=self.room, language="en", measure=self._size)
        return Segment(start + first.start, start + first.end, first.text)

    def refusal(self, text: str) -> RecordUnusable:
        """Say how long a text is and how long it may be."""
        return RecordUnusable(
            f"the text may be {self._size(text):,} tokens long ({size_of(text):,} bytes), and {self._model} reads "
            f"{self.room:,} of it; params.long_text: chunk, mean or truncate takes it as it is"
        )

    def _size(self, text: str) -> int:
        tokens = cautious_tokens(text)
        return max(tokens, math.ceil(size_of(text) / _BYTES_PER_REQUEST_TOKEN)) if self._is_of_request else tokens
