"""Puts texts and words one behind the other, with a space where the script has spaces.

Which scripts have none: github.com/openai/whisper, `tokenizer.py` (v20240930, 2026-11-22), whose words of Chinese,
Japanese, Thai, Lao and Burmese are signs.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from pipeline.tasks.speech.heard import Word


def text_of(words: Sequence[Word]) -> str:
    """The text of words; models that begin a word with its space need none between them."""
    is_spaced = any(word["word"].startswith(" ") for word in words)
    texts = (word["word"] for word in words)
    return ("".join(texts) if is_spaced else glued(texts)).strip()


def glued(texts: Iterable[str]) -> str:
    """Join texts by a space; without one between two signs of a script that has none."""
    out: list[str] = []
    for text in filter(None, texts):
        if out and not (_is_unspaced(out[-1][-1]) and _is_unspaced(text[0])):
            out.append(" ")
        out.append(text)
    return "".join(out)


def _is_unspaced(sign: str) -> bool:
    return (
        "\u0e00" <= sign <= "\u0eff"
        or "\u1000" <= sign <= "\u109f"
        or "\u3000" <= sign <= "\u9fff"
        or "\uff00" <= sign <= "\uffef"
    )
