"""Any server that speaks OpenAI's interface: chat completions, embeddings, transcriptions.

Source: OpenAI's published interface 2.3.0 in docs.rs/crate/openai-client-base/0.12.0 and PyPI openai 2.54.0, read
2026-11-23; developers.cloudflare.com/workers-ai/configuration/open-ai-compatibility/, 2026-11-22 (Cloudflare's own
``/ai/v1``, where answers have no envelope and refusals have). Native inputs of
the task adapters go out in OpenAI's form, and answers come back as the `result` of Workers AI.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Final, Literal

import numpy as np
import orjson

from pipeline.dialects.body import mime_of, read_json
from pipeline.dialects.multipart import encode_form
from pipeline.dialects.server_errors import Refusals, refused_under_200
from pipeline.dialects.transcriptions import form_of, is_translation, native_result
from pipeline.dialects.workers_ai import answered, gateway_headers, neurons_header, read_usage
from pipeline.errors import UnreadableAnswer
from pipeline.records import Answer, Payload, Usage
from pipeline.wire import HttpRequest, HttpResponse

Operation = Literal["chat", "embeddings", "transcriptions"]

_OPERATIONS: Final[Mapping[str, Operation]] = {"embed": "embeddings", "transcribe": "transcriptions"}
_TEXTS: Final = ("text", "queries", "documents")
_LONGEST_SCHEMA_NAME: Final = 64


def operation_of(task: str) -> Operation:
    """Which of the three interfaces does a task of the job spec."""
    return _OPERATIONS.get(task, "chat")


class OpenAI:
    """Encodes inputs for one model and operation, and judges the answers.

    Args:
        base_url: Of the interface, e.g. ``https://api.openai.com/v1``, no trailing slash.
        model: As the server calls it.
        operation: What is asked for.
        refusals: Makes errors.
        counts_neurons: Cloudflare answers itself: what it says of neurons is believed.
        headers: Sent with every request.
        asks_for_words: Ask for the times of words in a transcript.
    """

    def __init__(
        self,
        *,
        base_url: str,
        model: str,
        operation: Operation,
        refusals: Refusals,
        counts_neurons: bool = False,
        headers: Mapping[str, str] | None = None,
        asks_for_words: bool = True,
    ) -> None:
        self._base_url, self._model, self._operation = base_url, model, operation
        self._refusals, self._counts_neurons = refusals, counts_neurons
        self._more = dict(headers or {})
        self._asks_for_words = asks_for_words

    def encode(self, payload: Payload) -> HttpRequest:
        """Put a native input on the wire.

        Raises:
            ValueError: It cannot be said in this interface, or holds what JSON cannot.
        """
        if self._operation == "transcriptions":
            form = form_of(payload, self._model, asks_for_words=self._asks_for_words)
            body, kind = encode_form(form)
            path = "translations" if is_translation(payload) else "transcriptions"
            return HttpRequest(f"{self._base_url}/audio/{path}", body, {**self._more, "content-type": kind})
        if not isinstance(payload, Mapping):
            raise ValueError("files cannot be sent to this endpoint")
        path, fields = (
            ("embeddings", _embedding_fields(payload))
            if self._operation == "embeddings"
            else ("chat/completions", _chat_fields(payload))
        )
        headers = {**self._more, "content-type": "application/json"}
        return HttpRequest(f"{self._base_url}/{path}", as_json({"model": self._model, **fields}), headers)

    def decode(self, response: HttpResponse) -> Answer:
        """Read an answer, or raise what it means.

        Raises:
            ApiError: The server refused, under any status.
            ResponseTruncated: The body breaks off.
            UnreadableAnswer: It claims success, and is not what this interface answers.
        """
        if response.status >= 300:
            raise self._refusals.of_status(response)
        neurons = neurons_header(response.headers) if self._counts_neurons else None
        try:
            return self._read(response, neurons)
        except UnreadableAnswer as error:
            error.neurons = neurons if self._counts_neurons else error.neurons
            error.http_status = response.status
            raise

    def _read(self, response: HttpResponse, neurons: float | None) -> Answer:
        if self._operation == "transcriptions" and mime_of(response) == "text/plain":
            body: object = response.body.decode(errors="replace")
        else:
            body = read_json(response, neurons)
        status = refused_under_200(body)
        if status is not None:
            raise self._refusals.of_body(response, body, status)
        result: object
        if self._operation == "transcriptions":
            result = native_result(body)
        elif self._operation == "embeddings":
            result = _vectors(body)
        else:
            result = _completion(body)
        return answered(response, result, self._usage(body, neurons))

    def _usage(self, body: object, header_neurons: float | None) -> Usage:
        usage = read_usage(body, body, header_neurons)
        if self._counts_neurons:
            return usage
        return Usage(
            input_tokens=usage.input_tokens, output_tokens=usage.output_tokens, cached_tokens=usage.cached_tokens
        )


def openai_dialect(
    *,
    base_url: str,
    model: str,
    task: str,
    api_key_env: str | None,
    now: Callable[[], datetime],
    counts_neurons: bool,
    gateway: str | None = None,
    cache_ttl_s: int | None = None,
    skip_cache: bool = False,
) -> OpenAI:
    """The dialect of a job's task at one server."""
    return OpenAI(
        base_url=base_url,
        model=model,
        operation=operation_of(task),
        refusals=Refusals(base_url=base_url, api_key_env=api_key_env, now=now, counts_neurons=counts_neurons),
        counts_neurons=counts_neurons,
        headers=gateway_headers(gateway, cache_ttl_s=cache_ttl_s, skip_cache=skip_cache),
    )


def as_json(fields: Mapping[str, object]) -> bytes:
    """Write a body.

    Raises:
        ValueError: It holds what JSON cannot.
    """
    try:
        return orjson.dumps(fields)
    except (orjson.JSONEncodeError, TypeError) as exc:
        raise ValueError(f"cannot be sent as JSON: {exc}") from exc


def _chat_fields(payload: Mapping[str, object]) -> dict[str, object]:
    fields = dict(payload)
    if "prompt" in fields and "messages" not in fields:
        fields["messages"] = [{"role": "user", "content": fields.pop("prompt")}]
    if not fields.get("messages"):
        raise ValueError("there are no messages to send")
    wish = fields.get("response_format")
    if isinstance(wish, dict) and isinstance(wish.get("json_schema"), dict):
        fields["response_format"] = {"type": "json_schema", "json_schema": _wrapped(wish["json_schema"])}
    return fields


def _wrapped(given: Mapping[str, object]) -> Mapping[str, object]:
    """OpenAI's ``{name, schema, strict}`` of a bare schema, or of one that is wrapped already.

    ``strict`` only where the schema meets what strict mode asks for: every object closed, every property required
    (github.com/trycompai/comp/pull/2792 quotes the refusal, google/adk-java/pull/1476 does the same; read 2026-11-23).
    """
    schema = given.get("schema")
    name = given.get("name")
    if not isinstance(schema, Mapping):
        schema, name = given, given.get("title")
    plain = isinstance(name, str) and name.replace("_", "").replace("-", "").isalnum() and name.isascii()
    return {
        "name": str(name)[:_LONGEST_SCHEMA_NAME] if plain else "answer",
        "schema": schema,
        "strict": _is_strict(schema),
    }


def _is_strict(schema: object) -> bool:
    if isinstance(schema, Mapping):
        properties = schema.get("properties")
        if isinstance(properties, Mapping) or schema.get("type") == "object":
            names = set(properties) if isinstance(properties, Mapping) else set()
            required = schema.get("required")
            if schema.get("additionalProperties") is not False or names - set(
                required if isinstance(required, list) else ()
            ):
                return False
        return all(_is_strict(value) for value in schema.values())
    return all(map(_is_strict, schema)) if isinstance(schema, list) else True


def _embedding_fields(payload: Mapping[str, object]) -> dict[str, object]:
    name = next((name for name in _TEXTS if name in payload), None)
    if name is None:
        raise ValueError("there are no texts to send")
    rest = {key: value for key, value in payload.items() if key != name}
    return {"input": payload[name], "encoding_format": "float", **rest}


def _completion(body: object) -> object:
    """A chat completion as it is; content that comes in parts becomes one text.

    Raises:
        UnreadableAnswer: There is no choice in it.
    """
    choices = body.get("choices") if isinstance(body, dict) else None
    if not isinstance(choices, list) or not choices or not isinstance(choices[0], dict):
        raise UnreadableAnswer("the answer is no chat completion")
    message = choices[0].get("message")
    content = message.get("content") if isinstance(message, dict) else None
    if isinstance(message, dict) and isinstance(content, list):
        texts = [part.get("text") for part in content if isinstance(part, dict) and part.get("type") == "text"]
        message["content"] = "".join(text for text in texts if isinstance(text, str)) or None
    return body


def _vectors(body: object) -> dict[str, object]:
    """``{shape, data}`` of the items of an answer, put in the order of their ``index``.

    Raises:
        UnreadableAnswer: There are none, or their places do not make a row from 0 on.
    """
    items = body.get("data") if isinstance(body, dict) else None
    if not isinstance(items, list) or not items or not all(isinstance(item, dict) for item in items):
        raise UnreadableAnswer("the answer holds no vectors")
    places = [item.get("index") for item in items]
    if any(place is not None for place in places):
        if any(type(place) is not int for place in places) or sorted(places) != list(range(len(items))):
            raise UnreadableAnswer("the places of the vectors (index) do not make a row from 0 on")
        items = sorted(items, key=lambda item: item["index"])
    vectors = [item.get("embedding") for item in items]
    if isinstance(vectors[0], str):
        matrix = _decoded(vectors)
        return {"shape": list(matrix.shape), "data": matrix}
    width = len(vectors[0]) if isinstance(vectors[0], list) else 0
    return {"shape": [len(vectors), width], "data": vectors}


def _decoded(vectors: Sequence[object]) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
    """Vectors in base64: numbers of four bytes, the least significant first, as OpenAI's own clients ask for them."""
    rows: list[bytes] = []
    for vector in vectors:
        try:
            raw = base64.b64decode(vector, validate=True) if isinstance(vector, str) else b""
        except (binascii.Error, ValueError):
            raw = b""
        if not raw or len(raw) % 4 or len(raw) != len(rows[0] if rows else raw):
            raise UnreadableAnswer("the vectors are not numbers in base64, or differ in length")
        rows.append(raw)
    return np.frombuffer(b"".join(rows), dtype="<f4").astype(np.float32, copy=False).reshape(len(rows), -1)
