"""Which records are settled: keys of every stored row, on disk as sidecars and in memory as sorted arrays.

A sidecar holds, for each row of its part and in its order, 16 bytes of id key and 16 of payload key behind a header
with magic, count and crc. In memory a 128-bit key is two 64-bit words: a mix of both to sort and search by, and the low
word to confirm with. 32 bytes per row, and as many again for payloads once they are asked for.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import OutputDamaged
from pipeline.keycolumns import ColumnOf, Keys, slices
from pipeline.records import DIGEST_BYTES

KEY_BYTES: Final = 2 * DIGEST_BYTES
NEW: Final = 0
DONE: Final = 1
FAILED: Final = 2
CHANGED: Final = 3

_HEADER: Final = struct.Struct("<8sIQI")
_MAGIC: Final = b"WAIINDEX"
_VERSION: Final = 1
# Odd, so that mixing loses nothing; large, so that keys that count upwards spread too.
_MIX: Final = np.uint64(0x9E3779B97F4A7C15)

Words: TypeAlias = NDArray[np.uint64]


def key_array(keys: Iterable[bytes]) -> Keys:
    """Turn 16-byte keys into the array form (dtype S16) that lookups take."""
    return np.frombuffer(b"".join(keys), dtype="S16")


def encode_sidecar(keys: bytes | bytearray) -> bytes:
    """A sidecar for interleaved id and payload keys, 32 bytes per row."""
    return _HEADER.pack(_MAGIC, _VERSION, len(keys) // KEY_BYTES, zlib.crc32(keys)) + bytes(keys)


def read_sidecar(path: Path, rows: int) -> Words:
    """Read a sidecar as an array of shape (rows, 4): two words of id key, two of payload key.

    Raises:
        OutputDamaged: Missing, cut, of another part or with a flipped bit.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise OutputDamaged(
            f"{path}: cannot be read: {error.strerror}; restore it or start over with --force-new"
        ) from error
    if len(data) < _HEADER.size or data[:8] != _MAGIC:
        raise OutputDamaged(f"{path}: not a key index; restore it or start over with --force-new")
    _, version, count, crc = _HEADER.unpack_from(data)
    if version > _VERSION:
        raise OutputDamaged(f"{path}: written by a newer version of this program; use that version")
    body = memoryview(data)[_HEADER.size :]
    if count != rows or len(body) != count * KEY_BYTES or zlib.crc32(body) != crc:
        raise OutputDamaged(f"{path}: damaged (expected {rows} rows); restore it or start over with --force-new")
    return np.frombuffer(body, dtype="<u8").reshape(-1, 4)


def words_of(keys: bytes | bytearray) -> Words:
    """Interleaved keys as an array of shape (rows, 4)."""
    return np.frombuffer(bytes(keys), dtype="<u8").reshape(-1, 4)


def first_rows(words: Words) -> NDArray[np.intp]:
    """Where each record begins in a key table whose rows of one record follow each other."""
    begins = np.ones(len(words), dtype=np.bool_)
    np.any(words[1:, :2] != words[:-1, :2], axis=1, out=begins[1:])
    return np.flatnonzero(begins)


class KeySet:
    """Sorted 128-bit keys.

    Args:
        high: First words of the keys.
        low: Second words.
    """

    __slots__ = ("_hashes", "_lows", "order")

    def __init__(self, high: Words, low: Words) -> None:
        hashes = low * _MIX
        hashes += high
        del high
        # Positions of the sorted keys in the order given; the caller drops it when it has used it.
        self.order: NDArray[np.intp] | None = np.argsort(hashes)
        self._hashes = hashes[self.order]
        self._lows = low[self.order]

    def __len__(self) -> int:
        return len(self._hashes)

    def find(self, keys: Keys) -> NDArray[np.intp]:
        """Position of each key in sorted order, -1 where it is not among them."""
        high, low = split(keys)
        return self.find_words(high, low)

    def find_words(self, high: Words, low: Words) -> NDArray[np.intp]:
        """As `find`, for keys already in words."""
        found = np.full(len(high), -1, dtype=np.intp)
        if not len(self._hashes) or not len(high):
            return found
        wanted = high + low * _MIX
        # In their order one search goes on where the last one ended: five times as fast as across all of memory.
        order = np.argsort(wanted)
        at = np.empty(len(wanted), dtype=np.intp)
        at[order] = np.searchsorted(self._hashes, wanted[order])
        open_ = self._same(at, wanted, np.arange(len(wanted)))
        # Two different keys with the same mix are next to each other: step on until the low word agrees as well.
        while open_.size:
            hit = self._lows[at[open_]] == low[open_]
            found[open_[hit]] = at[open_[hit]]
            open_ = open_[~hit]
            at[open_] += 1
            open_ = self._same(at, wanted, open_)
        return found

    def _same(self, at: NDArray[np.intp], wanted: Words, among: NDArray[np.intp]) -> NDArray[np.intp]:
        among = among[at[among] < len(self._hashes)]
        same: NDArray[np.intp] = among[self._hashes[at[among]] == wanted[among]]
        return same


class _Side:
    """Rows of one kind: sorted by id, the payload of each beside it."""

    __slots__ = ("_payload_set", "ids", "payload_high", "payload_low")

    def __init__(self, tables: list[Words]) -> None:
        # What was sorted from is dropped before the next column is sorted: the peak stays near 48 bytes per row.
        columns = _columns(tables)
        self.ids = KeySet(columns.pop(0), columns.pop(0))
        order, self.ids.order = self.ids.order, None
        self.payload_high = columns.pop(0)[order]
        self.payload_low = columns.pop(0)[order]
        self._payload_set: KeySet | None = None

    def payloads(self) -> KeySet:
        """The payloads, sorted; built at the first question."""
        if self._payload_set is None:
            self._payload_set = KeySet(self.payload_high, self.payload_low)
            self._payload_set.order = None
        return self._payload_set


class DoneIndex:
    """What is settled, as of the moment the store built it. Immutable, vectorised, safe to share between threads.

    Args:
        results: Key tables of results, shape (records, 4) each; taken out of the list, so that they can be freed.
        failures: Key tables of failures, taken out as well.
    """

    def __init__(self, results: list[Words], failures: list[Words]) -> None:
        self._results = _Side(results)
        self._failures = _Side(failures)

    def __repr__(self) -> str:
        return f"DoneIndex(results={self.n_results}, failures={self.n_failures})"

    @property
    def n_results(self) -> int:
        """Records with a result."""
        return len(self._results.ids)

    @property
    def n_failures(self) -> int:
        """Records that failed."""
        return len(self._failures.ids)

    def lookup(
        self, id_keys: ColumnOf[Keys], payload_keys: ColumnOf[Keys], *, failures: bool = True
    ) -> NDArray[np.uint8]:
        """State of each record: `NEW`, `DONE`, `FAILED`, or `CHANGED` (known, but with another payload).

        A failure stored without a payload (the record could not be read) matches by id alone.

        Args:
            id_keys: Digests of the record ids, dtype S16.
            payload_keys: Digests of what would be sent, same length.
            failures: Whether failures count; without them a record that failed is `NEW`.
        """
        states = np.zeros(len(id_keys), dtype=np.uint8)
        if not self.n_results and not self.n_failures:
            return states
        for part in slices(len(id_keys)):
            states[part] = self._states(id_keys[part], payload_keys[part], failures=failures)
        return states

    def _states(self, id_keys: Keys, payload_keys: Keys, *, failures: bool) -> NDArray[np.uint8]:
        id_high, id_low = split(id_keys)
        high, low = split(payload_keys)
        states = np.zeros(len(id_high), dtype=np.uint8)
        sides = ((self._failures, FAILED), (self._results, DONE))
        for side, settled in sides if failures else sides[1:]:
            at = side.ids.find_words(id_high, id_low)
            known = np.flatnonzero(at >= 0)
            at = at[known]
            stored_high, stored_low = side.payload_high[at], side.payload_low[at]
            same = (stored_high == high[known]) & (stored_low == low[known])
            if settled == FAILED:
                same |= (stored_high == 0) & (stored_low == 0)
            states[known] = np.where(same, settled, CHANGED)
        return states

    def has_payload(self, payload_keys: ColumnOf[Keys]) -> NDArray[np.bool_]:
        """Whether any record was answered for this payload."""
        found = np.zeros(len(payload_keys), dtype=np.bool_)
        if not self.n_results:
            return found
        for part in slices(len(payload_keys)):
            found[part] = self._results.payloads().find(payload_keys[part]) >= 0
        return found

    def failed_payload(self, payload_keys: ColumnOf[Keys]) -> NDArray[np.bool_]:
        """Whether any record failed with this payload; the empty payload never counts."""
        known = np.zeros(len(payload_keys), dtype=np.bool_)
        if not self.n_failures:
            return known
        for part in slices(len(payload_keys)):
            high, low = split(payload_keys[part])
            known[part] = (self._failures.payloads().find_words(high, low) >= 0) & ((high != 0) | (low != 0))
        return known


def split(keys: Keys) -> tuple[Words, Words]:
    """The two words of each key."""
    if keys.dtype != np.dtype("S16"):
        raise TypeError(f"keys must have dtype S16, not {keys.dtype}")
    words: Any = np.ascontiguousarray(keys).view("<u8").reshape(-1, 2)
    return words[:, 0].copy(), words[:, 1].copy()


def _columns(tables: list[Words]) -> list[Words]:
    """The four columns of all tables, each in one piece; a table is dropped as soon as it was copied."""
    rows = sum(map(len, tables))
    columns = [np.empty(rows, dtype=np.uint64) for _ in range(4)]
    tables.reverse()
    at = 0
    while tables:
        table = tables.pop()
        for number, column in enumerate(columns):
            column[at : at + len(table)] = table[:, number]
        at += len(table)
    return columns
