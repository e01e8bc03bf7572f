"""Looks for translations that are none: in another language, not translated, far too long or short, cut off, looped.

Pure but for the detector, which is loaded when the first text is long enough for it and is done without where the
extra `language` is not installed: then scripts alone tell.

Measured on 77,000 messages of programs of 15 characters or more and their translations from English into 78 languages
(gettext catalogues, 2026-11-23; the bounds were chosen on another draw from these): 0.17 % are doubted, by their length
0.12 %, as loops 0.02 %, as untranslated 0.02 %, as cut 0.01 %, by their language 0.01 %; of 14,000 into English 0.22 %,
of 9,000 between other languages 0.23 %. Damaged on purpose, of texts of more than 60 characters: loops are found
always, texts that were not translated in 97 %, those in another language in 84 %, those cut in the middle in 97 %
where the source ends with a stop and in 69 % where it does not.
"""

from __future__ import annotations

import re
from typing import Final

from pipeline.tasks.languages import INDIC, M2M100, NOT_TAKEN, iso
from pipeline.tasks.repetition import MOST_COMPRESSION, compression, is_loop
from pipeline.tasks.translation.detection import detector_if_installed, prose
from pipeline.tasks.translation.kinship import UNKNOWN, are_alike
from pipeline.tasks.translation.scripts import scripts_for, scripts_in, weight, wordiness

_SIMULATED: Final = "[simulated] "
"""How an answer of the emulator begins, which says back what it is sent: rehearsals would be doubted throughout."""

_LEAST_FOREIGN: Final = 12.0
_LEAST_DETECTED: Final = 40.0
_SURE: Final = 0.9
_FEWEST_EQUAL_WORDS: Final = 4
_FEWEST_KIN_WORDS: Final = 10
_LEAST_EQUAL: Final = 16.0
_LEAST_COMPARED: Final = 15.0
_LEAST_CUT: Final = 30.0
_CUT: Final = 0.64
_SENTENCE_CUT: Final = 0.64
_MORE_COMPRESSED: Final = 1.6
_WIDE: Final = frozenset({"Hani", "Kana"})
_WITHOUT_STOPS: Final = frozenset({"th", "lo", "my", "km"})
_STOPS: Final = ".!?。！？．…।॥۔؟።။៕։"  # noqa: RUF001 - marks of many scripts
_CLOSERS: Final = " \t\n\"'”’»«›)]）」』*_`"  # noqa: RUF001 - marks of many scripts
_STOP: Final = re.compile(rf"[{re.escape(_STOPS)}]+(?=[\"'”’»)\]）」』]*(?:\s|$))|[。！？]+")  # noqa: RUF001 - as above
_WORD: Final = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)*")  # noqa: RUF001 - the apostrophe that people type
_NAMES: Final = {**{iso(code): name for code, name in INDIC.items()}, **NOT_TAKEN, **M2M100}


def doubts(source: str, translation: str, *, source_lang: str, target_lang: str) -> tuple[str, ...]:
    """Say what is doubtful in a translation, in words for a person; nothing where nothing is.

    Args:
        source: What was sent.
        translation: What came.
        source_lang: Code of its language, as a model of `pipeline.tasks.languages` has it.
        target_lang: The same of the language it should be in.
    """
    from_lang, into = iso(source_lang), iso(target_lang)
    usual = wordiness(into) / wordiness(from_lang)
    if translation.startswith(_SIMULATED):
        translation = translation.removeprefix(_SIMULATED)
        language = _foreign(source, translation, from_lang, into, others=(from_lang,))
    else:
        language = _untranslated(source, translation, from_lang, into)
        language = language or _foreign(source, translation, from_lang, into)
    length = (
        _looped(source, translation) or _cut(source, translation, into, usual) or _misfit(source, translation, usual)
    )
    return tuple(filter(None, (language, length)))


def _untranslated(source: str, translation: str, from_lang: str, into: str) -> str:
    """The input itself, as far as it is prose: names, numbers and code stay what they are in any language."""
    given, got = prose(source), prose(translation)
    if given.casefold().rstrip(_STOPS) != got.casefold().rstrip(_STOPS) or weight(given) < _LEAST_EQUAL:
        return ""
    n_needed = _FEWEST_KIN_WORDS if are_alike(from_lang, into) else _FEWEST_EQUAL_WORDS
    words = [word for word in _WORD.findall(given) if not word[0].isupper() and len(word) > 1]
    is_wide = not _WIDE.isdisjoint(scripts_in(given))
    return "it is the text itself, not a translation" if len(words) >= n_needed or is_wide else ""


def _foreign(source: str, translation: str, from_lang: str, into: str, others: tuple[str, ...] = ()) -> str:
    """In another script, or by the detector surely in another language than it should be in, or one of some others."""
    said = prose(translation)
    if _is_in_another_script(source, said, into):
        return f"it is not written in the script of {_named(into)}"
    if weight(said) < _LEAST_DETECTED or (detect := detector_if_installed()) is None:
        return ""
    found = detect(translation)
    if found is None or found.confidence < _SURE or any(are_alike(found.code, each) for each in (into, *others)):
        return ""
    if into in UNKNOWN and not are_alike(found.code, from_lang):
        return ""
    return f"it seems to be {_named(found.code)}, not {_named(into)}"


def _is_in_another_script(source: str, said: str, into: str) -> bool:
    """Looks at words only that are not taken from the source, as names are."""
    kept = {word.casefold() for word in _WORD.findall(source)}
    new = " ".join(word for word in _WORD.findall(said) if word.casefold() not in kept)
    if weight(new) < _LEAST_FOREIGN:
        return False
    own, found = scripts_for(into), scripts_in(new)
    n_own = sum(found[script] for script in own)
    if into == "ja" and not found["Kana"] and n_own >= _LEAST_FOREIGN:
        return True
    return not n_own or ("Latn" in own and n_own < sum(found.values()) / 2)


def _named(code: str) -> str:
    return _NAMES.get(code, f'"{code}"')


def _looped(source: str, translation: str) -> str:
    """Repetitions that the source has not."""
    if is_loop(translation) and not is_loop(source):
        return "it repeats itself"
    ratio = compression(_in_single_bytes(translation))
    if ratio > MOST_COMPRESSION and ratio > _MORE_COMPRESSED * compression(_in_single_bytes(source)):
        return "it repeats itself"
    return ""


def _in_single_bytes(text: str) -> str:
    """One byte a character, for the bytes of UTF-8 that name the script would count as repetitions."""
    return text if text.isascii() else "".join(chr(ord(character) & 0x7F) for character in text)


def _misfit(source: str, translation: str, usual: float) -> str:
    """Far longer or shorter than is usual between the two; the more there is, the closer the bounds."""
    expected = weight(source) * usual
    if expected < _LEAST_COMPARED:
        return ""
    ratio = weight(translation) / expected
    if ratio > 1.55 + 35.0 / expected:
        return f"it is {ratio:.1f} times as long as is usual"
    if ratio < max(0.2, 0.55 - 5.0 / expected):
        return f"it is only {ratio:.0%} as long as is usual"
    return ""


def _cut(source: str, translation: str, into: str, usual: float) -> str:
    """Ends in the middle of a sentence, or has far fewer sentences; and is shorter than translations are."""
    expected = weight(source) * usual
    if expected < _LEAST_CUT or into in _WITHOUT_STOPS or not source.rstrip(_CLOSERS).endswith(tuple(_STOPS)):
        return ""
    ratio = weight(translation) / expected
    end = translation.rstrip(_CLOSERS)
    if ratio < _CUT and end and (end[-1].isalnum() or end[-1] in ",;:，、，"):  # noqa: RUF001 - marks of many scripts
        return "it ends in the middle of a sentence"
    n_given, n_got = len(_STOP.findall(source)), len(_STOP.findall(translation))
    if n_given >= 2 and n_got <= n_given // 2 and ratio < _SENTENCE_CUT:
        return f"it has {n_got} of {n_given} sentences"
    return ""
