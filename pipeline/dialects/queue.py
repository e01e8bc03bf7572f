"""Cloudflare's queue on the wire: how a request is queued, asked for, and read once it is done. Pure.

``POST …/ai/run/{model}?queueRequest=true`` with ``{requests: [...]}`` answers ``{status, request_id, model}``; the same
address with ``{request_id}`` answers ``queued`` or ``running`` until it holds the answers. Source:
developers.cloudflare.com/workers-ai/features/batch-api/rest-api/ (2026-09); public clients saw the list named
``results`` as well, items out of order and nested once more (2026-08).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from pipeline.dialects.body import unwrap
from pipeline.dialects.workers_ai import WorkersAI, first_error
from pipeline.errors import ApiError, UnreadableAnswer
from pipeline.records import Answer, ItemRefused, Usage
from pipeline.wire import HttpRequest

_UNSUPPORTED: Final = 8007
_UNSUPPORTED_WORDS: Final = "does not support request queuing"
_WAITING: Final = frozenset({"queued", "running"})
_ENVELOPE: Final = frozenset({"result", "success", "errors", "messages"})
_LONGEST_ID: Final = 200


@dataclass(frozen=True, slots=True)
class Collected:
    """A queued request that is done.

    Attributes:
        items: Results by reference; an `ItemRefused` where one was refused.
        usage: Of all of them together.
    """

    items: Mapping[str, object]
    usage: Usage


def is_unsupported(error: ApiError) -> bool:
    """Whether a refusal means that the model has no queue (8007 means other things as well)."""
    return error.api_code == _UNSUPPORTED and _UNSUPPORTED_WORDS in error.message.lower()


def encode_submission(dialect: WorkersAI, requests: Sequence[Mapping[str, object]]) -> HttpRequest:
    """Put requests into the queue; each carries its ``external_reference``."""
    sent = dialect.encode({"requests": list(requests)})
    return replace(sent, url=f"{sent.url}?queueRequest=true")


def encode_question(dialect: WorkersAI, request_id: str) -> HttpRequest:
    """Ask how far a queued request is."""
    return dialect.encode({"request_id": request_id})


def read_receipt(answer: Answer) -> str:
    """The id under which the requests are queued.

    Raises:
        UnreadableAnswer: There is none.
    """
    result = answer.result
    request_id = result.get("request_id") if isinstance(result, Mapping) else None
    if not isinstance(request_id, str) or not 0 < len(request_id) <= _LONGEST_ID:
        raise UnreadableAnswer("the queue gave no request_id")
    return request_id


def read_progress(answer: Answer, references: Sequence[str]) -> Collected | None:
    """The answers of a queued request; None while it waits or runs.

    Args:
        answer: To `encode_question`.
        references: Of the requests, in the order in which they were queued: an item without one is found by its ``id``.

    Raises:
        UnreadableAnswer: It is neither.
    """
    result = answer.result
    if isinstance(result, Mapping) and result.get("status") in _WAITING:
        return None
    while isinstance(result, Mapping) and "responses" not in result and "results" not in result:
        if not isinstance(result.get("result"), Mapping):
            raise UnreadableAnswer("the queue's answer has a form that is not known")
        result = result["result"]
    items = result.get("responses", result.get("results")) if isinstance(result, Mapping) else None
    if not isinstance(items, list):
        raise UnreadableAnswer("the queue's answer holds no list of answers")
    known = set(references)
    found: dict[str, object] = {}
    for item in items:
        reference = _reference_of(item, references)
        if reference in known:
            found.setdefault(reference, _result_of(item))
    return Collected(found, answer.usage)


def _reference_of(item: object, references: Sequence[str]) -> str:
    if not isinstance(item, Mapping):
        return ""
    given, index = item.get("external_reference"), item.get("id")
    if isinstance(given, str):
        return given
    is_index = isinstance(index, int) and not isinstance(index, bool) and 0 <= index < len(references)
    return references[index] if is_index and isinstance(index, int) else ""


def _result_of(item: Mapping[str, object]) -> object:
    """What one request came to, out of as many envelopes as it lies in."""
    if item.get("success") is False or ("result" not in item and ("error" in item or "errors" in item)):
        said = item.get("error")
        words = unwrap(said) if isinstance(said, str) else first_error(item)[1]
        return ItemRefused(words or "no reason given")
    result = item.get("result")
    while isinstance(result, Mapping) and "result" in result and result.keys() <= _ENVELOPE:
        result = result["result"]
    return result
