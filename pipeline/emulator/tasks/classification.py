"""Text classification: ``{text}`` to ``[{label, score}, ..]``, as distilbert-sst-2 answers.

Shapes: npm @cloudflare/workers-types 5.20261117.1. Words of praise and blame tilt the score, the digest of the text
does the rest.
"""

from __future__ import annotations

import math
import re
from typing import Final

from pipeline.emulator.config import EmulatorConfig
from pipeline.emulator.models import Model, check_input
from pipeline.emulator.refusals import bad_input
from pipeline.emulator.tasks.base import Json, Ran, input_digest
from pipeline.emulator.tokens import embedding_tokens

_PRAISE: Final = frozenset(
    ["good", "great", "love", "fine", "best", "beautiful", "simple", "explicit", "useful", "easy"]
)
_BLAME: Final = frozenset(["bad", "hate", "worst", "ugly", "hard", "wrong", "error", "fails", "never", "complicated"])
_WORD: Final = re.compile(r"\w+")


def run(model: Model, body: Json, config: EmulatorConfig) -> Ran:  # noqa: ARG001 - the form of every task
    """Answer ``POST /ai/run/{model}``."""
    check_input(model, body)
    text = str(body["text"])
    if not text:
        raise bad_input("minLength at '/text' not met: the text is empty")
    digest = input_digest(model, text.encode("utf-8", "surrogatepass"))
    words = _WORD.findall(text.lower())
    tilt = 2.0 * (sum(word in _PRAISE for word in words) - sum(word in _BLAME for word in words))
    positive = round(1.0 / (1.0 + math.exp(-max(-20.0, min(20.0, tilt + digest[0] / 255.0 - 0.5)))), 6)
    tokens = sum(embedding_tokens([text]))
    return Ran(
        output=[{"label": "NEGATIVE", "score": round(1.0 - positive, 6)}, {"label": "POSITIVE", "score": positive}],
        input_tokens=tokens,
        output_tokens=0,
        neurons=model.neurons(tokens),
        texts=0,
        digests=(digest,),
    )
