"""Answers for records whose payload was already answered: rows copied from parts, under another record's name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from pipeline.errors import OutputDamaged, OutputError
from pipeline.keycolumns import Keys
from pipeline.storage.columns import plain_array
from pipeline.storage.index import KeySet, Words, first_rows, key_array, read_sidecar
from pipeline.storage.layout import FAILURES, KINDS, RESULTS, Layout
from pipeline.storage.manifest import Manifest, PartEntry
from pipeline.storage.parts import check_digest, groups_with

# (id key, payload key, columns that are the follower's own)
Follower: TypeAlias = tuple[bytes, bytes, Mapping[str, object]]

_FIRST_SLICE: Final = 256
_GATHERED_ROWS: Final = 2_000
_SLICE_BYTES: Final = 16 << 20


@dataclass(frozen=True, slots=True)
class Shared:
    """What `Store.share` did.

    Attributes:
        results: Followers that got a result.
        failures: Followers that got a failure row.
        missing: Followers whose payload is not stored; nothing was written for them.
    """

    results: int = 0
    failures: int = 0
    missing: int = 0


class StoredRows:
    """Finds what is stored of one kind by payload; built from sidecars, about 24 bytes per record.

    Args:
        layout: The folder.
        kind: ``results`` or ``failures``.
        entries: The parts to look in, as of now.
    """

    def __init__(self, layout: Layout, kind: str, entries: Sequence[PartEntry]) -> None:
        self._layout, self._kind, self._entries = layout, kind, entries
        self._firsts: dict[str, NDArray[np.intp]] = {}
        tables = [self._payloads(entry) for entry in entries]
        words = np.concatenate(tables) if tables else np.empty((0, 2), dtype=np.uint64)
        del tables
        keys = KeySet(words[:, 0], words[:, 1])
        assert keys.order is not None
        self._order = keys.order
        keys.order = None
        self._keys = keys
        self._checked: set[str] = set()
        self._starts = np.concatenate([[0], np.cumsum([entry.n_records for entry in entries])]).astype(np.intp)

    def _payloads(self, entry: PartEntry) -> Words:
        """Payload of each record of a part; notes where each begins where some have several rows."""
        words = read_sidecar(self._layout.sidecar(entry.index), entry.rows)
        if entry.n_records == entry.rows:
            return words[:, 2:]
        firsts = first_rows(words)
        self._firsts[entry.name] = np.append(firsts, entry.rows)
        return words[firsts, 2:]

    def find(self, payload_keys: Keys) -> NDArray[np.intp]:
        """Position of a record with each payload, -1 where there is none."""
        at = self._keys.find(payload_keys)
        return np.where(at >= 0, self._order[at], -1) if len(self._order) else at

    def take(self, positions: NDArray[np.intp]) -> Iterator[tuple[NDArray[np.intp], pa.RecordBatch]]:
        """Read the rows of records, touching only the row groups they are in.

        Yields:
            Rows, in slices of bounded size that hold all rows of a record; which of `positions` each of them is for.
        """
        order = np.argsort(positions, kind="stable")
        part_of = np.searchsorted(self._starts, positions[order], side="right") - 1
        for number in np.unique(part_of):
            which = order[part_of == number]
            entry = self._entries[number]
            yield from self._take_from(entry, which, positions[which] - self._starts[number])

    def _take_from(
        self, entry: PartEntry, which: NDArray[np.intp], rows: NDArray[np.intp]
    ) -> Iterator[tuple[NDArray[np.intp], pa.RecordBatch]]:
        path = self._layout.part(self._kind, entry.name)
        if entry.name not in self._checked:
            check_digest(path, entry.sha256)
            self._checked.add(entry.name)
        try:
            with pq.ParquetFile(path, page_checksum_verification=True) as file:
                if (firsts := self._firsts.get(entry.name)) is not None:
                    yield from _gathered(_groups(file, firsts, which, rows))
                    return
                start = 0
                for number in range(file.metadata.num_row_groups):
                    end = start + file.metadata.row_group(number).num_rows
                    inside = (rows >= start) & (rows < end)
                    if inside.any():
                        group = file.read_row_group(number).combine_chunks()
                        for part, table in _slices(group, rows[inside] - start):
                            yield which[inside][part], table
                    start = end
        except (pa.ArrowException, OSError) as error:
            raise OutputDamaged(f"{path}: cannot be read: {error}") from error


_Taken: TypeAlias = tuple[NDArray[np.intp], pa.Table]


def _groups(
    file: pq.ParquetFile, firsts: NDArray[np.intp], which: NDArray[np.intp], records: NDArray[np.intp]
) -> Iterator[_Taken]:
    """Read records that may have several rows, each with all of its rows."""
    read = lru_cache(maxsize=1)(file.read_row_group)
    for one, record in zip(which.tolist(), records.tolist(), strict=True):
        first, end = int(firsts[record]), int(firsts[record + 1])
        places = groups_with(file, first, end - first)
        rows = pa.concat_tables([read(number).slice(start, count) for number, start, count in places])
        yield np.full(end - first, one, dtype=np.intp), rows


def _gathered(taken: Iterator[_Taken]) -> Iterator[tuple[NDArray[np.intp], pa.RecordBatch]]:
    """Put records together until there are enough of them for a batch."""
    waiting: list[_Taken] = []
    n_rows = n_bytes = 0
    for one in taken:
        size = one[1].nbytes
        if waiting and (n_rows + len(one[0]) > _GATHERED_ROWS or n_bytes + size > _SLICE_BYTES):
            yield _joined(waiting)
            waiting, n_rows, n_bytes = [], 0, 0
        waiting.append(one)
        n_rows += len(one[0])
        n_bytes += size
    if waiting:
        yield _joined(waiting)


def _joined(taken: Sequence[_Taken]) -> tuple[NDArray[np.intp], pa.RecordBatch]:
    (batch,) = pa.concat_tables([rows for _, rows in taken]).combine_chunks().to_batches()
    return np.concatenate([which for which, _ in taken]), batch


def _slices(group: pa.Table, rows: NDArray[np.intp]) -> Iterator[tuple[slice, pa.RecordBatch]]:
    """Take rows some at a time: a long answer with thousands of followers must not be copied all at once."""
    at, step = 0, _FIRST_SLICE
    while at < len(rows):
        part = slice(at, at + step)
        table = group.take(rows[part].tolist()).combine_chunks()
        (batch,) = table.to_batches()
        yield part, batch
        at += step
        step = max(1, min(8 * step, _SLICE_BYTES * batch.num_rows // max(1, batch.nbytes)))


def as_followers(
    batch: pa.RecordBatch, schema: pa.Schema, kind: str, overrides: Sequence[Mapping[str, object]]
) -> pa.RecordBatch:
    """Put the followers' own columns over copied rows.

    Args:
        batch: The copied rows.
        schema: Their schema as the journal knows it, without what the reader of the part added.
        kind: ``results`` or ``failures``; a failure row takes those columns it has, and `finished_at` as its `at`.
        overrides: One mapping per row, all with the same columns.
    """
    columns = set(overrides[0])
    if any(set(override) != columns for override in overrides):
        raise OutputError("followers of one chunk must override the same columns")
    renamed = {"at": "finished_at"} if kind == FAILURES and "finished_at" in columns else {}
    arrays = []
    for i, field in enumerate(schema):
        name = renamed.get(field.name, field.name)
        arrays.append(
            plain_array(field.name, [override[name] for override in overrides], field.type)
            if name in columns
            else batch.column(i)
        )
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


class Copier:
    """Copies stored rows to followers, chunk by chunk. Looks in the parts that were there when it was made.

    Args:
        layout: The folder.
        manifest: Names the parts.
        schemas: Schema per kind, as the journal knows it; None for results while there are none.
    """

    def __init__(self, layout: Layout, manifest: Manifest, schemas: Mapping[str, pa.Schema | None]) -> None:
        self._stored = {kind: StoredRows(layout, kind, manifest.parts(kind)) for kind in KINDS}
        self._schemas = schemas
        self._counts = dict.fromkeys(KINDS, 0)
        self._missing = 0

    @property
    def shared(self) -> Shared:
        """What was done so far."""
        return Shared(self._counts[RESULTS], self._counts[FAILURES], self._missing)

    def copies(self, chunk: Sequence[Follower]) -> Iterator[tuple[str, bytes, pa.RecordBatch, int]]:
        """Kind, keys, rows, number of records; an answer goes before a failure of the same payload."""
        pending = np.arange(len(chunk))
        for kind in KINDS:
            schema = self._schemas[kind]
            at = self._stored[kind].find(key_array(chunk[int(i)][1] for i in pending))
            if schema is not None:
                found = pending[at >= 0]
                for which, batch in self._stored[kind].take(at[at >= 0]):
                    followers = [chunk[int(i)] for i in found[which]]
                    keys = b"".join([key for follower in followers for key in follower[:2]])
                    rows = as_followers(batch, schema, kind, [follower[2] for follower in followers])
                    n_records = len(np.unique(which))
                    self._counts[kind] += n_records
                    yield kind, keys, rows, n_records
            pending = pending[at < 0]
        self._missing += len(pending)
