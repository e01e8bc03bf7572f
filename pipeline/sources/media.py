"""Media and documents: one record per file, which is not opened here. The only column is ``path``.

The path is relative to the working directory, as `InputFile.shown`; who sends the file opens it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Final

from pipeline.sources.origins import Format, InputFile, Media, RawRow

SUFFIXES: Final[dict[Media, tuple[str, ...]]] = {
    "audio": (
        ".wav",
        ".mp3",
        ".flac",
        ".ogg",
        ".oga",
        ".opus",
        ".m4a",
        ".m4b",
        ".aac",
        ".mp4",
        ".m4v",
        ".mov",
        ".webm",
        ".mka",
        ".mkv",
        ".wma",
        ".aif",
        ".aiff",
        ".au",
        ".amr",
        ".3gp",
        ".gsm",
    ),
    "images": (".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tif", ".tiff"),
    "documents": (".pdf", ".docx", ".xlsx", ".xlsm", ".xls", ".odt", ".ods", ".html", ".htm", ".xml", ".svg", ".et"),
}
"""Files taken for media by their names.

Documents: developers.cloudflare.com/workers-ai/features/markdown-conversion/, 2026-11-22.
"""

ALSO_DOCUMENTS: Final = (*SUFFIXES["images"], ".csv", ".txt", ".md")
"""Files that are documents where a job reads documents."""


def format_of(suffix: str, media: Media | None, tables: dict[str, Format]) -> Format | None:
    """Say how a file with this suffix (lower case, with the dot) is read.

    Args:
        suffix: Of the file.
        media: What the job reads, None for texts.
        tables: Formats of texts and tables by suffix.
    """
    if media == "documents" and suffix in (*SUFFIXES["documents"], *ALSO_DOCUMENTS):
        return "documents"
    if media is not None and suffix in SUFFIXES[media]:
        return media
    return tables.get(suffix)


def rows(file: InputFile) -> Iterator[RawRow]:
    """Yield the file itself; its path travels as text, so its name has to be one."""
    try:
        os.fsencode(file.path).decode()
    except UnicodeDecodeError:
        yield 0, "the name of the file is not UTF-8; rename the file"
    else:
        yield 0, {"path": file.shown}
