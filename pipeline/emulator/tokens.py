"""A deterministic stand-in for the models' tokenizers.

Words cost one token per six letters, numbers one per three digits, everything else one per character; white space is
free. The count never exceeds the bytes of the text, which is the bound a byte-level tokenizer keeps.
"""

from __future__ import annotations

import re
from typing import Final

LETTERS_PER_TOKEN: Final = 6
DIGITS_PER_TOKEN: Final = 3
SPECIAL_PER_TEXT: Final = 2
SPECIAL_PER_MESSAGE: Final = 4
SPECIAL_PER_CHAT: Final = 8

_WORD: Final = r"[A-Za-zÀ-ÖØ-öø-ɏ]"
_PIECE: Final = re.compile(rf"{_WORD}{{1,{LETTERS_PER_TOKEN}}}|[0-9]{{1,{DIGITS_PER_TOKEN}}}|\S")


def count_tokens(text: str) -> int:
    """Count the tokens of `text`; at most its number of UTF-8 bytes."""
    return len(_PIECE.findall(text))


def cut_tokens(text: str, most: int) -> str:
    """Return the longest prefix of `text` that has at most `most` tokens."""
    for n, piece in enumerate(_PIECE.finditer(text)):
        if n == most:
            return text[: piece.start()].rstrip()
    return text


def embedding_tokens(texts: list[str]) -> list[int]:
    """Count each text as an embedding model sees it."""
    return [count_tokens(text) + SPECIAL_PER_TEXT for text in texts]


def chat_tokens(messages: list[str]) -> int:
    """Count a conversation: its messages and the marks around them."""
    return SPECIAL_PER_CHAT + sum(count_tokens(text) + SPECIAL_PER_MESSAGE for text in messages)
