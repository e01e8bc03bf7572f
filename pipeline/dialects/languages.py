"""Names of languages as OpenAI's Whisper writes them, and their codes as Workers AI does.

Source: github.com/openai/whisper, whisper/tokenizer.py (`LANGUAGES`), 2026-11-23.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

_CODES_AND_NAMES: Final = """
en english zh chinese de german es spanish ru russian ko korean fr french ja japanese pt portuguese tr turkish pl
polish ca catalan nl dutch ar arabic sv swedish it italian id indonesian hi hindi fi finnish vi vietnamese he hebrew
uk ukrainian el greek ms malay cs czech ro romanian da danish hu hungarian ta tamil no norwegian th thai ur urdu hr
croatian bg bulgarian lt lithuanian la latin mi maori ml malayalam cy welsh sk slovak te telugu fa persian lv latvian
bn bengali sr serbian az azerbaijani sl slovenian kn kannada et estonian mk macedonian br breton eu basque is
icelandic hy armenian ne nepali mn mongolian bs bosnian kk kazakh sq albanian sw swahili gl galician mr marathi pa
punjabi si sinhala km khmer sn shona yo yoruba so somali af afrikaans oc occitan ka georgian be belarusian tg tajik sd
sindhi gu gujarati am amharic yi yiddish lo lao uz uzbek fo faroese ps pashto tk turkmen nn nynorsk mt maltese sa
sanskrit lb luxembourgish my myanmar bo tibetan tl tagalog mg malagasy as assamese tt tatar haw hawaiian ln lingala ha
hausa ba bashkir jw javanese su sundanese yue cantonese
"""


def _by_name() -> Mapping[str, str]:
    words = _CODES_AND_NAMES.split()
    return MappingProxyType({**dict(zip(words[1::2], words[::2], strict=True)), "haitian creole": "ht"})


CODES: Final = _by_name()
"""By name, in lower case."""


def code_of(language: str) -> str:
    """The code of a language that is named, or what was given."""
    return CODES.get(language.strip().lower(), language)
