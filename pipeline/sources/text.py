"""Text: one record per line, or one per file. The only column is ``text``."""

from __future__ import annotations

from collections.abc import Iterator

from pipeline.sources.origins import MAX_LINE_BYTES, InputFile, RawRow
from pipeline.sources.streams import OVERSIZE_REASON, Oversize, line_blocks, text_chunks, why_not_utf8


def rows(file: InputFile) -> Iterator[RawRow]:
    """Yield one row per line that is not blank; blank lines count for the row number.

    Raises:
        SourceError: As `streams.line_blocks`.
    """
    first = 0
    for block in line_blocks(file):
        for row, line in enumerate(block, first):
            if isinstance(line, Oversize):
                yield row, OVERSIZE_REASON
                continue
            try:
                text = line.decode()
            except UnicodeDecodeError as exc:
                yield row, why_not_utf8(exc, "line")
                continue
            text = text.removesuffix("\r")
            if text and not text.isspace():
                yield row, {"text": text}
        first += len(block)


def document(file: InputFile) -> Iterator[RawRow]:
    """Yield the whole file as one row, line ends as they are.

    Raises:
        SourceError: As `streams.text_chunks`.
    """
    parts: list[bytes] = []
    size = 0
    for chunk in text_chunks(file):
        size += len(chunk)
        if size > MAX_LINE_BYTES:
            yield 0, f"file is longer than {MAX_LINE_BYTES // 1024 // 1024} MiB"
            return
        parts.append(chunk)
    content = b"".join(parts)
    try:
        yield 0, {"text": content.decode()}
    except UnicodeDecodeError as exc:
        yield 0, why_not_utf8(exc, "file")
