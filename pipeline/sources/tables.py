"""Comma- and tab-separated values with a header row. All values are text.

Quoting as the standard library reads it (quotes doubled inside quotes, line ends allowed inside quotes). Blank lines
are no rows and are not counted.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from typing import Final

from pipeline.errors import SourceError
from pipeline.sources.origins import MAX_LINE_BYTES, InputFile, RawRow
from pipeline.sources.streams import OVERSIZE_REASON, Oversize, line_blocks, why_not_utf8

_DELIMITERS: Final = {"csv": ",", "tsv": "\t"}
_MIB: Final = 1024 * 1024
# The csv reader takes four bytes per character, and a row this long over several lines is a quote that never closes.
_MAX_QUOTED_BYTES: Final = 16 * _MIB


class _Lines:
    """Feeds the csv reader line by line and remembers what the reader cannot tell.

    Attributes:
        given: Lines given for the row that is being read.
        flaw: What is wrong with one of them.
        number: 1-based line the row being read began at.
        ended: The file has no more lines.
    """

    def __init__(self, file: InputFile) -> None:
        self.given = 0
        self.flaw: str | None = None
        self.number = 1
        self.ended = False
        self._shown = file.shown
        self._blocks = line_blocks(file)
        self._row_bytes = 0

    def begin_row(self) -> None:
        """Forget the row before."""
        self.number += self.given
        self.given = 0
        self._row_bytes = 0
        self.flaw = None

    def __iter__(self) -> Iterator[str]:
        for block in self._blocks:
            for line in block:
                self.given += 1
                if isinstance(line, Oversize):
                    self._hold(MAX_LINE_BYTES)
                    self.flaw = OVERSIZE_REASON
                    yield "-\n"
                    continue
                self._hold(len(line))
                try:
                    yield line.decode() + "\n"
                except UnicodeDecodeError as exc:
                    self.flaw = why_not_utf8(exc, "line")
                    yield line.decode(errors="replace") + "\n"
        self.ended = True

    def _hold(self, n_bytes: int) -> None:
        self._row_bytes += n_bytes
        if self._row_bytes > _MAX_QUOTED_BYTES and self.given > 1:
            problem = f"a quote opened in line {self.number} is not closed within {_MAX_QUOTED_BYTES // _MIB} MiB"
            raise SourceError(self._shown, problem)


def columns(file: InputFile) -> list[str]:
    """Return the names in the header row.

    Raises:
        SourceError: No header, or a name is empty or there twice; or as `streams.line_blocks`.
    """
    lines = _Lines(file)
    return _header(file, lines, _reader(file, lines))


def rows(file: InputFile) -> Iterator[RawRow]:
    """Yield the rows below the header.

    Raises:
        SourceError: As `columns`; or a quote is never closed, which leaves the rest of the file unreadable.
    """
    lines = _Lines(file)
    reader = _reader(file, lines)
    header = _header(file, lines, reader)
    width = len(header)
    row = 0
    while True:
        cells = _next_cells(file, lines, reader)
        if cells is None:
            return
        if not cells:
            continue
        if isinstance(cells, str):
            yield row, cells
        elif lines.flaw is not None:
            yield row, lines.flaw
        elif len(cells) != width:
            yield row, f"{len(cells)} {'cell' if len(cells) == 1 else 'cells'}, header has {width}"
        else:
            yield row, dict(zip(header, cells, strict=True))
        row += 1


def _reader(file: InputFile, lines: _Lines) -> Iterator[list[str]]:
    # The limit belongs to the whole process: only ever raise it.
    csv.field_size_limit(max(csv.field_size_limit(), MAX_LINE_BYTES))
    return csv.reader(lines, delimiter=_DELIMITERS[file.format])


def _next_cells(file: InputFile, lines: _Lines, reader: Iterator[list[str]]) -> list[str] | str | None:
    """Return the next row, what is wrong with it, or None at the end of the file."""
    lines.begin_row()
    try:
        cells = next(reader, None)
    except csv.Error as exc:
        return "a carriage return outside quotes" if "new-line" in str(exc) else f"not readable: {exc}"
    # The reader closes an open quote by itself at the end of the file; only it ran into that end inside a row.
    if cells is not None and lines.ended:
        raise SourceError(file.shown, f"a quote opened in line {lines.number} is never closed")
    return cells


def _header(file: InputFile, lines: _Lines, reader: Iterator[list[str]]) -> list[str]:
    header: list[str] | str | None = []
    while header == []:
        header = _next_cells(file, lines, reader)
    if header is None:
        raise SourceError(file.shown, "has no header row")
    if isinstance(header, str) or lines.flaw is not None:
        raise SourceError(file.shown, f"header row: {lines.flaw or header}")
    for position, name in enumerate(header):
        if not name.strip():
            raise SourceError(file.shown, f"header row: column {position + 1} has no name")
        if name in header[:position]:
            raise SourceError(file.shown, f"header row: column {name!r} is there twice")
    return header
