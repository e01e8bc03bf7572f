"""What the readers of this room share: the input file as found, and the raw row as read."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from pipeline.sources.spool import Spool

Format = Literal["text", "jsonl", "csv", "tsv", "parquet", "audio", "images", "documents"]
Media = Literal["audio", "images", "documents"]

MAX_LINE_BYTES: Final = 64 * 1024 * 1024
"""A longer line (or whole text file) becomes a broken record; it is never held in memory."""

WHOLE_NUMBERS: Final = "whole numbers"
"""A kind of column: as ids they are taken as their decimal text."""

Fields = dict[str, object]

RawRow = tuple[int, Fields | str]
"""Row number inside the file, 0-based, and its fields; a plain text instead of fields says why the row is unusable."""


@dataclass(frozen=True, slots=True)
class InputFile:
    """One file to read.

    Attributes:
        path: Where to open it.
        shown: How users see it: relative to the working directory, with forward slashes; "-" for stdin.
        format: How its content is laid out.
        compression: "gzip", "zstd", "bz2" or None.
        record_id: Set when the file as a whole is one record: its path relative to the folder that was given.
        spool: Keeps what came through stdin; None for files.
    """

    path: Path
    shown: str
    format: Format
    compression: str | None = None
    record_id: str | None = None
    spool: Spool | None = None
