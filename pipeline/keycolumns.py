"""Columns of 128-bit keys, one per record of the input, worked on a slice at a time: what that takes stays small.

Pure. A column is an array, or lies on disk and is read slice by slice (`pipeline.storage.kept`).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from pipeline.records import DIGEST_BYTES

KEY: Final = np.dtype(f"S{DIGEST_BYTES}")
_SLICE: Final = 1 << 18
# Fewer at a time, and the searches of one slice lie so far apart that each waits for memory (0.24 µs for 0.14).

Keys = npt.NDArray[np.bytes_]
_T_co = TypeVar("_T_co", covariant=True)


class ColumnOf(Protocol[_T_co]):
    """A column that is taken a slice at a time."""

    def __len__(self) -> int:
        """Records."""
        ...

    def __getitem__(self, part: slice, /) -> _T_co:
        """Some of them, one after the other, as an array."""
        ...


def slices(n: int) -> Iterator[slice]:
    """Go through `n` records some at a time."""
    for start in range(0, n, _SLICE):
        yield slice(start, start + _SLICE)


def first_words(keys: Keys) -> npt.NDArray[np.uint64]:
    """The first half of each key, a view."""
    return keys.view("<u8")[::2]


def perhaps_repeated(keys: ColumnOf[Keys], among: npt.NDArray[np.bool_] | None = None) -> npt.NDArray[np.bool_]:
    """Mark the keys of which another one shares the first word: all that stand twice, and hardly more.

    Sorts words instead of keys, in the one copy there is of them: ten times as fast, in a fifth of the memory.

    Args:
        keys: A column.
        among: Marks those that are looked at; all by default.
    """
    words = np.empty(len(keys) if among is None else np.count_nonzero(among), dtype=np.uint64)
    at = 0
    for part in slices(len(keys)):
        some = first_words(keys[part])
        if among is not None:
            some = some[among[part]]
        words[at : at + len(some)] = some
        at += len(some)
    words.sort()
    shared = words[1:][words[1:] == words[:-1]]
    del words
    marks = np.zeros(len(keys), dtype=np.bool_)
    if len(shared):
        for part in slices(len(keys)):
            some = first_words(keys[part])
            place = np.minimum(np.searchsorted(shared, some), len(shared) - 1)
            marks[part] = shared[place] == some
        if among is not None:
            marks &= among
    return marks


def chosen_keys(keys: ColumnOf[Keys], marks: npt.NDArray[np.bool_]) -> Keys:
    """The marked keys, in order."""
    found = [keys[part][marks[part]] for part in slices(len(keys)) if marks[part].any()]
    return np.concatenate(found) if found else np.empty(0, dtype=KEY)
