"""What every task adapter starts from."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass

from pipeline.catalog import ModelInfo
from pipeline.errors import PlanError, RecordUnusable
from pipeline.records import Outline, Piece, Record
from pipeline.template import TextTemplate

PER_MILLION = 1e-6


@dataclass(frozen=True, slots=True)
class TaskContext:
    """The resolved job as a task sees it.

    Attributes:
        model: The model with its prices and limits.
        params: `params` of the job spec.
        text: The column or template that is sent.
        fields: Input fields of the model's published schema.
        batch_size: `limits.batch_size`, None for the model's own.
    """

    model: ModelInfo
    params: Mapping[str, object]
    text: TextTemplate
    fields: frozenset[str]
    batch_size: int | None = None


def token_bound(text: str) -> int:
    """Upper bound on the tokens of `text` for any sub-word tokenizer: its UTF-8 bytes.

    Tokenizers normalise (NFKC) before they count, which can lengthen a text, so the longer of both forms is meant.
    """
    if text.isascii():
        return len(text)
    size = len(text.encode("utf-8", "surrogatepass"))
    if unicodedata.is_normalized("NFKC", text):
        return size
    return max(size, len(unicodedata.normalize("NFKC", text).encode("utf-8", "surrogatepass")))


def whole(record: Record, content: str, outline: Outline) -> list[Piece]:
    """The one piece of a record that travels uncut."""
    size, expected, ceiling, payload_key = outline
    return [Piece(record, content, size=size, ceiling=ceiling, expected=expected, payload_key=payload_key)]


BYTES_PER_TOKEN = 3.6
"""For expectations only: English runs at 3.7 to 4.5 bytes a token, CJK at about 3 (measured on tekken, 2026-11-22)."""


def expected_tokens(size: int) -> float:
    """Tokens that `size` bytes of ordinary text probably are."""
    return size / BYTES_PER_TOKEN


def sendable_text(template: TextTemplate, fields: Mapping[str, object]) -> str:
    """Render a record's text and refuse what cannot be sent.

    Raises:
        RecordUnusable: No text, only white space, or half a surrogate pair.
    """
    text = template.render(fields)
    if not text or text.isspace():
        raise RecordUnusable("the text is empty")
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError as exc:
            raise RecordUnusable(f"the text holds half a surrogate pair at character {exc.start}") from None
    return text


def number_param(params: Mapping[str, object], name: str, default: int) -> int:
    """Read a whole positive number from `params`.

    Raises:
        PlanError: It is something else.
    """
    value = params.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise PlanError(f"should be a whole number of at least 1, not {value!r}", key=f"params.{name}")
    return value
