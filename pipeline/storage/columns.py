"""From rows to Arrow: types of the columns, and one batch per append, built column by column.

A paid answer is never refused for a stray character: text that UTF-8 cannot carry (a lone surrogate) is stored with
U+FFFD in its place. Anything else a column cannot hold is an `OutputError` that names the record.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final

import numpy as np
import pyarrow as pa

from pipeline.errors import OutputError
from pipeline.records import Column, Failure, Row

_PLAIN: Final[dict[str, Any]] = {
    "string": pa.string(),
    "json": pa.string(),
    "bool": pa.bool_(),
    "int32": pa.int32(),
    "int64": pa.int64(),
    "float32": pa.float32(),
    "float64": pa.float64(),
    "timestamp": pa.timestamp("us", tz="UTC"),
    "date": pa.date32(),
    "binary": pa.binary(),
}

_NUMBERS: Final[dict[str, Any]] = {
    "vector": pa.float32(),
    "vector<float16>": pa.float16(),
    "vector<int8>": pa.int8(),
}

FAILURE_COLUMNS: Final = (
    Column("id", "string"),
    Column("source", "string"),
    Column("row", "int64"),
    Column("code", "string"),
    Column("http_status", "int32"),
    Column("message", "string"),
    Column("attempts", "int32"),
    Column("retryable", "bool"),
    Column("at", "timestamp"),
)


class BatchTooLarge(Exception):
    """More than one Arrow array can hold (2 GiB of text); halve it."""


def arrow_type(column: Column) -> Any:  # noqa: ANN401 - pyarrow's type classes are one per type
    """The Arrow type of a column; a vector must know its `dim`."""
    kind = column.kind
    if column.is_vector:
        if column.dim is None:
            raise OutputError(f"column {column.name!r}: no answer has told the length of the vectors yet")
        return pa.list_(_NUMBERS[kind], column.dim)
    if kind.startswith("list<") and kind.endswith(">"):
        return pa.list_(arrow_type(replace(column, kind=kind[5:-1])))
    if kind == "struct":
        return pa.struct([pa.field(member.name, arrow_type(member)) for member in column.fields])
    try:
        return _PLAIN[kind]
    except KeyError:
        raise OutputError(f"column {column.name!r}: unknown kind {kind!r}") from None


def arrow_schema(columns: Sequence[Column]) -> pa.Schema:
    """The schema of `columns`, in order."""
    return pa.schema([pa.field(column.name, arrow_type(column)) for column in columns])


def is_resolved(columns: Sequence[Column]) -> bool:
    """Whether every vector knows its length."""
    return all(not column.is_vector or column.dim is not None for column in columns)


def resolve(columns: Sequence[Column], rows: Sequence[Row]) -> tuple[Column, ...]:
    """Learn the length of vectors from the first row that has one."""
    learned = []
    for column in columns:
        if column.is_vector and column.dim is None:
            first = next((row.values.get(column.name) for row in rows if row.values.get(column.name) is not None), None)
            if first is None:
                raise OutputError(f"column {column.name!r}: record {_name(rows[0])} has no vector")
            column = replace(column, dim=int(np.asarray(first).shape[0]))  # noqa: PLW2901 - the learned one replaces it
        learned.append(column)
    return tuple(learned)


class Encoder:
    """Builds result batches of one schema; everything that does not depend on the rows is done once."""

    def __init__(self, columns: Sequence[Column]) -> None:
        self.columns = tuple(columns)
        self.schema = arrow_schema(columns)
        self._types = [(column.name, column.is_vector, self.schema.field(i).type) for i, column in enumerate(columns)]

    def batch(self, rows: Sequence[Row]) -> pa.RecordBatch:
        """Turn rows into one batch.

        Raises:
            OutputError: A value does not fit its column; names the records.
            BatchTooLarge: Halve the rows and try again.
        """
        width = len(self.columns)
        for row in rows:
            if len(row.values) != width:
                raise OutputError(f"record {_name(row)}: {len(row.values)} columns where the output has {width}")
        arrays = []
        for name, is_vector, kind in self._types:
            try:
                values = [row.values[name] for row in rows]
            except KeyError:
                missing = next(row for row in rows if name not in row.values)
                raise OutputError(f"record {_name(missing)}: column {name!r} is missing") from None
            arrays.append(_vectors(name, values, kind, rows) if is_vector else _plain(name, values, kind, rows))
        return pa.RecordBatch.from_arrays(arrays, schema=self.schema)


FAILURE_SCHEMA: Final = arrow_schema(FAILURE_COLUMNS)


def failure_batch(failures: Sequence[Failure]) -> pa.RecordBatch:
    """Turn failures into one batch."""
    arrays = [
        _plain(
            column.name, [getattr(failure, column.name) for failure in failures], FAILURE_SCHEMA.field(i).type, failures
        )
        for i, column in enumerate(FAILURE_COLUMNS)
    ]
    return pa.RecordBatch.from_arrays(arrays, schema=FAILURE_SCHEMA)


def plain_array(name: str, values: Sequence[object], kind: Any) -> Any:  # noqa: ANN401 - pyarrow types
    """An array of values that are not vectors.

    Raises:
        OutputError: A value does not fit.
    """
    return _plain(name, list(values), kind, ())


def _plain(name: str, values: list[Any], kind: Any, rows: Sequence[Row | Failure]) -> Any:  # noqa: ANN401
    try:
        array = pa.array(values, type=kind)
    except UnicodeEncodeError:
        return _plain(name, [_utf8(value) for value in values], kind, rows)
    except (pa.ArrowException, TypeError, ValueError, OverflowError) as error:
        raise OutputError(_culprit(name, values, kind, rows, error)) from error
    if not isinstance(array, pa.Array):
        raise BatchTooLarge
    return array


def _utf8(value: object) -> object:
    if isinstance(value, str):
        return value.encode("utf-8", "surrogatepass").decode("utf-8", "replace")
    if isinstance(value, dict):
        return {key: _utf8(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_utf8(item) for item in value]
    return value


def _culprit(name: str, values: list[Any], kind: Any, rows: Sequence[Row | Failure], error: Exception) -> str:  # noqa: ANN401
    """Find the first value that does not fit; slow, and only on the way to an error."""
    for index, value in enumerate(values):
        try:
            pa.array([value], type=kind)
        except (pa.ArrowException, TypeError, ValueError, OverflowError) as single:
            who = f"record {_name(rows[index])}: " if rows else ""
            return f"{who}column {name!r} is {kind} and cannot hold {type(value).__name__}: {single}"
    return f"column {name!r}: {error}"


def _vectors(name: str, values: list[Any], kind: Any, rows: Sequence[Row]) -> Any:  # noqa: ANN401
    """Vectors to one flat buffer; no number becomes a Python float on the way."""
    dim: int = kind.list_size
    number = np.dtype(kind.value_type.to_pandas_dtype())
    mask: list[bool] | None = None
    if any(value is None for value in values):
        mask = [value is None for value in values]
        values = [np.zeros(dim, number) if value is None else value for value in values]
    try:
        flat = np.concatenate(values, dtype=number, casting="same_kind")
    except (ValueError, TypeError):
        flat = np.empty(0, number)
    if flat.shape != (dim * len(values),) or any(len(value) != dim for value in values):
        wrong = [_name(row) for row, value in zip(rows, values, strict=True) if np.shape(value) != (dim,)]
        raise OutputError(
            f"column {name!r}: vectors of length {dim} expected, not so for record {', '.join(wrong[:10])}"
        )
    return pa.FixedSizeListArray.from_arrays(pa.array(flat), type=kind, mask=None if mask is None else pa.array(mask))


def _name(row: Row | Failure) -> str:
    name = row.id if isinstance(row, Failure) else row.values.get("id")
    return repr(name) if name is not None else row.id_key.hex()
