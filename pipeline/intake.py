"""Brings records to the workers: cuts them, ends at once what needs no request, packs the pieces of the others.

Takes an iterator of records, hands requests to the handout and rows to the sink.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from pipeline.batcher import Batcher
from pipeline.completion import Completions
from pipeline.handout import Handout
from pipeline.interfaces import TaskAdapter
from pipeline.reader import Cut, next_chunk
from pipeline.records import BrokenRecord, Piece, Record
from pipeline.rows import RowBuilder
from pipeline.sender import Flight


@dataclass(frozen=True, slots=True)
class Intake:
    """The reader of one pass.

    Attributes:
        planner: As in `pipeline.reader.next_chunk`.
        flight: Told while rows are being written, which a stop waits for.
        is_stopping: Whether the pass is ending: nothing more is handed out then.
    """

    adapter: TaskAdapter
    planner: TaskAdapter | None
    rows: RowBuilder
    ends: Completions
    handout: Handout
    flight: Flight
    is_stopping: Callable[[], bool]

    async def bring(self, work: Iterator[Record | BrokenRecord]) -> None:
        """Go through all records, or until the pass ends.

        Raises:
            SourceError: The input failed on the way.
        """
        batcher = Batcher(max_pieces=self.adapter.max_pieces, max_bytes=self.adapter.max_request_bytes)
        while chunk := await next_chunk(work, self.adapter, self.planner):
            if unsent := [cut for cut in chunk if not (cut.pieces or cut.is_left)]:
                await self._end(unsent)
            if self.is_stopping():
                return
            for cut in chunk:
                self.rows.expect(cut.pieces)
                pieces = await self._admitted(cut.pieces)
                if self.is_stopping():
                    return
                for piece in pieces:
                    if (request := batcher.add(piece)) is not None:
                        await self.handout.put(request)
        if (request := batcher.flush()) is not None:
            await self.handout.put(request)
        self.handout.end()

    async def _end(self, cuts: Sequence[Cut]) -> None:
        """Write the rows of records that cannot be sent, or need not be."""
        self.flight.is_busy = True
        await self.ends.unusable([cut for cut in cuts if isinstance(cut.item, BrokenRecord)])
        await self.ends.unsent([cut for cut in cuts if isinstance(cut.item, Record)])
        self.flight.is_busy = False

    async def _admitted(self, pieces: Sequence[Piece]) -> Sequence[Piece]:
        """Leave out what needs no sending."""
        if not self.ends.may_know(pieces):
            return pieces
        self.flight.is_busy = True
        try:
            return await self.ends.admit(pieces)
        finally:
            self.flight.is_busy = False
