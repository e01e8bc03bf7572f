"""The ``where`` filter: an SQL condition over the columns of one record, evaluated by SQLite.

Takes the condition as text, hands on a predicate. The database is empty and in memory, and nothing but reading and
calling functions is authorised, so a condition can do no more than compute.

What users should know:

- Columns are written as they are, or as ``[my column]``. Double quotes work for columns of tables (csv, Parquet); a
  name in double quotes that is no column is a text to SQLite, so ``lang = "en"`` works as long as no column is
  called ``en``.
- Values of csv and tsv are text: ``CAST(year AS INTEGER) > 2000``. Comparing such a column with a bare number is
  refused, for SQLite holds every text to be greater than every number.
- Lists and objects are JSON text: ``json_extract(meta, '$.lang') = 'en'``, ``meta ->> 'lang' = 'en'``,
  ``EXISTS (SELECT 1 FROM json_each(tags) WHERE value = 'x')``.
- A column the record does not have is NULL.
"""

from __future__ import annotations

import datetime as dt
import re
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from typing import Final

import orjson

from pipeline.errors import SourceError

MAX_CONDITION_CHARS: Final = 2000
_MAX_COLUMNS: Final = 50
_MAX_VALUE_BYTES: Final = 128 * 1024 * 1024
# SQLite calls back once per so many steps of its machine; a sane condition takes some hundred.
_STEPS_PER_CHECK: Final = 100_000
_MAX_CHECKS: Final = 100
_MAX_INT: Final = 2**63 - 1

# Two readings must select the same records.
_REFUSED_FUNCTIONS: Final = frozenset({"load_extension", "random", "randomblob"})
_ALLOWED: Final = frozenset({sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_FUNCTION})

_QUOTED: Final = re.compile(
    r"""'(?:[^']|'')*'|"(?:[^"]|"")*"|`(?:[^`]|``)*`|\[[^\]]*\]|--[^\n]*|/\*.*?\*/""", re.DOTALL
)
_OPERATOR: Final = r"(?:<=|>=|<>|!=|==|<|>|=)"
_NUMBER: Final = r"[-+]?(?:\d+\.?\d*|\.\d+)"

_SqlValue = str | int | float | bytes | None


class Unanswerable(Exception):
    """The condition fails on this one record, e.g. `json_extract` on a text that is not JSON."""


class Where:
    """A condition that is known to be a valid one.

    Args:
        condition: An SQL expression.
        known: Column names known up front; needed only for names in double quotes.

    Attributes:
        columns: The columns the condition uses.

    Raises:
        SourceError: It is not one SQL expression, is too long, or asks for more than computing.
    """

    def __init__(self, condition: str, known: Sequence[str] = ()) -> None:
        if len(condition) > MAX_CONDITION_CHARS:
            raise _refusal(f"{len(condition)} characters, at most {MAX_CONDITION_CHARS} are taken")
        _check_one_expression(condition)
        self._condition = condition
        lowered = condition.lower()
        named = [name for name in known if name.lower() in lowered]
        self.columns: list[str] = []
        connection = _connect()
        try:
            self._discover(connection, named)
        finally:
            connection.close()

    def matcher(self) -> Callable[[Mapping[str, object]], bool]:
        """Return a predicate with a database of its own, for one thread at a time.

        The predicate raises `Unanswerable` where the condition fails on a record, and `SourceError` where it does
        not come to an end.
        """
        connection = _connect()
        checks = 0

        def too_long() -> bool:
            nonlocal checks
            checks += 1
            return checks > _MAX_CHECKS

        connection.set_progress_handler(too_long, _STEPS_PER_CHECK)
        statement = self._statement(self.columns, "?")
        execute = connection.cursor().execute
        columns = self.columns

        def matches(fields: Mapping[str, object]) -> bool:
            nonlocal checks
            checks = 0
            get = fields.get
            try:
                (answer,) = execute(statement, [_bound(get(name)) for name in columns]).fetchone()
            except (sqlite3.Error, UnicodeEncodeError, orjson.JSONEncodeError) as exc:
                if checks > _MAX_CHECKS:
                    raise _refusal("it does not come to an end on one of the records") from exc
                raise Unanswerable(f"where: {exc}") from exc
            return bool(answer)

        return matches

    def _statement(self, columns: Sequence[str], value: str) -> str:
        # The line break ends a comment at the end of the condition.
        named = ", ".join(f'{value} AS "{name.replace(chr(34), chr(34) * 2)}"' for name in columns)
        return f"SELECT (\n{self._condition}\n) IS TRUE FROM (SELECT {named or 'NULL'})"  # noqa: S608

    def _discover(self, connection: sqlite3.Connection, named: Sequence[str]) -> None:
        """Find the columns by asking SQLite what it misses."""
        columns: list[str] = [*named]
        while True:
            try:
                # Preparing is enough; a condition that counts to a billion is not run.
                connection.execute("EXPLAIN " + self._statement(columns, "NULL")).close()
            except (sqlite3.Error, sqlite3.Warning, UnicodeEncodeError) as exc:
                missing = str(exc).removeprefix("no such column: ")
                if missing == str(exc):
                    # the parenthesis that SQLite stumbles over may be the one that ends what is put around it
                    at_end = ", perhaps at the end of the condition" if 'near ")"' in missing else ""
                    raise _refusal(f"{exc}{at_end}") from exc
                if missing in columns:
                    table, _, name = missing.rpartition(".")
                    hint = f"; for a value inside {table} write json_extract({table}, '$.{name}')" if table else ""
                    raise _refusal(f"no such column: {missing}{hint}") from exc
                if len(columns) - len(named) >= _MAX_COLUMNS:
                    raise _refusal(f"more than {_MAX_COLUMNS} columns") from exc
                columns.append(missing)
            else:
                self.columns = columns
                return


def refuse_numbers(condition: str, columns: Sequence[str]) -> None:
    """Refuse a comparison of a column whose values are text with a bare number: it would never be what is meant.

    Args:
        condition: The condition.
        columns: Columns whose values are always text.

    Raises:
        SourceError: There is such a comparison.
    """
    text = re.sub(r"'(?:[^']|'')*'", "''", condition)
    for name in columns:
        column = rf'(?:(?<!\w){re.escape(name)}(?!\w)|["`\[]{re.escape(name)}["`\]])'
        before = rf"(?:^|\(|,|\b(?:and|or|not|when|then|else)\b)\s*{column}\s*"
        follows = rf"(?:{_OPERATOR}|(?:not\s+)?between\b|(?:not\s+)?in\s*\()\s*{_NUMBER}"
        after = rf"(?<![\w.]){_NUMBER}\s*{_OPERATOR}\s*{column}\s*(?:$|\)|,|\b(?:and|or|then|else|when|end)\b)"
        if re.search(f"{before}{follows}|{after}", text, re.IGNORECASE):
            written = name if name.isidentifier() else f"[{name}]"
            raise _refusal(
                f"column {name} is text in this input; write CAST({written} AS REAL) to compare with numbers"
            )


def _refusal(problem: str) -> SourceError:
    return SourceError("where", problem)


def _connect() -> sqlite3.Connection:
    # The engine may read in a thread of a pool; one reading is never in two threads at a time.
    connection = sqlite3.connect(":memory:", check_same_thread=False, isolation_level=None)
    connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, _MAX_VALUE_BYTES)
    connection.setlimit(sqlite3.SQLITE_LIMIT_ATTACHED, 0)
    # Looking into lists is worth having; making the table functions known takes more rights than using them.
    for function in ("json_each", "json_tree"):
        connection.execute(f"SELECT 1 FROM {function}('[]')").close()  # noqa: S608
    connection.set_authorizer(_authorize)
    return connection


def _authorize(action: int, _first: str | None, second: str | None, _database: str | None, _inner: str | None) -> int:
    if action not in _ALLOWED:
        return sqlite3.SQLITE_DENY
    if action == sqlite3.SQLITE_FUNCTION and (second or "").lower() in _REFUSED_FUNCTIONS:
        return sqlite3.SQLITE_DENY
    return sqlite3.SQLITE_OK


def _check_one_expression(condition: str) -> None:
    """Refuse what would close the parentheses the condition is put into, and parameters."""
    if not condition.strip():
        raise _refusal("the condition is empty")
    bare = _QUOTED.sub(" x ", condition)
    depth = 0
    for sign in bare:
        depth += (sign == "(") - (sign == ")")
        if depth < 0:
            break
    if depth:
        raise _refusal("parentheses do not match")
    for sign, name in (("'", "a quote"), ('"', "a quote"), ("`", "a quote"), ("[", "a bracket"), ("/*", "a comment")):
        if sign in bare:
            raise _refusal(f"{name} is not closed")
    for sign in ";?@$\0":
        if sign in bare:
            raise _refusal(f"{sign!r} has no place in a condition")
    if re.search(r":\w", bare):
        raise _refusal("':' has no place in a condition")


def _bound(value: object) -> _SqlValue:
    """Return what SQLite is given for a value."""
    if value is None or isinstance(value, str | float | bytes):
        return value
    if isinstance(value, int):
        return value if -_MAX_INT <= value <= _MAX_INT else float(value)
    if isinstance(value, dict | list):
        return orjson.dumps(value, default=str, option=orjson.OPT_NON_STR_KEYS).decode()
    if isinstance(value, dt.datetime | dt.date | dt.time):
        return value.isoformat()
    return str(value)
