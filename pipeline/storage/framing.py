"""Rows and failures to journal frames, with everything that does not depend on the rows prepared once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

import pyarrow as pa

from pipeline.errors import OutputError
from pipeline.records import Column, Failure, Row
from pipeline.storage.columns import FAILURE_SCHEMA, BatchTooLarge, Encoder, failure_batch, is_resolved, resolve
from pipeline.storage.journal import FAILURE_ROWS, RESULT_GROUPS, RESULT_ROWS, encode_frame

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
        """Frames for results: one, or more where one batch could not hold them. The rows of a record share a frame.

        Raises:
            OutputError: A value does not fit its column, or one record is more than a batch can hold.
        """
        if not rows:
            return
        assert self._encoder is not None, "`resolved` was asked first"
        has_groups = any(row.more for row in rows)
        try:
            batch = self._encoder.batch(_one_by_one(rows) if has_groups else rows)
        except BatchTooLarge:
            if len(rows) == 1:
                raise OutputError(f"record {rows[0].values.get('id')!r}: its result is larger than 2 GiB") from None
            middle = len(rows) // 2
            yield from self.results(rows[:middle])
            yield from self.results(rows[middle:])
            return
        yield encode_frame(RESULT_GROUPS if has_groups else RESULT_ROWS, keys_of(rows), batch, self._message)


def _one_by_one(rows: Sequence[Row]) -> list[Row]:
    return [Row(row.id_key, row.payload_key, values) for row in rows for values in (row.values, *row.more)]


def failure_frames(failures: Sequence[Failure]) -> Iterator[bytes]:
    """The frame for failure rows, if there are any."""
    if failures:
        yield encode_frame(FAILURE_ROWS, failure_keys_of(failures), failure_batch(failures), _FAILURE_MESSAGE)


def keys_of(rows: Sequence[Row]) -> bytes:
    """Id and payload key of each row of each result, 32 bytes per row."""
    return b"".join([(row.id_key + row.payload_key) * (1 + len(row.more)) for row in rows])


def failure_keys_of(failures: Sequence[Failure]) -> bytes:
    """Id and payload key of each failure."""
    return b"".join([failure.id_key + failure.payload_key for failure in failures])
