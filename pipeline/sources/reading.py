"""Raw rows become records: `where`, `id` and `limit`, for any kind of input.

Takes origins (files or the spec's items), hands on `Record` and `BrokenRecord` in a stable order.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from typing import Final, Protocol

from pipeline.errors import SourceError
from pipeline.records import BrokenRecord, Record
from pipeline.sources.fingerprint import Fingerprint, Trace
from pipeline.sources.origins import WHOLE_NUMBERS, Fields, RawRow
from pipeline.sources.paths import did_you_mean
from pipeline.sources.where import Unanswerable, Where, refuse_numbers

_MAX_SHOWN_COLUMNS: Final = 12


class Origin(Protocol):
    """A file, stdin, or the items of the spec."""

    @property
    def shown(self) -> str:
        """How users see it."""
        ...

    @property
    def record_id(self) -> str | None:
        """Id of its only record; None when it holds rows."""
        ...

    @property
    def is_text_table(self) -> bool:
        """Its columns are known and hold nothing but text."""
        ...

    @property
    def is_fixed(self) -> bool:
        """Its content cannot change while this process lives."""
        ...

    @property
    def is_media(self) -> bool:
        """It is one record, a file that is not opened here."""
        ...

    def rows(self) -> Iterator[RawRow]:
        """Read it from its start."""
        ...

    def columns(self) -> list[str] | None:
        """Its columns, None where only its rows can tell."""
        ...

    def kind_of(self, column: str) -> str | None:
        """What a column holds where its type is known and none of text; None where it may be text."""
        ...

    def state(self) -> bytes:
        """Bytes that change when its content may have changed; asked for each record of what is not fixed."""
        ...

    def trace(self) -> Trace:
        """The same, and by what a later run recognises it."""
        ...

    def close(self) -> None:
        """Remove what was made to read it."""
        ...


class RecordSource:
    """The input of a job. Made by `open_source`.

    Args:
        origins: What to read, in order.
        id_column: Column with the record id; None for ``<source>#<row>``.
        where: SQL condition, see `pipeline.sources.where`.
        limit: Yield no more records than this.

    Raises:
        SourceError: The condition is not usable, or it or the id names a column that no table of the input has, or the
            column of the id can hold none.
    """

    def __init__(
        self,
        origins: Sequence[Origin],
        *,
        id_column: str | None = None,
        where: str | None = None,
        limit: int | None = None,
    ) -> None:
        self._origins = list(origins)
        self._id_column = id_column
        self._limit = limit
        self._states: dict[str, bytes] = {}
        self._where = None if where is None else self._condition(where)
        if id_column is not None:
            self._require("id", id_column)
            if kinds := self.without_text(id_column, fit=WHOLE_NUMBERS):
                raise SourceError("input.id", f"column {id_column!r} holds {kinds}, not text or whole numbers")

    @property
    def is_media(self) -> bool:
        """Every record is a file of its own: what is in it can be told by the files that are found."""
        return all(origin.is_media for origin in self._origins)

    def files(self) -> list[str]:
        """The files that will be read, in order, as shown to the user."""
        return [origin.shown for origin in self._origins]

    def columns(self) -> list[str] | None:
        """Column names known before reading: those of the first file; None when its rows have to tell.

        Raises:
            SourceError: The first file cannot be read or has no usable header.
        """
        return self._origins[0].columns()

    def without_text(self, column: str, *, fit: str | None = None) -> str:
        """Say what a column holds where the files are known to have no text in it; empty where one may have.

        Args:
            column: Its name.
            fit: A kind that will do as well as text.

        Raises:
            SourceError: A file cannot be read.
        """
        kinds: dict[str, None] = {}
        for origin in self._origins:
            kind = origin.kind_of(column)
            if kind is None or kind == fit:
                return ""
            kinds[kind] = None
        return " or ".join(kinds)

    def fingerprint(self) -> Fingerprint:
        """By what this input is recognised: names, places, sizes and times of the files, or the items themselves.

        Equal as long as nothing was changed. Stdin gets another one in each run.

        Raises:
            SourceError: A file is gone.
        """
        return Fingerprint.of([(origin.shown, origin.trace()) for origin in self._origins])

    def hold_to(self, fingerprint: Fingerprint) -> None:
        """Let a reading go on only while the files are what they were at this look, as if it had been the first one."""
        fixed = {origin.shown for origin in self._origins if origin.is_fixed}
        self._states = {shown: state for shown, state in fingerprint.states.items() if shown not in fixed}

    def close(self) -> None:
        """Remove the copy of stdin, if one was made. Idempotent; nothing can be read afterwards."""
        for origin in self._origins:
            origin.close()

    def read(self, wanted: Callable[[int], bool] | None = None) -> Iterator[Record | BrokenRecord]:
        """Yield the selected records from the first, the same ones in the same order each time.

        Args:
            wanted: Whether the record with this ordinal is asked for; others are passed over, which costs a quarter.
                For an input that was read before: that no record has the id column is not told again.

        Rows that cannot be used come as `BrokenRecord`; they pass `where` and count for `limit`. Holds one line or one
        batch. For one thread at a time; several readings may go on side by side.

        A file that has changed since its first reading began yields nothing more: what stands where is no longer
        known, and an answered record could be sent again in place of another one.

        Raises:
            SourceError: A file is missing, unreadable, not of its format as a whole, or has changed; what came before
                is yielded. Or, after the last one, not a single record has the id column.
        """
        if wanted is not None:
            yield from self._chosen(wanted)
            return
        plain = self._where is None and self._id_column is None
        identify = _Identify(self._id_column)
        records = self._plain() if plain else self._picked(identify)
        with contextlib.closing(records):
            yield from records if self._limit is None else itertools.islice(records, self._limit)
        identify.refuse_unknown_column()

    def _rows(self, origin: Origin) -> Iterator[RawRow]:
        if origin.is_fixed:
            yield from origin.rows()
            return
        known = self._states.get(origin.shown)
        if known is None:
            self._states[origin.shown] = origin.state()
            yield from origin.rows()
            return
        for row in origin.rows():
            if origin.state() != known:  # asked after the row was read: it is still of the file that was known
                break
            yield row
        if origin.state() != known:
            raise _changed(origin)

    def _chosen(self, wanted: Callable[[int], bool]) -> Iterator[Record | BrokenRecord]:
        if self._where is None:
            yield from self._passing_over(wanted)
            return
        with contextlib.closing(self._picked(_Identify(self._id_column))) as records:
            # which record is which is known only when the condition has been asked
            yield from (record for record in itertools.islice(records, self._limit) if wanted(record.ordinal))

    def _passing_over(self, wanted: Callable[[int], bool]) -> Generator[Record | BrokenRecord, None, None]:
        """What is asked for; nothing is made of the other rows, and the file is not asked about them."""
        identify = _Identify(self._id_column)
        ordinal = 0
        for origin in self._origins:
            known = None if origin.is_fixed else self._states.setdefault(origin.shown, origin.state())
            left = None if self._limit is None else self._limit - ordinal
            for row, value in itertools.islice(origin.rows(), left):
                if wanted(ordinal):
                    if known is not None and origin.state() != known:
                        raise _changed(origin)
                    record_id, outcome = _identified(value, identify, _fallback_id(origin, row))
                    yield _made(ordinal, record_id, origin.shown, row, outcome)
                ordinal += 1
            if ordinal == self._limit:
                return
            if known is not None and origin.state() != known:
                raise _changed(origin)

    def _plain(self) -> Generator[Record | BrokenRecord, None, None]:
        """Neither `where` nor `id`: the fast way."""
        ordinal = 0
        for origin in self._origins:
            source, whole_id = origin.shown, origin.record_id
            for row, value in self._rows(origin):
                record_id = whole_id or f"{source}#{row}"
                if isinstance(value, str):
                    yield BrokenRecord(ordinal, record_id, source, row, value)
                else:
                    yield Record(ordinal, record_id, source, row, value)
                ordinal += 1

    def _picked(self, identify: _Identify) -> Generator[Record | BrokenRecord, None, None]:
        ordinal = 0
        matches = None if self._where is None else self._where.matcher()
        for origin in self._origins:
            source = origin.shown
            for row, value in self._rows(origin):
                judged = _judge(value, matches, identify, _fallback_id(origin, row))
                if judged is None:
                    continue
                record_id, outcome = judged
                yield _made(ordinal, record_id, source, row, outcome)
                ordinal += 1

    def _condition(self, condition: str) -> Where:
        known = self._origins[0].columns() or []
        where = Where(condition, known)
        for name in where.columns:
            self._require("where", name)
        if all(origin.is_text_table for origin in self._origins):
            refuse_numbers(condition, where.columns)
        return where

    def _require(self, key: str, column: str) -> None:
        """Refuse a column that no origin has. Opens further files only while it is not found."""
        seen: list[str] = []
        for origin in self._origins:
            names = origin.columns()
            # SQLite does not tell upper from lower case in names.
            if names is None or column in names or (key == "where" and column.lower() in map(str.lower, names)):
                return
            seen.extend(name for name in names if name not in seen)
        hint = did_you_mean(column, seen) or f"; there are: {_listed(seen)}"
        has_no = f"{self._origins[0].shown} has no" if len(self._origins) == 1 else "no file has a"
        problem = f"{has_no} column {column!r}{hint}"
        raise SourceError(key if key == "where" else f"input.{key}", problem)


class _Identify:
    """Takes the record id from a column."""

    def __init__(self, column: str | None) -> None:
        self._column = column
        self._columns_without: list[str] | None = None
        self._is_known = False

    def refuse_unknown_column(self) -> None:
        """Say that no record had the column, if that is so: a slip in the spec, not a fault of the records.

        Raises:
            SourceError: It is so.
        """
        if self._columns_without is not None and not self._is_known:
            names = self._columns_without
            hint = did_you_mean(str(self._column), names) or f"; there are: {_listed(names)}"
            raise SourceError("input.id", f"no record has a column {self._column!r}{hint}")

    def __call__(self, fields: Fields, fallback: str) -> tuple[str, str | None]:
        """Return the id, and why there is none in the record."""
        if self._column is None:
            return fallback, None
        value = fields.get(self._column)
        if isinstance(value, str) and value:
            self._is_known = True
            return value, None
        if isinstance(value, int) and not isinstance(value, bool):
            self._is_known = True
            return str(value), None
        return fallback, self._reason(fields, value)

    def _reason(self, fields: Mapping[str, object], value: object) -> str:
        if self._column in fields:
            self._is_known = True
            if value is None or value == "":
                return f"id column {self._column!r} is empty"
            return f"id column {self._column!r} holds {type(value).__name__}, not text or a whole number"
        if self._columns_without is not None:
            return f"no id column {self._column!r}"
        self._columns_without = list(fields)
        return f"no id column {self._column!r}; the record has: {_listed(list(fields))}"


def _judge(
    value: Fields | str, matches: Callable[[Fields], bool] | None, identify: _Identify, fallback: str
) -> tuple[str, Fields | str] | None:
    """Return id and fields, or id and what is wrong; None when `where` leaves the row out."""
    if isinstance(value, str):
        return fallback, value
    if matches is not None:
        try:
            if not matches(value):
                return None
        except Unanswerable as exc:
            return identify(value, fallback)[0], str(exc)
    return _identified(value, identify, fallback)


def _identified(value: Fields | str, identify: _Identify, fallback: str) -> tuple[str, Fields | str]:
    if isinstance(value, str):
        return fallback, value
    record_id, reason = identify(value, fallback)
    return record_id, value if reason is None else reason


def _fallback_id(origin: Origin, row: int) -> str:
    return origin.record_id or f"{origin.shown}#{row}"


def _made(ordinal: int, record_id: str, source: str, row: int, outcome: Fields | str) -> Record | BrokenRecord:
    if isinstance(outcome, str):
        return BrokenRecord(ordinal, record_id, source, row, outcome)
    return Record(ordinal, record_id, source, row, outcome)


def _changed(origin: Origin) -> SourceError:
    return SourceError(origin.shown, "has changed since the run began; start it again to go on")


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _MAX_SHOWN_COLUMNS} more" if len(names) > _MAX_SHOWN_COLUMNS else ""
    return ", ".join(names[:_MAX_SHOWN_COLUMNS]) + more if names else "nothing"
