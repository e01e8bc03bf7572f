"""The journals of a store that is open: the one being written, and those that wait for their fold."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa

from pipeline.storage.disk import Disk
from pipeline.storage.index import DoneIndex, Words, first_rows, read_sidecar, words_of
from pipeline.storage.journal import FAILURE_ROWS, RESULT_GROUPS, RESULT_ROWS, JournalWriter, encode_frame
from pipeline.storage.layout import FAILURES, KINDS, RESULTS, Layout
from pipeline.storage.manifest import Manifest, PartEntry
from pipeline.storage.recovery import Generation


class LiveJournals:
    """Which rows are in no part yet. Written by one thread; a fold in another only calls `select` and `forget`.

    Args:
        disk: The disk.
        layout: The folder.
        found: Journals that earlier runs left.
        floor: Lowest generation that may still exist.
    """

    def __init__(self, disk: Disk, layout: Layout, found: dict[int, Generation], floor: int) -> None:
        self._disk, self._layout, self._live = disk, layout, found
        # Never appended to again: what a killed process left may end in a torn frame.
        self._next = max([*found, floor - 1]) + 1
        self._ended: set[int] = set()
        self._writer: JournalWriter | None = None

    @property
    def generations(self) -> list[Generation]:
        """All that are live, oldest first."""
        return [self._live[number] for number in sorted(self._live)]

    @property
    def waiting(self) -> list[Generation]:
        """Those that `rotate` would hand over."""
        return [generation for generation in self.generations if generation.number not in self._ended]

    def write(self, frames: bytes, result_keys: bytes, failure_keys: bytes, *, results: int) -> None:
        """Append frames and remember their keys; begins a generation where none is being written.

        Args:
            frames: Encoded.
            result_keys: Of their result rows, 32 bytes each.
            failure_keys: Of their failure rows.
            results: Records that the result rows belong to.
        """
        if not frames:
            return
        if self._writer is None:
            self._writer = JournalWriter(self._disk, self._layout.journal(self._next), self._next)
            self._live[self._next] = Generation(self._next)
            self._next += 1
        self._writer.append(frames)
        generation = self._live[self._writer.generation]
        generation.size += len(frames)
        generation.result_keys += result_keys
        generation.failure_keys += failure_keys
        generation.results += results

    def write_batch(self, kind: str, keys: bytes, batch: pa.RecordBatch, *, records: int) -> None:
        """As `write`, for rows of one kind that are Arrow already."""
        if kind == RESULTS:
            frame_kind = RESULT_ROWS if records == batch.num_rows else RESULT_GROUPS
            self.write(encode_frame(frame_kind, keys, batch), keys, b"", results=records)
        else:
            self.write(encode_frame(FAILURE_ROWS, keys, batch), b"", keys, results=0)

    def sync(self) -> None:
        """Make everything written durable."""
        if self._writer is not None:
            self._writer.sync()

    def rotate(self) -> list[int]:
        """Sync and end the journal being written; returns the generations that were not handed over before."""
        self.sync()
        self.close()
        numbers = [generation.number for generation in self.waiting]
        self._ended.update(numbers)
        return numbers

    def close(self) -> None:
        """Give up the descriptor; does not sync."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def select(self, numbers: Sequence[int]) -> list[Generation]:
        """The generations of these numbers; together they must be the oldest there are."""
        chosen = [generation for generation in self.generations if generation.number <= max(numbers)]
        if [generation.number for generation in chosen] != sorted(numbers) or not self._ended.issuperset(numbers):
            raise ValueError(
                f"fold what rotate returned, in order; {list(numbers)} is not the oldest of {sorted(self._live)}"
            )
        return chosen

    def forget(self, chosen: Sequence[Generation]) -> None:
        """Delete journals whose rows are in parts that the manifest names."""
        for generation in chosen:
            del self._live[generation.number]
            self._ended.discard(generation.number)
            self._disk.unlink(self._layout.journal(generation.number))


def build_index(layout: Layout, manifest: Manifest, generations: Sequence[Generation]) -> DoneIndex:
    """The index of all settled records: sidecars of the named parts, and keys of the live journals."""
    tables: dict[str, list[Words]] = {
        kind: [_read_records(layout, entry) for entry in manifest.parts(kind)] for kind in KINDS
    }
    for generation in generations:
        tables[RESULTS].append(generation.result_words())
        tables[FAILURES].append(words_of(generation.failure_keys))
    return DoneIndex(tables[RESULTS], tables[FAILURES])


def _read_records(layout: Layout, entry: PartEntry) -> Words:
    """Read the keys of a part, one row a record."""
    words = read_sidecar(layout.sidecar(entry.index), entry.rows)
    return words if entry.n_records == entry.rows else words[first_rows(words)]
