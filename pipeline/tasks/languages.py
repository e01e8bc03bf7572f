"""The languages that the translation models take, by code and by English name. Pure.

m2m100: the 100 codes of its tokenizer (huggingface.co/facebook/m2m100_1.2B, 2026-11-22). The codes in `NOT_TAKEN` were
refused by the service on 2026-08-09 (a public client); none of them is among the 100. indictrans2: the closed list of
its published input type (npm @cloudflare/workers-types 5.20261117.1).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import Final

M2M100: Final[Mapping[str, str]] = {
    "af": "Afrikaans",
    "am": "Amharic",
    "ar": "Arabic",
    "ast": "Asturian",
    "az": "Azerbaijani",
    "ba": "Bashkir",
    "be": "Belarusian",
    "bg": "Bulgarian",
    "bn": "Bengali",
    "br": "Breton",
    "bs": "Bosnian",
    "ca": "Catalan",
    "ceb": "Cebuano",
    "cs": "Czech",
    "cy": "Welsh",
    "da": "Danish",
    "de": "German",
    "el": "Greek",
    "en": "English",
    "es": "Spanish",
    "et": "Estonian",
    "fa": "Persian",
    "ff": "Fulah",
    "fi": "Finnish",
    "fr": "French",
    "fy": "Western Frisian",
    "ga": "Irish",
    "gd": "Scottish Gaelic",
    "gl": "Galician",
    "gu": "Gujarati",
    "ha": "Hausa",
    "he": "Hebrew",
    "hi": "Hindi",
    "hr": "Croatian",
    "ht": "Haitian Creole",
    "hu": "Hungarian",
    "hy": "Armenian",
    "id": "Indonesian",
    "ig": "Igbo",
    "ilo": "Iloko",
    "is": "Icelandic",
    "it": "Italian",
    "ja": "Japanese",
    "jv": "Javanese",
    "ka": "Georgian",
    "kk": "Kazakh",
    "km": "Khmer",
    "kn": "Kannada",
    "ko": "Korean",
    "lb": "Luxembourgish",
    "lg": "Ganda",
    "ln": "Lingala",
    "lo": "Lao",
    "lt": "Lithuanian",
    "lv": "Latvian",
    "mg": "Malagasy",
    "mk": "Macedonian",
    "ml": "Malayalam",
    "mn": "Mongolian",
    "mr": "Marathi",
    "ms": "Malay",
    "my": "Burmese",
    "ne": "Nepali",
    "nl": "Dutch",
    "no": "Norwegian",
    "ns": "Northern Sotho",
    "oc": "Occitan",
    "or": "Odia",
    "pa": "Punjabi",
    "pl": "Polish",
    "ps": "Pashto",
    "pt": "Portuguese",
    "ro": "Romanian",
    "ru": "Russian",
    "sd": "Sindhi",
    "si": "Sinhala",
    "sk": "Slovak",
    "sl": "Slovenian",
    "so": "Somali",
    "sq": "Albanian",
    "sr": "Serbian",
    "ss": "Swati",
    "su": "Sundanese",
    "sv": "Swedish",
    "sw": "Swahili",
    "ta": "Tamil",
    "th": "Thai",
    "tl": "Tagalog",
    "tn": "Tswana",
    "tr": "Turkish",
    "uk": "Ukrainian",
    "ur": "Urdu",
    "uz": "Uzbek",
    "vi": "Vietnamese",
    "wo": "Wolof",
    "xh": "Xhosa",
    "yi": "Yiddish",
    "yo": "Yoruba",
    "zh": "Chinese",
    "zu": "Zulu",
}
"""What m2m100 translates between."""

NOT_TAKEN: Final[Mapping[str, str]] = {
    "as": "Assamese",
    "brx": "Bodo",
    "doi": "Dogri",
    "eu": "Basque",
    "kok": "Konkani",
    "ks": "Kashmiri",
    "ky": "Kyrgyz",
    "mai": "Maithili",
    "mni": "Manipuri",
    "mt": "Maltese",
    "ny": "Chichewa",
    "rw": "Kinyarwanda",
    "sa": "Sanskrit",
    "sat": "Santali",
    "te": "Telugu",
    "tg": "Tajik",
    "tk": "Turkmen",
    "ug": "Uyghur",
}
"""What people ask m2m100 for and the service refuses."""

INDIC: Final[Mapping[str, str]] = {
    "asm_Beng": "Assamese",
    "awa_Deva": "Awadhi",
    "ben_Beng": "Bengali",
    "bho_Deva": "Bhojpuri",
    "brx_Deva": "Bodo",
    "doi_Deva": "Dogri",
    "eng_Latn": "English",
    "gom_Deva": "Konkani",
    "gon_Deva": "Gondi",
    "guj_Gujr": "Gujarati",
    "hin_Deva": "Hindi",
    "hne_Deva": "Chhattisgarhi",
    "kan_Knda": "Kannada",
    "kas_Arab": "Kashmiri",
    "kas_Deva": "Kashmiri",
    "kha_Latn": "Khasi",
    "lus_Latn": "Mizo",
    "mag_Deva": "Magahi",
    "mai_Deva": "Maithili",
    "mal_Mlym": "Malayalam",
    "mar_Deva": "Marathi",
    "mni_Beng": "Manipuri",
    "mni_Mtei": "Manipuri",
    "npi_Deva": "Nepali",
    "ory_Orya": "Odia",
    "pan_Guru": "Punjabi",
    "san_Deva": "Sanskrit",
    "sat_Olck": "Santali",
    "snd_Arab": "Sindhi",
    "snd_Deva": "Sindhi",
    "tam_Taml": "Tamil",
    "tel_Telu": "Telugu",
    "urd_Arab": "Urdu",
    "unr_Deva": "Mundari",
}
"""What indictrans2 translates English into: ISO 639-3 code and script."""

_INDIC_SHORT: Final[Mapping[str, str]] = {
    "as": "asm",
    "bn": "ben",
    "en": "eng",
    "gu": "guj",
    "hi": "hin",
    "kn": "kan",
    "kok": "gom",
    "ks": "kas",
    "ml": "mal",
    "mr": "mar",
    "ne": "npi",
    "or": "ory",
    "pa": "pan",
    "sa": "san",
    "sd": "snd",
    "ta": "tam",
    "te": "tel",
    "ur": "urd",
}

_ALIASES: Final[Mapping[str, str]] = {
    "nb": "no",
    "fil": "tl",
    "iw": "he",
    "in": "id",
    "ji": "yi",
    "jw": "jv",
    "mo": "ro",
    "nso": "ns",
    "cmn": "zh",
    "prs": "fa",
    "bokmål": "no",
    "norwegian bokmål": "no",
    "filipino": "tl",
    "farsi": "fa",
    "mandarin": "zh",
    "simplified chinese": "zh",
    "traditional chinese": "zh",
    "oriya": "or",
    "panjabi": "pa",
    "frisian": "fy",
    "gaelic": "gd",
    "luganda": "lg",
    "moldovan": "ro",
    "sepedi": "ns",
    "flemish": "nl",
    "castilian": "es",
    "myanmar": "my",
    "haitian": "ht",
    "ilocano": "ilo",
    "pushto": "ps",
    "meitei": "mni",
    "nyanja": "ny",
    "uighur": "ug",
    "kirghiz": "ky",
}
"""Other codes and names for what the models call otherwise."""

_INDIC_MODEL: Final = "@cf/ai4bharat/indictrans2-en-indic-1B"
_SHOWN: Final = 40


class UnknownLanguage(Exception):
    """The model does not take it; the message says what was meant instead, or what is near."""


def m2m100_code(given: str) -> str:
    """Return m2m100's code of a language.

    Args:
        given: A code, also with region or script (``pt-BR``, ``zh-Hant``, ``en_US``), or an English name.

    Raises:
        UnknownLanguage: It takes no such language.
    """
    tag = _tag(given)
    for name in (tag, tag.partition("-")[0]):
        code = _ALIASES.get(name, name)
        code = _M2M100_NAMES.get(code, code)
        if code in M2M100:
            return code
        code = _NOT_TAKEN_NAMES.get(code, code)
        if code in NOT_TAKEN:
            other = f"; {_INDIC_MODEL} translates English into it" if NOT_TAKEN[code] in INDIC.values() else ""
            raise UnknownLanguage(f'"{given}" ({NOT_TAKEN[code]}) is not a language of m2m100{other}')
    near = _near(tag, {**{code: code for code in M2M100}, **_M2M100_NAMES})
    meant = _meant([f"{code} ({M2M100[code]})" for code in near]) or "codes are those of ISO 639-1, e.g. de or pt"
    raise UnknownLanguage(f'"{given[:_SHOWN]}" is not a language of m2m100; {meant}')


def indic_code(given: str) -> str:
    """Return indictrans2's code of a language.

    Args:
        given: A code with or without script (``hin_Deva``, ``hin``, ``hi``, ``ks-Deva``), or an English name.

    Raises:
        UnknownLanguage: It takes no such language, or writes it in two scripts and none was named.
    """
    tag = _tag(given)
    base, _, script = tag.partition("-")
    base = _ALIASES.get(base, base)
    base = _INDIC_SHORT.get(base, base)
    found = [code for code in INDIC if base in (code.partition("_")[0], INDIC[code].casefold())]
    if len(found) > 1 and script:
        found = [code for code in found if code.partition("_")[2].casefold() == script]
    if len(found) == 1:
        return found[0]
    if found:
        raise UnknownLanguage(f'"{given}" ({INDIC[found[0]]}) is written in two scripts: say {" or ".join(found)}')
    names = {code.partition("_")[0]: code for code in INDIC} | {name.casefold(): code for code, name in INDIC.items()}
    meant = _meant([f"{code} ({INDIC[code]})" for code in _near(base, names)]) or f"it takes {', '.join(INDIC)}"
    raise UnknownLanguage(f'"{given[:_SHOWN]}" is not a language of indictrans2; {meant}')


def iso(code: str) -> str:
    """The ISO 639 code, of two letters where there is one, of a model's code (``hin_Deva`` is ``hi``)."""
    base = code.partition("_")[0]
    return _SHORT_OF.get(base, base)


def _tag(given: str) -> str:
    """Small letters, hyphens, no remark in brackets."""
    return given.partition("(")[0].strip().replace("_", "-").casefold()


def _near(tag: str, names: Mapping[str, str]) -> list[str]:
    """Codes of the up to three names that are written most alike."""
    return list(dict.fromkeys(names[name] for name in get_close_matches(tag, names, 3, 0.6)))


def _meant(near: Sequence[str]) -> str:
    return f"did you mean {' or '.join(near)}?" if near else ""


_M2M100_NAMES: Final = {name.casefold(): code for code, name in M2M100.items()}
_SHORT_OF: Final = {long: short for short, long in _INDIC_SHORT.items()}
_NOT_TAKEN_NAMES: Final = {name.casefold(): code for code, name in NOT_TAKEN.items()}
