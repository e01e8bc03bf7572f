"""Stand-in embeddings: feature hashing of words and character 3-grams.

Texts that share words or parts of words get similar vectors, so a nearest-neighbour search over them is meaningful.
Signed hashing, sublinear counts, common words weighted down, length 1.
Source: Weinberger et al., Feature Hashing for Large Scale Multitask Learning, ICML 2009.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from functools import cache
from typing import Final
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

Vectors = NDArray[np.float32]

DECIMALS: Final = 6
GRAM: Final = 3
GRAM_MASS: Final = 0.7
STOP_WEIGHT: Final = 0.2
KEPT_WORDS: Final = 60_000

_WORD: Final = re.compile(r"\w+")
_STOP_TEXT: Final = (
    "a an and are as at be but by for from had has have he her his i if in is it its me my not of on or our she so "
    "that the their them there they this to was we were what when which who will with you your"
)
_STOP: Final = frozenset(_STOP_TEXT.split())


class Hasher:
    """Maps words to signed places of a vector.

    Args:
        dimensions: Length of the vectors.
        space: Name of the vector space; vectors of different spaces are unrelated.
    """

    def __init__(self, dimensions: int, space: str) -> None:
        self.dimensions = dimensions
        self._seed = crc32(space.encode())
        self._words: dict[str, tuple[NDArray[np.int64], NDArray[np.float64]]] = {}

    def embed(self, texts: list[str]) -> Vectors:
        """Return unit vectors, shape ``(len(texts), dimensions)``."""
        places: list[NDArray[np.int64]] = []
        values: list[NDArray[np.float64]] = []
        rows: list[int] = []
        weights: list[float] = []
        for row, text in enumerate(texts):
            counts = Counter(_WORD.findall(text.lower())) or Counter({text: 1})
            for word, count in counts.items():
                known = self._words.get(word) or self._learn(word)
                places.append(known[0])
                values.append(known[1])
                rows.append(row)
                weights.append(1.0 if count == 1 else 1.0 + math.log(count))
        shape = (len(texts), self.dimensions)
        if not texts:
            return np.zeros(shape, dtype=np.float32)
        sizes = [len(part) for part in places]
        flat = np.concatenate(places) + np.repeat(np.asarray(rows) * self.dimensions, sizes)
        signed = np.concatenate(values) * np.repeat(np.asarray(weights), sizes)
        sums = np.bincount(flat, weights=signed, minlength=shape[0] * shape[1]).reshape(shape)
        norms = np.linalg.norm(sums, axis=1, keepdims=True)
        sums[norms[:, 0] == 0.0, 0] = 1.0  # features may cancel out; a vector must still have a direction
        norms[norms == 0.0] = 1.0
        vectors: Vectors = np.round(sums / norms, DECIMALS).astype(np.float32)
        return vectors

    def _learn(self, word: str) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        framed = f"<{word}>"
        features = [word, *(framed[at : at + GRAM] + "#" for at in range(max(1, len(framed) - GRAM + 1)))]
        hashes = [crc32(feature.encode("utf-8", "surrogatepass"), self._seed) for feature in features]
        weight = STOP_WEIGHT if word in _STOP else 1.0
        of_gram = weight * GRAM_MASS / math.sqrt(len(features) - 1)
        places = np.array([(code >> 1) % self.dimensions for code in hashes], dtype=np.int64)
        values = np.array([of_gram if code & 1 else -of_gram for code in hashes], dtype=np.float64)
        values[0] *= weight / of_gram
        if len(self._words) >= KEPT_WORDS:
            self._words.clear()
        self._words[word] = (places, values)
        return places, values


@cache
def hasher(dimensions: int, space: str) -> Hasher:
    """Return the one hasher of a vector space."""
    return Hasher(dimensions, space)
