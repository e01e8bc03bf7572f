"""From what the spec names (files, globs, folders) to the files that are read, in order.

Looks at names only, never into files.
"""

from __future__ import annotations

import contextlib
import difflib
import glob
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from pipeline.errors import SourceError
from pipeline.sources.media import SUFFIXES, format_of
from pipeline.sources.origins import Format, InputFile, Media

_FORMATS: Final[dict[str, Format]] = {
    ".txt": "text",
    ".md": "text",
    ".text": "text",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "jsonl",
    ".csv": "csv",
    ".tsv": "tsv",
    ".parquet": "parquet",
    ".pq": "parquet",
}
_COMPRESSIONS: Final = {".gz": "gzip", ".zst": "zstd", ".bz2": "bz2"}


def find_files(path: str, chosen: Format | None, media: Media | None = None) -> list[InputFile]:
    """Find the files one entry of ``path`` means.

    A file is itself; a folder is all files below it whose suffix is known; a glob is all files it matches. Hidden files
    and folders (".x") are left out of folders and globs. Folders and globs are sorted by path.

    Args:
        path: Relative to the working directory, or absolute; "~" is the home folder.
        chosen: The format the spec gives; None to go by the suffix.
        media: What the job reads where it does not read texts.

    Raises:
        SourceError: Nothing is there, a suffix is unknown, or a folder holds both texts and tables.
    """
    expanded = os.path.expanduser(path)  # noqa: PTH111  # Path() would drop a trailing "/**"
    if os.path.isdir(expanded):  # noqa: PTH112
        return _of_folder(path, Path(expanded), chosen, media)
    if os.path.exists(expanded):  # noqa: PTH110  # before globbing: "a[1].txt" may be a file's name
        if not os.path.isfile(expanded):  # noqa: PTH113
            raise SourceError(path, 'is no regular file, and the input is read more than once; for a pipe use "-"')
        return [_described(Path(expanded), chosen, media)]
    if not glob.has_magic(expanded):
        raise SourceError(path, f"no such file or folder{_nearest(Path(expanded)) or _below(expanded)}")
    found = sorted((Path(name) for name in set(glob.iglob(expanded, recursive=True))), key=_sort_key)  # noqa: PTH207
    files = [_described(name, chosen, media) for name in found if name.is_file()]
    if not files:
        hint = "; it matches folders only: add /**" if found else _nearest(Path(expanded)) or _below(expanded)
        raise SourceError(path, f"matches no file{hint}")
    return files


def without_repeats(files: Iterable[InputFile]) -> list[InputFile]:
    """Drop files that were reached before, also through links; refuse documents whose ids collide.

    Raises:
        SourceError: Two folders hold a document of the same relative path, which is its record id.
    """
    seen: set[str] = set()
    documents: dict[str, str] = {}
    unique: list[InputFile] = []
    for file in files:
        real = "-" if file.spool is not None else os.path.realpath(file.path)
        if real in seen:
            continue
        seen.add(real)
        if file.record_id is not None:
            other = documents.setdefault(file.record_id, file.shown)
            if other != file.shown:
                problem = f"has the same record id ({file.record_id}) as {other}; give their common folder instead"
                raise SourceError(file.shown, problem)
        unique.append(file)
    return unique


def shown_path(path: Path) -> str:
    """Return `path` as users see it: relative to the working directory where it is below it, with forward slashes."""
    text = os.path.normpath(path)
    if path.is_absolute():
        relative = os.path.relpath(text)
        text = text if relative.startswith("..") else relative
    # A name that is not UTF-8 could not be written to a result file.
    return os.fsencode(text).decode("utf-8", "backslashreplace").replace(os.sep, "/")


def _sort_key(path: Path) -> str:
    return path.as_posix()


def _suffixes(path: Path) -> tuple[str, str | None]:
    """Return the suffix that tells the format, in lower case, and the compression."""
    suffix = path.suffix.lower()
    if compression := _COMPRESSIONS.get(suffix):
        return path.with_suffix("").suffix.lower(), compression
    return suffix, None


def _described(path: Path, chosen: Format | None, media: Media | None) -> InputFile:
    shown = shown_path(path)
    suffix, compression = _suffixes(path)
    format_ = chosen or format_of(suffix, media, _FORMATS)
    if format_ is None:
        what = f"suffix {suffix!r} says no format" if suffix else "the name has no suffix that says the format"
        raise SourceError(shown, f"{what}; known are {', '.join(_FORMATS)}, or set input.format")
    if format_ == "parquet" and compression:
        raise SourceError(shown, f"is a Parquet file inside {compression}; unpack it first")
    record_id = shown if format_ in SUFFIXES else None
    return InputFile(path=path, shown=shown, format=format_, compression=compression, record_id=record_id)


def _of_folder(path: str, folder: Path, chosen: Format | None, media: Media | None) -> list[InputFile]:
    """Return the files of a folder: each text one record, or tables; where the job reads media, those."""
    found = sorted(_walk(folder, set()), key=_sort_key)
    if not found:
        raise SourceError(path, "the folder holds no files")
    known = {name: format_of(_suffixes(name)[0], media, _FORMATS) for name in found}
    if chosen is None and media in known.values():
        chosen = media
    if chosen is not None:
        # A format given for names that say nothing (part-0001, x.log) means those; otherwise it picks among the names.
        picked = [name for name in found if known[name] == chosen] or [name for name in found if known[name] is None]
    else:
        picked = [name for name in found if known[name] in _FORMATS.values()]
        if {"text"} < {known[name] for name in picked}:
            text, table = (next(n for n in picked if (known[n] == "text") is kind) for kind in (True, False))
            problem = (
                f"the folder holds texts ({shown_path(text)}) and tables ({shown_path(table)}); set input.format to "
                "choose, or name the files with a glob"
            )
            raise SourceError(path, problem)
    if not picked:
        wanted = f"{chosen} files" if chosen else f"files of a known format ({', '.join(_FORMATS)})"
        raise SourceError(path, f"the folder holds no {wanted}; there is {shown_path(found[0])}")
    files = [_described(name, chosen, media) for name in picked]
    whole = {"text", *SUFFIXES}
    return [replace(file, record_id=_id_in(folder, file)) if file.format in whole else file for file in files]


def _id_in(folder: Path, file: InputFile) -> str:
    relative = os.fsencode(file.path.relative_to(folder)).decode("utf-8", "backslashreplace")
    return relative.replace(os.sep, "/")


def _walk(folder: Path, inside: set[str]) -> Iterator[Path]:
    """Yield the files below `folder` that are not hidden. A link back to a folder on the way down is not followed."""
    real = os.path.realpath(folder)
    if real in inside:
        return
    try:
        entries = [entry for entry in folder.iterdir() if not entry.name.startswith(".")]
    except OSError as exc:
        raise SourceError(shown_path(folder), f"cannot be read: {exc.strerror}") from exc
    for entry in entries:
        if entry.is_dir():
            yield from _walk(entry, inside | {real})
        elif entry.is_file():
            yield entry


def _below(path: str) -> str:
    """Say where a relative path was looked for: in the folder the command was started in, not in that of the spec."""
    return "" if os.path.isabs(path) else f" (looked for in {Path.cwd()}, where this was started)"  # noqa: PTH117


def _nearest(path: Path) -> str:
    """Return a hint that names what is there instead of the first part of `path` that is not; or nothing."""
    parent = Path(path.anchor)
    parts = list(path.parts[1 if path.anchor else 0 :])
    while parts and not glob.has_magic(parts[0]) and os.path.exists(parent / parts[0]):  # noqa: PTH110  # never raises
        parent /= parts.pop(0)
    if not parent.is_dir():
        return f"; {shown_path(parent)} is a file"
    names: list[str] = []
    with contextlib.suppress(OSError):
        names = sorted(os.listdir(parent))  # noqa: PTH208
    missing = parts[0] if parts else ""
    if missing in names:
        return f"; {shown_path(parent / missing)} is a link that leads nowhere"
    visible = [name for name in names if not name.startswith(".")]
    return did_you_mean(missing, visible, prefix="" if parent == Path() else shown_path(parent).rstrip("/") + "/")


def did_you_mean(name: str, names: Sequence[str], *, prefix: str = "", quote: str = "") -> str:
    """Return ``; did you mean …?`` with the name nearest to `name`, or nothing when none is near.

    A header that is one cell with semicolons or tabs in it gets a hint at that instead.
    """
    if len(names) == 1 and (sign := next((sign for sign in ";\t" if sign in names[0]), "")):
        what = "semicolons; write it with commas" if sign == ";" else "tabs; set input.format: tsv"
        return f"; its header {names[0]!r} seems to be separated by {what}"
    by_lower = {other.lower(): other for other in reversed(names)}
    near = difflib.get_close_matches(name.lower(), list(by_lower), n=1, cutoff=0.5)
    return f"; did you mean {quote}{prefix}{by_lower[near[0]]}{quote}?" if near else ""
