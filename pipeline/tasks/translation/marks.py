"""The marks that travel in the place of what must not be translated: ``[X1X]``, ``[X2X]``.

Why this form: m2m100 cuts words with SentencePiece, learned on web text. Brackets, a capital letter and a digit can be
expected in its vocabulary, and copying them is what translations of footnotes and section numbers show it; a made-up
word is cut into syllables and then translated or inflected, and characters it does not know become one and the same
token. Weblate, a translation platform, sends the same form to translation services (`weblate/machinery/base.py`,
`format_replacement`; read 2026-11-23). It is ASCII, five bytes long, and no word. How often the model itself loses one
has not been measured.

What comes back is read with patience: case, blanks inside, wide brackets, letters that only look like an X, and digits
of other scripts do not matter. A mark without its brackets is none.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from typing import Final, NamedTuple

STAND_IN: Final = "\ufffc\u20dd"
"""Stands for a mark while a text is cut: OBJECT REPLACEMENT CHARACTER and a mark that nothing parts from it. It has six
bytes, as many as ``[X10X]``, so that a segment that fits with it fits with marks."""

_X: Final = "[XxＸｘХхΧχ]"  # noqa: RUF001 - letters of other scripts that look like it
_OPEN, _CLOSE = r"[\[［【〔「]", r"[\]］】〕」]"  # noqa: RUF001 - brackets of other scripts
_CORE: Final = rf"{_X}\s*(\d(?:\s*\d){{0,3}})\s*{_X}"
_MARK: Final = re.compile(rf"{_OPEN}\s*{_CORE}\s*{_CLOSE}")
_PART: Final = rf"(?<![^\W\d_]){_CORE}(?![^\W_])|{_OPEN}\s*{_X}\s*\d|\d\s*{_X}\s*{_CLOSE}"
_REST: Final = re.compile(_PART)
LOOKALIKE: Final = re.compile(rf"[\ufffc\u20dd]+|{_OPEN}\s*{_CORE}\s*{_CLOSE}|{_PART}")
"""What could be taken for a mark, or a part of one."""


class Found(NamedTuple):
    """A mark in a translation.

    Attributes:
        start: Position of its first character.
        end: Position after its last.
        number: Of the mark, from 1.
    """

    start: int
    end: int
    number: int


def mark(number: int) -> str:
    """Return the mark with a number."""
    return f"[X{number}X]"


def masked(text: str) -> str:
    """Put numbered marks in the places of stand-ins, and a single blank for any white space."""
    first, *parts = text.split(STAND_IN)
    whole = first + "".join(mark(number) + part for number, part in enumerate(parts, 1))
    return " ".join(whole.split())


def marks_in(text: str) -> list[Found]:
    """Find marks, in order."""
    return [Found(*match.span(), int("".join(match[1].split()))) for match in _MARK.finditer(text)]


def damage(sent: str, text: str, found: Sequence[Found], expected: Sequence[str]) -> list[str]:
    """Say what happened to the marks of a translation, by what they stand for.

    Args:
        sent: What was translated.
        text: The translation.
        found: Its marks.
        expected: What the marks from 1 on stand for.
    """
    counted = Counter(each.number for each in found)
    said = [f"{_short(name)} did not come back" for at, name in enumerate(expected, 1) if not counted[at]]
    said += [f"{_short(name)} came back {counted[at]} times" for at, name in enumerate(expected, 1) if counted[at] > 1]
    if any(not 1 <= number <= len(expected) for number in counted):
        said.append("a mark came back that was not sent")
    if not said and _n_parts(text, found) > _n_parts(sent, marks_in(sent)):
        said.append("a part of a mark came back")
    return said


def _n_parts(text: str, found: Sequence[Found]) -> int:
    """How many parts of marks there are beside whole ones."""
    between, at = [], 0
    for each in found:
        between.append(text[at : each.start])
        at = each.end
    return len(_REST.findall("\0".join([*between, text[at:]])))


def _short(name: str) -> str:
    one_line = " ".join(name.split())
    return one_line if len(one_line) <= 60 else f"{one_line[:59]}…"
