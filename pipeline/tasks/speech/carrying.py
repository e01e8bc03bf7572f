"""What a piece is told of what was said before it: the end of that text, as Whisper does between its own windows.

Whisper reads the last 223 tokens of a prompt and forgets what came before a window it was unsure of
(github.com/openai/whisper, `decoding.py` and `transcribe.py`, v20240930, 2026-11-22). Here a text that was doubted is
the end of what is carried, and so is a loop that has built up over several pieces: it would breed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from pipeline.tasks.base import encodable
from pipeline.tasks.speech.doubts import is_loop
from pipeline.tasks.speech.heard import Heard
from pipeline.tasks.speech.seams import until
from pipeline.tasks.speech.texts import glued

MOST_CHARACTERS: Final = 200
MOST_BYTES: Final = 400
"""Of UTF-8: a script of three bytes a sign takes about a token a sign, and a user's own prompt needs room as well."""


def text_before(answers: Sequence[Heard], at: float) -> str:
    """Return the end of what was said before a time, from a word on; "" where nothing is fit to be carried.

    Args:
        answers: That stand, in any order.
        at: Seconds on the timeline.
    """
    said: list[str] = []
    length = 0
    earlier = sorted((heard for heard in answers if heard["start"] < at), key=lambda heard: heard["start"])
    for heard in reversed(earlier):
        if heard["warnings"] or length > MOST_CHARACTERS:
            break
        said.insert(0, until(heard, at)["text"])
        length += len(said[0])
    end = _end(encodable(glued(said)).strip())
    return "" if is_loop(end) else end


def _end(text: str) -> str:
    kept = text[-MOST_CHARACTERS:].encode()[-MOST_BYTES:].decode("utf-8", "ignore")
    before = text[: len(text) - len(kept)]
    if before and not before[-1].isspace() and " " in kept:
        kept = kept.partition(" ")[2]
    return kept.strip()


def prompt_of(own: object, carried: str) -> str:
    """Return a user's own prompt with what was said before a piece behind it, where the model heeds it most."""
    return f"{own} {carried}" if own else carried
