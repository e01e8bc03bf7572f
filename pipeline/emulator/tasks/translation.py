"""Translation: m2m100's ``{text, source_lang, target_lang}`` and indictrans2's ``{text, target_language}``.

Shapes: npm @cloudflare/workers-types 5.20261117.1. The translation is the text in capitals behind a mark. Codes
that the service refused on 2026-08-09 (a public client) are refused here.
"""

from __future__ import annotations

from typing import Final

from pipeline.emulator.config import EmulatorConfig
from pipeline.emulator.models import Model, check_input
from pipeline.emulator.refusals import bad_input
from pipeline.emulator.tasks.base import Json, Ran, input_digest
from pipeline.emulator.tasks.prose import MARK
from pipeline.emulator.tokens import count_tokens, embedding_tokens

_REFUSED: Final = frozenset(
    ("as", "brx", "doi", "eu", "kok", "ks", "ky", "mai", "mni", "mt", "ny", "rw", "sa", "sat", "te", "tg", "tk", "ug")
)


def run(model: Model, body: Json, config: EmulatorConfig) -> Ran:  # noqa: ARG001 - the form of every task
    """Answer ``POST /ai/run/{model}``."""
    check_input(model, body)
    for field in ("source_lang", "target_lang"):
        if body.get(field) in _REFUSED:
            raise bad_input(f"enum at '/{field}' not met: {body[field]!r} is not supported")
    given = body["text"]
    texts = [str(text) for text in given] if isinstance(given, list) else [str(given)]
    if not all(texts):
        raise bad_input("minLength at '/text' not met: the text is empty")
    translations = [_translated(text) for text in texts]
    is_indic = "target_language" in body
    output: Json = {"translations": translations} if is_indic else {"translated_text": translations[0]}
    input_tokens = sum(embedding_tokens(texts))
    output_tokens = sum(map(count_tokens, translations))
    return Ran(
        output=output,
        input_tokens=input_tokens,
        output_tokens=output_tokens,
        neurons=model.neurons(input_tokens, output_tokens),
        texts=0,
        digests=tuple(input_digest(model, text.encode("utf-8", "surrogatepass")) for text in texts),
    )


def _translated(text: str) -> str:
    """Capitals that are one character each, so that a translation has no more tokens than its source and the mark."""
    capitals = "".join(upper if len(upper := character.upper()) == 1 else character for character in text)
    return capitals if capitals.startswith(MARK.upper()) else MARK + capitals
