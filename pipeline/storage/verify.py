"""Reads everything an output folder holds and compares it with what the manifest says."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, TypeAlias

import numpy as np
import pyarrow as pa

from pipeline.errors import OutputDamaged, OutputError
from pipeline.storage.answers import AnswerFile
from pipeline.storage.index import Words, read_sidecar, words_of
from pipeline.storage.journal import JournalReader
from pipeline.storage.layout import KINDS, Layout
from pipeline.storage.manifest import PartEntry, read_manifest
from pipeline.storage.parts import row_groups, sha256_of
from pipeline.storage.recovery import check_journals, parts_on_disk

_PATH: Final = "path"
_SOURCE: Final = "source"
_MEDIA: Final = "media/"

_Keys: TypeAlias = tuple[int, Words]
"""How many records are said to be there, and the keys of their rows."""


@dataclass(frozen=True, slots=True)
class _Journal:
    """What was found in a journal."""

    number: int
    keys: list[_Keys] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def verify_folder(path: Path) -> list[str]:
    """Check sizes, digests, page checksums, row counts, that no record is there twice and no file in media/ is missing.

    Reads every byte. A run that goes on may append and fold meanwhile; nothing may take rows out of parts.

    Returns:
        Problems, one line each; empty when all is well.
    """
    layout = Layout(path)
    # Before the manifest: what is folded meanwhile is then in a part that the manifest names.
    parts, generations = parts_on_disk(layout), layout.generations()
    journals = [_read_journal(layout, number) for number in generations]
    try:
        manifest = read_manifest(layout)
    except OutputDamaged as error:
        return [str(error)]
    if manifest is None:
        return [f"{layout.manifest}: missing"]
    problems: list[str] = []
    keys: list[_Keys] = []
    for kind in KINDS:
        for entry in manifest.parts(kind):
            problems += _part_problems(layout, kind, entry)
            try:
                keys += _sidecar_keys(layout, entry)
            except OutputDamaged as error:
                problems.append(str(error))
    for journal in journals:
        if journal.number >= manifest.journal_floor:
            keys += journal.keys
            problems += journal.problems
    try:
        check_journals(layout, manifest, parts, generations)
    except OutputDamaged as error:
        problems.append(str(error))
    problems += _answer_problems(layout)
    problems += _twice(keys)
    return problems


def _part_problems(layout: Layout, kind: str, entry: PartEntry) -> list[str]:
    path = layout.current(kind, entry.name, entry.staged)
    problem = _file_problem(path, entry.sha256)
    return [problem] if problem else [*_row_problems(layout, path, entry)]


def _sidecar_keys(layout: Layout, entry: PartEntry) -> list[_Keys]:
    """The keys of a part's records.

    Raises:
        OutputDamaged: They are not what was written.
    """
    sidecar = layout.sidecar(entry.index)
    if problem := _file_problem(sidecar, entry.index_sha256):
        raise OutputDamaged(problem)
    return [(entry.n_records, read_sidecar(sidecar, entry.rows))]


def _file_problem(file: Path, digest: str) -> str:
    try:
        if file.is_symlink():
            return f"{file}: is a symlink"
        if sha256_of(file) != digest:
            return f"{file}: its content is not what was written (sha256 differs)"
    except FileNotFoundError:
        return f"{file}: missing"
    except OSError as error:
        return f"{file}: cannot be read: {error.strerror}"
    return ""


def _row_problems(layout: Layout, path: Path, entry: PartEntry) -> Iterator[str]:
    rows, missing = 0, []
    try:
        for group in row_groups(path):
            rows += group.num_rows
            missing += _missing_files(layout, group)
    except OutputDamaged as error:
        yield str(error)
    else:
        if rows != entry.rows:
            yield f"{path}: {rows} rows where the manifest says {entry.rows}"
    yield from _said(path, missing)


def _missing_files(layout: Layout, rows: pa.Table | pa.RecordBatch) -> list[str]:
    """Names of the files that rows say they have and that are not there.

    A path that is also the record's source is that of an input, which was kept.
    """
    if not {_PATH, _SOURCE} <= set(rows.schema.names):
        return []
    named = zip(rows.column(_PATH).to_pylist(), rows.column(_SOURCE).to_pylist(), strict=True)
    return [
        name
        for name, source in named
        if isinstance(name, str) and name.startswith(_MEDIA) and name != source and not (layout.root / name).is_file()
    ]


def _said(path: Path, missing: list[str]) -> Iterator[str]:
    if missing:
        yield f"{path}: {len(missing)} files that its rows name are missing, the first is {missing[0]}"


def _read_journal(layout: Layout, number: int) -> _Journal:
    found = _Journal(number)
    reader = JournalReader(layout.journal(number))
    missing: list[str] = []
    try:
        for frame in reader:
            found.keys.append((frame.records, words_of(frame.keys)))
            if frame.is_result:
                missing += _missing_files(layout, frame.batch())
    except OutputDamaged as error:
        found.problems.append(str(error))
    if reader.damaged_frames:
        found.problems.append(f"{reader.path}: {reader.damaged_frames} damaged places; their records are pending again")
    found.problems.extend(_said(reader.path, missing))
    return found


def _answer_problems(layout: Layout) -> Iterator[str]:
    file = AnswerFile(layout.pieces)
    try:
        damaged = file.check()
    except OutputError as error:
        yield str(error)
    else:
        if damaged:
            yield f"{layout.pieces}: {damaged} damaged answers; the pieces they belong to will be asked again"
    finally:
        file.close()


def _twice(keys: list[_Keys]) -> Iterator[str]:
    """The rows of a record are in one place: each record that is said to be there has an id of its own."""
    if not keys:
        return
    ids = np.ascontiguousarray(np.concatenate([words for _, words in keys])[:, :2]).view("S16").ravel()
    n_said, n_found = sum(records for records, _ in keys), len(np.unique(ids))
    if n_said > n_found:
        yield f"{n_said - n_found} records are there twice"
    elif n_said < n_found:
        yield f"{n_found} records where the manifest says {n_said}"
