"""Parquet files, streamed batch by batch. Values come as Python values."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.errors import SourceError
from pipeline.sources.origins import MAX_LINE_BYTES, WHOLE_NUMBERS, InputFile, RawRow
from pipeline.sources.streams import readable

_BATCH_ROWS: Final = 1000
_BATCH_BYTES: Final = 4 * 1024 * 1024

_NO_TEXT: Final[tuple[tuple[Callable[[pa.DataType], bool], str], ...]] = (
    (pa.types.is_integer, WHOLE_NUMBERS),
    (pa.types.is_floating, "numbers"),
    (pa.types.is_boolean, "true and false"),
    (pa.types.is_temporal, "dates or times"),
    (pa.types.is_nested, "lists or objects"),
)


def columns(file: InputFile) -> list[str]:
    """Return the names of the top-level columns.

    Raises:
        SourceError: The file cannot be opened or is not Parquet.
    """
    with _opened(file) as parquet:
        return list(parquet.schema_arrow.names)


def kind_of(file: InputFile, column: str) -> str | None:
    """Say what a column holds where its type is none of text; None where it may be text or is not there.

    Raises:
        SourceError: As `columns`.
    """
    with _opened(file) as parquet:
        schema = parquet.schema_arrow
        if column not in schema.names:
            return None
        kind = schema.field(column).type
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return next((words for is_of, words in _NO_TEXT if is_of(kind)), None)


def rows(file: InputFile) -> Iterator[RawRow]:
    """Yield all rows.

    Raises:
        SourceError: The file cannot be opened, is not Parquet, or is damaged.
    """
    with _opened(file) as parquet:
        row = 0
        for batch in parquet.iter_batches(batch_size=_batch_rows(parquet), use_threads=False):
            for value in _values(batch):
                yield row, value
                row += 1
    pa.default_memory_pool().release_unused()


@contextlib.contextmanager
def _opened(file: InputFile) -> Iterator[pq.ParquetFile]:
    with readable(file.shown):
        path: Path = file.path if file.spool is None else file.spool.drain()
        try:
            # Buffered and not read ahead: column chunks of a large row group stay on disk until they are wanted.
            with path.open("rb") as raw, pq.ParquetFile(raw, pre_buffer=False, buffer_size=256 * 1024) as parquet:
                names = parquet.schema_arrow.names
                if len(set(names)) < len(names):
                    twice = next(name for name in names if names.count(name) > 1)
                    raise SourceError(file.shown, f"column {twice!r} is there twice")
                yield parquet
        except pa.ArrowException as exc:
            raise SourceError(file.shown, f"is not Parquet, or cut off or damaged ({exc})") from exc
        except OSError as exc:
            if exc.errno is not None:
                raise
            raise SourceError(file.shown, f"is cut off or damaged ({exc})") from exc


def _batch_rows(parquet: pq.ParquetFile) -> int:
    """Fewer rows at a time where they are wide."""
    metadata = parquet.metadata
    total_bytes: int = sum(metadata.row_group(n).total_byte_size for n in range(metadata.num_row_groups))
    n_rows: int = metadata.num_rows
    mean_bytes = max(1, total_bytes // max(1, n_rows))
    return max(1, min(_BATCH_ROWS, _BATCH_BYTES // mean_bytes))


def _values(batch: pa.RecordBatch) -> list[dict[str, object] | str]:
    if batch.nbytes <= MAX_LINE_BYTES:
        # Something Python has no value for, e.g. a date after the year 9999 or text that is not UTF-8: find the rows.
        with contextlib.suppress(ValueError, OverflowError):
            return list(batch.to_pylist())
    return [_value(batch.slice(n, 1)) for n in range(batch.num_rows)]


def _value(batch: pa.RecordBatch) -> dict[str, object] | str:
    if batch.nbytes > MAX_LINE_BYTES:
        return f"row is longer than {MAX_LINE_BYTES // 1024 // 1024} MiB"
    value: dict[str, object] = {}
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        try:
            value[name] = column[0].as_py()
        except (ValueError, OverflowError) as exc:
            return f"row cannot be read: column {name!r} holds what cannot be expressed here ({exc})"
    return value
