"""Text embeddings: ``{text}``, bge-m3's ``{query, contexts}``, qwen3's ``documents``/``queries``, and OpenAI's form.

Shapes: npm @cloudflare/workers-types 5.20261117.1. Limits: model pages and the docs change of autumn 2026 (100 texts,
512 tokens for bge); qwen3's context counts for the whole request, as a public client measured.
"""

from __future__ import annotations

import base64
from typing import Final

import numpy as np

from pipeline.emulator.config import EmulatorConfig
from pipeline.emulator.models import Model, check_input
from pipeline.emulator.refusals import bad_input
from pipeline.emulator.tasks.base import Json, Ran, input_digest
from pipeline.emulator.tasks.vectors import Vectors, hasher
from pipeline.emulator.tokens import SPECIAL_PER_TEXT, cut_tokens, embedding_tokens

UNKNOWN_DIMENSIONS: Final = {"@cf/pfnet/plamo-embedding-1b": 2048}
DEFAULT_DIMENSIONS: Final = 1024
TEXT_FIELDS: Final = ("text", "documents", "queries")


def run(model: Model, body: Json, config: EmulatorConfig) -> Ran:  # noqa: ARG001 - the form of every task
    """Answer ``POST /ai/run/{model}``."""
    check_input(model, body)
    if "contexts" in body:
        return _scores(model, body)
    texts = _texts(body)
    truncate = body.get("truncate_inputs") is True
    counts = _measure(model, texts, truncate=truncate)
    pooling = body.get("pooling")
    vectors = _embed(model, _read(texts, counts) if truncate else texts, str(pooling or "mean"))
    result: Json = {"shape": list(vectors.shape), "data": vectors}
    if "pooling" in body:
        result["pooling"] = pooling
    return _ran(model, result, texts, sum(counts))


def run_openai(model: Model, body: Json, config: EmulatorConfig) -> Ran:  # noqa: ARG001 - the form of every task
    """Answer ``POST /ai/v1/embeddings``; ``encoding_format: base64`` is little-endian float32."""
    texts = _as_texts("input", body.get("input"))
    encoding = body.get("encoding_format", "float")
    if encoding not in {"float", "base64"}:
        raise bad_input(f"enum at '/encoding_format' not met: {encoding!r} is not one of 'float', 'base64'")
    counts = _measure(model, texts, truncate=False)
    vectors = _embed(model, texts, "mean")
    data = [
        {"object": "embedding", "index": at, "embedding": _base64(vector) if encoding == "base64" else vector}
        for at, vector in enumerate(vectors)
    ]
    tokens = sum(counts)
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    return _ran(model, {"object": "list", "data": data, "model": model.name, "usage": usage}, texts, tokens)


def _base64(vector: Vectors) -> str:
    return base64.b64encode(vector.astype("<f4").tobytes()).decode()


def _embed(model: Model, texts: list[str], pooling: str) -> Vectors:
    dimensions = model.dimensions or UNKNOWN_DIMENSIONS.get(model.name, DEFAULT_DIMENSIONS)
    return hasher(dimensions, f"{model.name}#{pooling}").embed(texts)


def _as_texts(field: str, value: object) -> list[str]:
    texts = [value] if isinstance(value, str) else value
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise bad_input(f"oneOf at '/{field}' not met, 0 matches: a string or a list of strings is wanted")
    if not texts:
        raise bad_input(f"minItems at '/{field}' not met: the list is empty")
    return texts


def _texts(body: Json) -> list[str]:
    for field in TEXT_FIELDS:
        if field in body:
            return _as_texts(field, body[field])
    raise bad_input("required properties at '/' are 'text', 'documents' or 'queries'")


def _read(texts: list[str], counts: list[int]) -> list[str]:
    """The texts as far as the model reads them: what is cut off has no say in a vector."""
    return [cut_tokens(text, count - SPECIAL_PER_TEXT) for text, count in zip(texts, counts, strict=True)]


def _measure(model: Model, texts: list[str], *, truncate: bool) -> list[int]:
    """Count the tokens the model reads of each text; refuse more than it takes, or cut it where that is asked for."""
    if model.max_batch is not None and len(texts) > model.max_batch:
        raise bad_input(f"maxItems at '/text' not met: {len(texts)} texts, at most {model.max_batch}")
    counts = embedding_tokens(texts)
    most = model.max_input_tokens
    if most is not None:
        if truncate:
            counts = [min(count, most) for count in counts]
        longest = max(counts)
        if longest > most:
            raise bad_input(f"text {counts.index(longest)} has {longest} tokens, at most {most}")
    window = model.context_window
    if window is not None and sum(counts) > window:
        if not truncate:
            raise bad_input(f"the request has {sum(counts)} tokens, at most {window}")
        share = window // len(counts)
        counts = [min(count, share) for count in counts]
    return counts


def _scores(model: Model, body: Json) -> Ran:
    """bge-m3's second form: how near each context is to the query, or the contexts' vectors without one."""
    contexts = body["contexts"]
    assert isinstance(contexts, list)
    texts = [str(context.get("text", "")) for context in contexts]
    if not texts:
        raise bad_input("minItems at '/contexts' not met: the list is empty")
    query = body.get("query")
    asked = [str(query), *texts] if query is not None else texts
    truncate = body.get("truncate_inputs") is True
    counts = _measure(model, asked, truncate=truncate)
    vectors = _embed(model, _read(asked, counts) if truncate else asked, "mean")
    if query is None:
        result: Json = {"response": vectors, "shape": list(vectors.shape), "pooling": "cls"}
    else:
        nearness = np.round((vectors[1:].astype(np.float64) @ vectors[0] + 1.0) / 2.0, 6)
        result = {"response": [{"id": at, "score": float(score)} for at, score in enumerate(nearness)]}
    return _ran(model, result, asked, sum(counts))


def _ran(model: Model, output: Json, texts: list[str], tokens: int) -> Ran:
    return Ran(
        output=output,
        input_tokens=tokens,
        output_tokens=0,
        neurons=model.neurons(tokens),
        texts=len(texts),
        digests=tuple(input_digest(model, text.encode("utf-8", "surrogatepass")) for text in texts),
    )
