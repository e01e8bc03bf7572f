"""Reads records from the input, some at a time and in a thread, and cuts them into pieces.

Takes an iterator of records, hands on chunks of (record, pieces); a record that lacks what the task needs comes as a
`BrokenRecord`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from typing import Final

from pipeline.errors import RecordUnusable
from pipeline.failures import UNREADABLE_RECORD, UNUSABLE_RECORD
from pipeline.interfaces import TaskAdapter
from pipeline.records import BrokenRecord, Piece, Record, record_key
from pipeline.threads import in_thread

READ_CHUNK: Final = 256


@dataclass(frozen=True, slots=True)
class Cut:
    """A record and what is sent for it.

    Attributes:
        item: The record; a broken one where nothing can be sent.
        pieces: Empty for a broken record, and for one whose row needs no answer.
        code: Of the failure row of a broken record.
        is_left: It stays pending for the model that it was planned for.
    """

    item: Record | BrokenRecord
    pieces: tuple[Piece, ...] = ()
    code: str = ""
    is_left: bool = False


async def next_chunk(
    work: Iterator[Record | BrokenRecord], adapter: TaskAdapter, planner: TaskAdapter | None = None
) -> list[Cut]:
    """Read in a thread. Stopped meanwhile, it waits for the thread: nobody may close the input under it.

    Where files are gone through to cut them, a chunk is one record: the first is sent while the second is read.

    Args:
        work: The records.
        adapter: Cuts them.
        planner: Of another model, that they were planned for: they keep its digests, and what `adapter` cannot take is
            left to it.
    """
    cut = partial(_cut, adapter=adapter) if planner is None else partial(_cut_anew, adapter=adapter, planner=planner)
    size = 1 if adapter.is_heavy else READ_CHUNK
    return await in_thread(lambda: list(map(cut, islice(work, size))), hurry=adapter.hurry)


def _cut(item: Record | BrokenRecord, adapter: TaskAdapter) -> Cut:
    if isinstance(item, BrokenRecord):
        return Cut(item, code=UNREADABLE_RECORD)
    try:
        return Cut(item, tuple(adapter.pieces(item)))
    except RecordUnusable as exc:
        broken = BrokenRecord(ordinal=item.ordinal, id=item.id, source=item.source, row=item.row, reason=str(exc))
        return Cut(broken, code=UNUSABLE_RECORD)


def _cut_anew(item: Record | BrokenRecord, adapter: TaskAdapter, planner: TaskAdapter) -> Cut:
    if isinstance(item, BrokenRecord):
        return Cut(item, code=UNREADABLE_RECORD)
    try:
        key, pieces = planner.outline(item).payload_key, adapter.pieces(item)
    except RecordUnusable:
        return Cut(item, is_left=True)
    if pieces and record_key(pieces) != key:
        pieces = [replace(piece, record_key=key) for piece in pieces]
    return Cut(item, tuple(pieces), is_left=not pieces)
