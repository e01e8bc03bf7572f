"""Files that belong to result rows (images, speech, subtitles): written whole, durable before their row is.

Takes `File` values, hands on files in ``media/``. A name that is there already is replaced: it belongs to the same
record, whose row was not kept.
"""

from __future__ import annotations

import os
from collections.abc import Iterable

from pipeline.errors import OutputError
from pipeline.records import File, Row
from pipeline.storage.atomic import write_new
from pipeline.storage.disk import Disk
from pipeline.storage.layout import Layout


def write_media(disk: Disk, layout: Layout, rows: Iterable[Row]) -> None:
    """Write the files of rows that are about to be journalled. All are durable on return.

    Raises:
        OutputUnwritable: The disk refuses.
        OutputError: A name is not that of a plain file.
    """
    files = [file for row in rows for file in row.files]
    for file in files:
        _write(disk, layout, file)
    if files:
        disk.dirsync(layout.media)


def _write(disk: Disk, layout: Layout, file: File) -> None:
    if file.name in {"", ".", ".."} or os.sep in file.name or "\0" in file.name:
        raise OutputError(f"{layout.media}: {file.name!r} is not a file name")
    temporary = layout.temporary("media")
    write_new(disk, temporary, file.content)
    disk.rename(temporary, layout.media / file.name, replace=True)
