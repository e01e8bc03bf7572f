"""Translation: m2m100's ``{text, source_lang, target_lang}`` and indictrans2's ``{text, target_language}``.

Shapes: npm @cloudflare/workers-types 5.20261117.1. The translation is the text in capitals behind a mark. Codes
that the service refused on 2026-08-09 (a public client) are refused here. Told to, it cuts, mangles and goes astray.
"""

from __future__ import annotations

import re
from hashlib import blake2b
from itertools import cycle, islice
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

FOREIGN: Final = "tämä vastaus on kirjoitettu väärällä kielellä eikä sillä ole mitään tekemistä kysymyksen kanssa"
"""Finnish: what a model says that answers in the wrong language."""

_PLACEHOLDER: Final = re.compile(r"\[[^\[\]\s]{1,9}\]|\{[^{}\s]{1,30}\}|<[^<>\s]{1,30}>")


def run(model: Model, body: Json, config: EmulatorConfig) -> Ran:
    """Answer ``POST /ai/run/{model}``."""
    check_input(model, body)
    for field in ("source_lang", "target_lang"):
        if body.get(field) in _REFUSED:
            raise bad_input(f"enum at '/{field}' not met: {body[field]!r} is not supported")
    given = body["text"]
    texts = [str(text) for text in given] if isinstance(given, list) else [str(given)]
    if not all(texts):
        raise bad_input("minLength at '/text' not met: the text is empty")
    translations = [_translated(text, config) for text in texts]
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


def _translated(text: str, config: EmulatorConfig) -> str:
    """Capitals that are one character each, so that a translation has no more tokens than its source and the mark."""
    if config.wrong_language_one_in and _drawn("language", text) % config.wrong_language_one_in == 0:
        return MARK + " ".join(islice(cycle(FOREIGN.split()), len(text.split())))
    capitals = "".join(upper if len(upper := character.upper()) == 1 else character for character in text)
    if config.mangle_one_in:
        n_to_one = config.mangle_one_in
        capitals = _PLACEHOLDER.sub(lambda match: _mangled(match, n_to_one), capitals)
    if config.translation_words:
        capitals = " ".join(capitals.split()[: config.translation_words])
    return capitals if capitals.startswith(MARK.upper()) else MARK + capitals


def _mangled(match: re.Match[str], n_to_one: int) -> str:
    """What becomes of a mark or placeholder: some of it as neural translators do, some of it worse."""
    drawn = _drawn("mark", match.string, match.start())
    if drawn % n_to_one:
        return match[0]
    whole = match[0]
    ways = (
        "",
        f"{whole} {whole}",
        whole[1:-1],
        whole[:-1],
        re.sub(r"\d", "9", whole),
        f"{whole[0]} {whole[1:-1]} {whole[-1]}",
        f"\uff3b{whole[1:-1]}\uff3d",
    )
    return ways[drawn // n_to_one % len(ways)]


def _drawn(*told: object) -> int:
    """A number that is the same for the same text, and as good as any."""
    return int.from_bytes(blake2b(repr(told).encode(), digest_size=8).digest())
