"""Finds loops: what a model writes that has lost its way, over and over. Pure.

The bound on compression is that of Whisper's own decoder (github.com/openai/whisper, `transcribe.py`, 2026-11-22).
"""

from __future__ import annotations

import re
import zlib
from typing import Final

MOST_COMPRESSION: Final = 2.4
"""A text that gets shorter than this many times repeats itself."""

_TELLING_BYTES: Final = 200
_LONGEST_PHRASE: Final = 12
_FEWEST_REPEATS: Final = 4
_FEWEST_REPEATED_WORDS: Final = 8
_UNSPACED_LOOP: Final = re.compile(r"(\S{2,20}?)\1{5,}")


def compression(text: str) -> float:
    """How many times shorter a text gets; 0 for one that is too short to tell."""
    raw = text.encode("utf-8", "surrogatepass")
    return len(raw) / len(zlib.compress(raw)) if len(raw) >= _TELLING_BYTES else 0.0


def is_loop(text: str) -> bool:
    """Whether a phrase of up to twelve words comes four times or more in a row, over at least eight words."""
    words = [word.strip(".,;:!?…\"'()").casefold() for word in text.split()]
    for length in range(1, min(_LONGEST_PHRASE, len(words) // _FEWEST_REPEATS) + 1):
        needed = max(length * _FEWEST_REPEATS, _FEWEST_REPEATED_WORDS) - length
        run = 0
        for at in range(length, len(words)):
            run = run + 1 if words[at] == words[at - length] else 0
            if run >= needed:
                return True
    return bool(_UNSPACED_LOOP.search(text))
