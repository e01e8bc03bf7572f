"""Reranking: ``{query, contexts: [{text}], top_k?}`` to ``{response: [{id, score}]}``.

The published input type (npm @cloudflare/workers-types 5.20261117.1) leaves out `query`, which the service requires.
Scores are raw and unbounded, as the model card says; here the share of the query's words that a context has, the best
first. A query is counted once for every context.
"""

from __future__ import annotations

import math
import re
from typing import Final

from pipeline.emulator.config import EmulatorConfig
from pipeline.emulator.models import Model, check_input
from pipeline.emulator.refusals import bad_input
from pipeline.emulator.tasks.base import Json, Ran, input_digest
from pipeline.emulator.tokens import count_tokens

PAIR_TOKENS: Final = 4
_WORD: Final = re.compile(r"\w+")


def run(model: Model, body: Json, config: EmulatorConfig) -> Ran:  # noqa: ARG001 - the form of every task
    """Answer ``POST /ai/run/{model}``."""
    query = body.get("query")
    if not isinstance(query, str) or not query:
        raise bad_input("required properties at '/' are 'query,contexts'")
    check_input(model, {key: value for key, value in body.items() if key != "query"})
    contexts = body["contexts"]
    assert isinstance(contexts, list)
    texts = [context.get("text") for context in contexts]
    if not texts or not all(texts):
        raise bad_input("minItems at '/contexts' not met: a text is missing")
    ranked = sorted(((_score(query, text), at) for at, text in enumerate(texts)), key=lambda pair: (-pair[0], pair[1]))
    top_k = body.get("top_k")
    most = int(top_k) if isinstance(top_k, int | float) else len(ranked)
    tokens = sum(count_tokens(query) + count_tokens(text) + PAIR_TOKENS for text in texts)
    return Ran(
        output={"response": [{"id": at, "score": score} for score, at in ranked[:most]]},
        input_tokens=tokens,
        output_tokens=0,
        neurons=model.neurons(tokens),
        texts=0,
        digests=(input_digest(model, "\0".join((query, *texts)).encode("utf-8", "surrogatepass")),),
    )


def _score(query: str, text: str) -> float:
    """From about -7, nothing shared, to about 7, all words of the query in the text."""
    asked, said = set(_WORD.findall(query.lower())), set(_WORD.findall(text.lower()))
    share = len(asked & said) / max(1, len(asked))
    return round(14.0 * share - 7.0 + 0.1 / math.sqrt(1 + len(said)), 6)
