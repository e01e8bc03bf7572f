"""What may be shown on a terminal: ids, file names and words of servers come from others."""

from __future__ import annotations

import unicodedata
from typing import Final

_UNSHOWN: Final = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})


def shown(text: str) -> str:
    r"""Return `text` with everything that steers a terminal written as an escape; only `\n` stays as it is."""
    if text.isascii() and text.replace("\n", "").isprintable():
        return text
    return "".join(_escaped(sign) for sign in text)


def _escaped(sign: str) -> str:
    if sign == "\n" or unicodedata.category(sign) not in _UNSHOWN:
        return sign
    return sign.encode("unicode_escape").decode()
