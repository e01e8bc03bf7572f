"""Files as tasks meet them: finding what a record names, reading it, and naming what a task makes.

The one place where a task adapter touches the disk; called from threads only.
"""

from __future__ import annotations

import re
from hashlib import blake2b
from pathlib import Path
from typing import Final

from pipeline.errors import RecordUnusable
from pipeline.records import DIGEST_BYTES, Record

_UNSAFE: Final = re.compile(r"[^A-Za-z0-9._-]+")
_LONGEST_NAME: Final = 80
_LONGEST_SHOWN: Final = 300
_RESERVED: Final = re.compile(r"(?:con|prn|aux|nul|com[0-9]|lpt[0-9])(?:\.|$)")
"""Devices of Windows, whatever follows the first dot (learn.microsoft.com/windows/win32/fileio/naming-a-file)."""

_CHUNK: Final = 1 << 20


def located(record: Record, name: str) -> Path:
    """Find the file a record names: beside the table that names it, else from the working directory.

    Raises:
        RecordUnusable: There is none, or it is no file.
    """
    beside = Path(record.source).parent / name
    for path in (Path(name),) if name == record.source else (beside, Path(name)):
        if _is_file(path):
            return path
    raise RecordUnusable(f"there is no file {name[:_LONGEST_SHOWN]}")


def _is_file(path: Path) -> bool:
    """Whether there is one that can be looked at; a text that was taken for a path is longer than names may be."""
    try:
        return path.is_file()
    except OSError:
        return False


def fingerprint(path: Path, *, most: int) -> tuple[int, bytes]:
    """Return size and digest of a file's content; constant memory.

    Args:
        path: The file.
        most: Bytes it may have.

    Raises:
        RecordUnusable: It is empty, too large or cannot be read.
    """
    state = blake2b(digest_size=DIGEST_BYTES)
    size = 0
    try:
        with path.open("rb") as file:
            while chunk := file.read(_CHUNK):
                size += len(chunk)
                if size > most:
                    raise RecordUnusable(f"{path} is larger than {most / 1e6:g} MB")
                state.update(chunk)
    except OSError as exc:
        raise RecordUnusable(f"{path} cannot be read: {exc.strerror or exc}") from exc
    if not size:
        raise RecordUnusable(f"{path} is empty")
    return size, state.digest()


def content_of(path: Path, *, expected: bytes) -> bytes:
    """Read a file whole.

    Args:
        path: The file.
        expected: Digest of its content when the record was planned.

    Raises:
        RecordUnusable: It is gone or has changed since.
    """
    try:
        content = path.read_bytes()
    except OSError as exc:
        raise RecordUnusable(f"{path} cannot be read: {exc.strerror or exc}") from exc
    if blake2b(content, digest_size=DIGEST_BYTES).digest() != expected:
        raise RecordUnusable(f"{path} has changed since the run began; start it again to go on")
    return content


def media_name(record_id: str, suffix: str) -> str:
    """Name the file that a task makes for a record: safe anywhere, and another one for every id.

    Letters, digits, dots, dashes and underscores stay; where that changes the id, or leaves capitals that some file
    systems do not tell apart, part of its digest is added. A name that is a device's on Windows is preceded by a word.

    Args:
        record_id: Any text.
        suffix: With the dot.
    """
    stem = _UNSAFE.sub("-", record_id).strip(".-")[:_LONGEST_NAME]
    if _RESERVED.match(stem.lower()):
        stem = f"record-{stem}"
    if stem == record_id and stem == stem.lower():
        return stem + suffix
    mark = blake2b(record_id.encode("utf-8", "surrogatepass"), digest_size=6).hexdigest()
    return f"{stem or 'record'}-{mark}{suffix}"


def files_input(kind: str, which: str, examples: str) -> str:
    """Return the group ``input:`` of a job spec to start from, for a task whose records are files.

    Args:
        kind: ``images``, ``audio`` or ``documents``: the format, and the name of the folder.
        which: Formats that are taken, for people.
        examples: Two names in quotes.
    """
    return f"""\
input:
  {f"path: data/{kind}":<35}# folder, file, glob or list of them: {which}
  {f"# items: [{examples}]":<35}# instead of path: files named here
  {f"# format: {kind}":<35}# or a table with a column of paths: jsonl | csv | tsv | parquet
  # text: file                       # column with the path in a table; default: path
  # id: file_id                      # column with the record id in a table; default: the path
  keep: []                           # columns of a table carried to the output
  # limit: 1000                      # only the first records
  # where: lang = 'en'               # SQL condition on the columns of a table
"""
