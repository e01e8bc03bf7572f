"""Rows and failures to journal frames, with everything that does not depend on the rows prepared once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

import pyarrow as pa

from pipeline.errors import OutputError
from pipeline.records import Column, Failure, Row
from pipeline.storage.columns import FAILURE_SCHEMA, BatchTooLarge, Encoder, failure_batch, is_resolved, resolve
from pipeline.storage.journal import FAILURE_ROWS, RESULT_ROWS, encode_frame

_FAILURE_MESSAGE: Final = FAILURE_SCHEMA.serialize().to_pybytes()


class Framer:
    """Encodes what is appended.

    Args:
        columns: Columns of the results; a vector may not know its length yet.
    """

    def __init__(self, columns: Sequence[Column]) -> None:
        self.columns = tuple(columns)
        self._encoder = Encoder(columns) if is_resolved(columns) else None
        self._message = self._encoder.schema.serialize().to_pybytes() if self._encoder else b""

    @property
    def schema(self) -> pa.Schema | None:
        """Schema of the results; None until every vector knows its length."""
        return self._encoder.schema if self._encoder else None

    def resolved(self, rows: Sequence[Row]) -> Framer:
        """This framer, or one that has learned the length of vectors from `rows`."""
        return self if self._encoder or not rows else Framer(resolve(self.columns, rows))

    def results(self, rows: Sequence[Row]) -> Iterator[bytes]:
        """Frames for result rows: one, or more where one batch could not hold them."""
        if not rows:
            return
        if self._encoder is None:
            raise OutputError("the columns are not known yet")
        try:
            batch = self._encoder.batch(rows)
        except BatchTooLarge:
            middle = max(1, len(rows) // 2)
            yield from self.results(rows[:middle])
            yield from self.results(rows[middle:])
            return
        yield encode_frame(RESULT_ROWS, keys_of(rows), batch, self._message)


def failure_frames(failures: Sequence[Failure]) -> Iterator[bytes]:
    """The frame for failure rows, if there are any."""
    if failures:
        yield encode_frame(FAILURE_ROWS, keys_of(failures), failure_batch(failures), _FAILURE_MESSAGE)


def keys_of(rows: Sequence[Row | Failure]) -> bytes:
    """Id and payload key of each row, 32 bytes per row."""
    return b"".join([key for row in rows for key in (row.id_key, row.payload_key)])
