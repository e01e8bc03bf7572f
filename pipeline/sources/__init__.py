"""The input: files, folders, stdin or items of the spec, as a stream of records.

`open_source` takes the ``input:`` group of a spec and hands on a `RecordSource`, which can be read any number of times
in constant memory. Which columns a task sends or keeps is not decided here: records carry all their fields. Never
writes anything but the private copy of stdin, and opens no network connection.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path
from typing import BinaryIO, Final

from pipeline.errors import SourceError
from pipeline.sources import items, jsonl, parquet, tables, text
from pipeline.sources import media as media_files
from pipeline.sources.fingerprint import NEVER_SETTLED, Fingerprint, Trace, state_of, status_of, trace_of
from pipeline.sources.origins import InputFile, Media, RawRow
from pipeline.sources.paths import find_files, without_repeats
from pipeline.sources.reading import Origin, RecordSource
from pipeline.sources.spool import Spool
from pipeline.sources.streams import readable
from pipeline.spec.model import InputSpec

__all__ = ["Fingerprint", "RecordSource", "open_source"]

_ROWS: Final[dict[str, Callable[[InputFile], Iterator[RawRow]]]] = {
    "text": text.rows,
    "jsonl": jsonl.rows,
    "csv": tables.rows,
    "tsv": tables.rows,
    "parquet": parquet.rows,
    **dict.fromkeys(media_files.SUFFIXES, media_files.rows),
}
_COLUMNS: Final[dict[str, Callable[[InputFile], list[str]]]] = {
    "csv": tables.columns,
    "tsv": tables.columns,
    "parquet": parquet.columns,
}
_BINARY_BEGINNINGS: Final = {
    b"\x1f\x8b": "gzip data; unpack it on the way, e.g. with gunzip -c",
    b"\x28\xb5\x2f\xfd": "zstd data; unpack it on the way, e.g. with zstd -dc",
    b"BZh": "bzip2 data; unpack it on the way, e.g. with bunzip2 -c",
    b"PAR1": "a Parquet file; set input.format: parquet",
}


def _stdin() -> BinaryIO:
    """The process's stdin; an empty one where whoever started it has closed it."""
    return sys.stdin.buffer if sys.stdin is not None else BytesIO()


def open_source(
    spec: InputSpec, *, media: Media | None = None, stdin: BinaryIO | None = None, spool_dir: Path | None = None
) -> RecordSource:
    """Find the input of a job and check what can be checked before reading it.

    Args:
        spec: Group ``input:`` of the job spec.
        media: What the job reads where it does not read texts: files of this kind are records.
        stdin: What "-" means; default the process's stdin. Its first bytes are read here unless a format is given.
        spool_dir: Folder for the copy of stdin; default the system's folder for temporary files.

    Returns:
        The source; `RecordSource.close` it when stdin may be part of it.

    Raises:
        SourceError: A path leads nowhere, a format is unknown, `where` is not a condition, or `where` or `id` name a
            column that the input is known not to have.
    """
    origins: list[Origin] = []
    try:
        if spec.items is not None:
            origins.append(_Items(spec.items))
        else:
            paths = (spec.path,) if isinstance(spec.path, str) else spec.path or ()
            files = _find(paths, spec, media, stdin or _stdin(), spool_dir)
            origins.extend(_FileOrigin(file) for file in files)
        return RecordSource(origins, id_column=spec.id, where=spec.where, limit=spec.limit)
    except BaseException:
        for origin in origins:
            origin.close()
        raise


def _find(
    paths: tuple[str, ...], spec: InputSpec, media: Media | None, stdin: BinaryIO, spool_dir: Path | None
) -> list[InputFile]:
    with contextlib.ExitStack() as undo:
        files: list[InputFile] = []
        spool: Spool | None = None
        for path in paths:
            if path != "-":
                files.extend(find_files(path, spec.format, media))
            elif spool is None:
                with readable("-"):
                    spool = Spool(stdin, spool_dir)
                undo.callback(spool.close)
                file = InputFile(path=spool.path, shown="-", format=spec.format or "text", spool=spool)
                files.append(file if spec.format else _guessed(file, spool))
        unique = without_repeats(files)
        undo.pop_all()
        return unique


def _guessed(file: InputFile, spool: Spool) -> InputFile:
    """JSON lines if the first sign is "{", else text."""
    head = b""
    with readable(file.shown):
        for chunk in spool.chunks():
            head = (head + chunk).removeprefix(b"\xef\xbb\xbf").lstrip()
            if len(head) >= 4:
                break
    for beginning, what in _BINARY_BEGINNINGS.items():
        if head.startswith(beginning):
            raise SourceError(file.shown, f"is {what}")
    return replace(file, format="jsonl") if head.startswith(b"{") else file


@dataclass(frozen=True, slots=True)
class _FileOrigin:
    """A file, or what came through stdin."""

    file: InputFile

    @property
    def shown(self) -> str:
        return self.file.shown

    @property
    def record_id(self) -> str | None:
        return self.file.record_id

    @property
    def is_text_table(self) -> bool:
        return self.file.format in {"csv", "tsv", "text"}

    @property
    def is_media(self) -> bool:
        return self.file.format in media_files.SUFFIXES

    @property
    def is_fixed(self) -> bool:
        return self.file.spool is not None

    def rows(self) -> Iterator[RawRow]:
        whole = self.file.format == "text" and self.file.record_id is not None
        read = text.document if whole else _ROWS[self.file.format]
        return read(self.file)

    def columns(self) -> list[str] | None:
        if self.file.format == "text":
            return ["text"]
        if self.file.format in media_files.SUFFIXES:
            return ["path"]
        read = _COLUMNS.get(self.file.format)
        return None if read is None else read(self.file)

    def kind_of(self, column: str) -> str | None:
        return parquet.kind_of(self.file, column) if self.file.format == "parquet" else None

    def state(self) -> bytes:
        return state_of(status_of(self.file.path, self.file.shown))

    def trace(self) -> Trace:
        if self.file.spool is not None:
            # What came through a pipe cannot change, and is not known to be what came through another one.
            name = self.file.path.name.encode()
            return Trace(state=name, identity=name, changed_s=NEVER_SETTLED)
        return trace_of(self.file.path, self.file.shown)

    def close(self) -> None:
        if self.file.spool is not None:
            self.file.spool.close()


@dataclass(frozen=True, slots=True)
class _Items:
    """The items of the spec."""

    items: tuple[items.Item, ...]

    @property
    def shown(self) -> str:
        return "items"

    @property
    def record_id(self) -> str | None:
        return None

    @property
    def is_text_table(self) -> bool:
        return False

    @property
    def is_media(self) -> bool:
        return False

    @property
    def is_fixed(self) -> bool:
        return True

    def rows(self) -> Iterator[RawRow]:
        return items.rows(self.items)

    def columns(self) -> list[str] | None:
        return items.columns(self.items)

    def kind_of(self, column: str) -> str | None:  # noqa: ARG002 - each item has values of its own
        return None

    def state(self) -> bytes:
        return repr(self.items).encode("utf-8", "surrogatepass")

    def trace(self) -> Trace:
        state = self.state()
        return Trace(state=state, identity=state, changed_s=0.0)

    def close(self) -> None:
        """Nothing was made."""
