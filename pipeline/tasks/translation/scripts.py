"""Scripts: which one a letter is of, which ones a language is written in, how much a character says. Pure.

Ranges: Unicode's Blocks.txt. How much a character says was measured on translations of programs' messages from English
(2026-11-23, gettext catalogues, 134 locales): with these weights a translation into one of 75 languages weighs 0.9 to
1.6 times its source (medians), most of them 1.0 to 1.25 times.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Mapping
from functools import lru_cache
from typing import Final

_LATIN: Final = frozenset({"Latn"})

_RANGES: Final = sorted(
    (first, last, script)
    for script, ranges in {
        "Latn": [(0x41, 0x24F), (0x1E00, 0x1EFF), (0xFF21, 0xFF5A)],
        "Grek": [(0x370, 0x3FF), (0x1F00, 0x1FFF)],
        "Cyrl": [(0x400, 0x52F)],
        "Armn": [(0x531, 0x58F)],
        "Hebr": [(0x590, 0x5FF), (0xFB1D, 0xFB4F)],
        "Arab": [(0x600, 0x6FF), (0x750, 0x77F), (0x8A0, 0x8FF), (0xFB50, 0xFDFF), (0xFE70, 0xFEFC)],
        "Deva": [(0x900, 0x97F)],
        "Beng": [(0x980, 0x9FF)],
        "Guru": [(0xA00, 0xA7F)],
        "Gujr": [(0xA80, 0xAFF)],
        "Orya": [(0xB00, 0xB7F)],
        "Taml": [(0xB80, 0xBFF)],
        "Telu": [(0xC00, 0xC7F)],
        "Knda": [(0xC80, 0xCFF)],
        "Mlym": [(0xD00, 0xD7F)],
        "Sinh": [(0xD80, 0xDFF)],
        "Thai": [(0xE00, 0xE7F)],
        "Laoo": [(0xE80, 0xEFF)],
        "Tibt": [(0xF00, 0xFFF)],
        "Mymr": [(0x1000, 0x109F)],
        "Geor": [(0x10A0, 0x10FF), (0x1C90, 0x1CBF)],
        "Hang": [(0x1100, 0x11FF), (0x3130, 0x318F), (0xAC00, 0xD7AF)],
        "Ethi": [(0x1200, 0x139F)],
        "Khmr": [(0x1780, 0x17FF)],
        "Mong": [(0x1800, 0x18AF)],
        "Olck": [(0x1C50, 0x1C7F)],
        "Kana": [(0x3040, 0x30FF), (0x31F0, 0x31FF), (0xFF66, 0xFF9F)],
        "Hani": [(0x3005, 0x3007), (0x3400, 0x4DBF), (0x4E00, 0x9FFF), (0xF900, 0xFAFF), (0x20000, 0x3FFFF)],
        "Mtei": [(0xABC0, 0xABFF)],
    }.items()
    for first, last in ranges
)
_STARTS: Final = [first for first, _, _ in _RANGES]

_WRITTEN_IN: Final[Mapping[str, frozenset[str]]] = {
    language: frozenset(scripts.split())
    for scripts, languages in {
        "Cyrl": "ba be bg ky mk mn ru tg uk",
        "Cyrl Latn": "bs sr tk tt",
        "Cyrl Latn Arab": "az kk uz",
        "Grek": "el",
        "Armn": "hy",
        "Hebr": "he yi",
        "Arab": "ar fa ps ug ur",
        "Arab Deva": "ks sd",
        "Arab Latn": "ha ms",
        "Deva": "awa bho brx doi gon hi hne kok mag mai mr ne sa unr",
        "Beng": "as bn",
        "Beng Mtei": "mni",
        "Guru Arab": "pa",
        "Gujr": "gu",
        "Orya": "or",
        "Taml": "ta",
        "Telu": "te",
        "Knda": "kn",
        "Mlym": "ml",
        "Sinh": "si",
        "Thai": "th",
        "Laoo": "lo",
        "Mymr": "my",
        "Geor": "ka",
        "Hang": "ko",
        "Ethi": "am",
        "Khmr": "km",
        "Olck": "sat",
        "Kana Hani": "ja",
        "Hani": "zh",
    }.items()
    for language in languages.split()
}

_SAYS_MORE: Final[Mapping[str, float]] = {"Hani": 1.6, "Kana": 0.5, "Hang": 1.0, "Arab": 0.3, "Hebr": 0.3}
"""What a character of a dense script weighs beyond one."""

_WORDINESS: Final[Mapping[str, float]] = {
    language: factor
    for factor, languages in {
        0.9: "pa zh",
        0.95: "as hi is mai",
        1.0: "en gu ko mn mr ne si",
        1.05: "ar az bn bs cs cy da et he ja lv ms no or sl sv te uz vi",
        1.15: "ast bg fi ga gl hu ka kn mk pl ru ta uk",
        1.2: "ca de es fa it nl ro tl",
        1.25: "el fr gd mg my oc",
        1.3: "ml ns",
        1.35: "km xh",
        1.45: "yi",
        1.6: "lg",
    }.items()
    for language in languages.split()
}
_USUAL: Final = 1.1

_FIRST_DENSE: Final = "\u0590"


@lru_cache(maxsize=4096)
def script_of(character: str) -> str:
    """Four letters of ISO 15924; "" for what is of no script known here."""
    number = ord(character)
    at = bisect_right(_STARTS, number) - 1
    return _RANGES[at][2] if at >= 0 and number <= _RANGES[at][1] else ""


def scripts_in(text: str) -> Counter[str]:
    """How many letters of each script there are."""
    return Counter(map(script_of, filter(str.isalpha, text)))


def scripts_for(language: str) -> frozenset[str]:
    """The scripts a language is written in: Latin where nothing else is known.

    Args:
        language: ISO 639 code.
    """
    return _WRITTEN_IN.get(language, _LATIN)


def wordiness(language: str) -> float:
    """How much a translation from English into a language weighs, as a multiple of its source.

    Args:
        language: ISO 639 code.
    """
    return _WORDINESS.get(language, _USUAL)


def weight(text: str) -> float:
    """How much a text says, in characters of an alphabet; white space says nothing."""
    n = len("".join(text.split()))
    if not n or max(text) < _FIRST_DENSE:
        return float(n)
    found = scripts_in(text)
    return n + sum(more * found[script] for script, more in _SAYS_MORE.items())
