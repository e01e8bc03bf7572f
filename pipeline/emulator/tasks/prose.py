"""Words that answer a prompt: deterministic, made of the prompt's own words, and marked as simulated."""

from __future__ import annotations

import random
import re
from hashlib import blake2b
from typing import Final

from pipeline.emulator.tokens import count_tokens, cut_tokens

MARK: Final = "[simulated] "
MARK_TOKENS: Final = count_tokens(MARK)
KEPT_PROMPT: Final = 4_000

_WORD: Final = re.compile(r"\w{3,14}")
_FILLER_TEXT: Final = (
    "this answer comes from the local emulator and says nothing true about the question it only has the shape and "
    "length of one so that everything around it can be tried"
)
_FILLER: Final = tuple(_FILLER_TEXT.split())


class Prose:
    """Writes for one request.

    Args:
        model: Name of the model.
        prompt: Everything that was asked.
        salt: What else changes the answer, e.g. a seed.
    """

    def __init__(self, model: str, prompt: str, salt: str = "") -> None:
        key = f"{model}\0{salt}\0{prompt}".encode("utf-8", "surrogatepass")
        self.chance = random.Random(blake2b(key, digest_size=16).digest())  # noqa: S311 - reproducible on purpose
        self._lexicon = [*dict.fromkeys(_WORD.findall(prompt[-KEPT_PROMPT:].lower())), *_FILLER]

    def words(self, n: int) -> str:
        """Return `n` words."""
        return " ".join(self.chance.choices(self._lexicon, k=n))

    def text(self, tokens: int) -> str:
        """Return marked text of about `tokens` tokens, never more unless the mark alone is longer."""
        filled = MARK + self.words(max(1, tokens - MARK_TOKENS))
        return cut_tokens(filled, max(tokens, MARK_TOKENS))
