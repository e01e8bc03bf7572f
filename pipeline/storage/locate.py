"""Where one record's rows lie: in which part and at which place, or in a journal that no part holds yet.

Looks keys up in the sidecars and reads the row groups they are in. Takes no lock and writes nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.errors import OutputDamaged
from pipeline.storage.index import Words, key_array, read_sidecar, split, words_of
from pipeline.storage.journal import JournalReader
from pipeline.storage.layout import KINDS, RESULTS, Layout
from pipeline.storage.lock import is_held, read_holder
from pipeline.storage.manifest import Manifest, read_manifest
from pipeline.storage.parts import groups_with
from pipeline.storage.state import steadily

By = Literal["id", "payload"]

# Where the key stands in a row of four words.
_FIRST_WORD: Final[Mapping[By, int]] = {"id": 0, "payload": 2}
_COST: Final = "neurons"


@dataclass(frozen=True, slots=True)
class Located:
    """What is stored of a record.

    Attributes:
        kind: ``results`` or ``failures``.
        file: Relative to the output folder.
        row: 0-based row in the part; None in a journal, which moves into a part later.
        payload_key: Digest of what was sent.
        values: The columns asked for that it has; of several rows those of the first, but the neurons of all.
        n_rows: Rows of the record, from `row` on.
    """

    kind: str
    file: str
    row: int | None
    payload_key: bytes
    values: Mapping[str, Any]
    n_rows: int = 1


def locate(path: Path, key: bytes, *, columns: Mapping[str, list[str]], by: By = "id") -> Located | None:
    """Find the first record with a key, a result before a failure; None where there is none.

    Args:
        path: The output folder.
        key: Digest of the record id, or of what was sent.
        columns: Which columns to read, for ``results`` and for ``failures``.
        by: What `key` is.

    Raises:
        OutputDamaged: The manifest, an index or the part cannot be read.
    """
    layout = Layout(path)
    return steadily(layout, lambda manifest: next(_rows(layout, manifest, key, columns, by), None))


def _rows(
    layout: Layout, manifest: Manifest, key: bytes, columns: Mapping[str, list[str]], by: By
) -> Iterator[Located]:
    for kind in KINDS:
        for entry in manifest.parts(kind):
            words = read_sidecar(layout.sidecar(entry.index), entry.rows)
            if (place := _find(words, key, by)) is not None:
                row, n_rows = place
                values = _read(layout.current(kind, entry.name, entry.staged), row, n_rows, columns[kind])
                yield Located(kind, f"{kind}/{entry.name}", row, words[row, 2:].tobytes(), values, n_rows)
        for number in layout.generations():
            if number >= manifest.journal_floor:
                yield from _in_journal(layout, kind, number, key, columns[kind], by)


def _find(words: Words, key: bytes, by: By) -> tuple[int, int] | None:
    """Where the first record with a key begins, and how many rows it has."""
    (high,), (low,) = split(key_array([key]))
    first = _FIRST_WORD[by]
    at = np.flatnonzero((words[:, first] == high) & (words[:, first + 1] == low))
    if not len(at):
        return None
    row = int(at[0])
    others = np.flatnonzero(np.any(words[row:, :2] != words[row, :2], axis=1))
    return row, int(others[0]) if len(others) else len(words) - row


def _read(path: Path, row: int, n_rows: int, columns: list[str]) -> dict[str, Any]:
    """Read the rows of one record from a part; touches only the row groups they are in."""
    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            there = [name for name in columns if name in file.schema_arrow.names]
            found = [
                file.read_row_group(number, columns=there).slice(first, count)
                for number, first, count in groups_with(file, row, n_rows)
            ]
            if sum(group.num_rows for group in found) == n_rows:
                return _values(pa.concat_tables(found), there)
    except (pa.ArrowException, OSError) as error:
        raise OutputDamaged(f"{path}: cannot be read: {error}") from error
    raise OutputDamaged(f"{path}: has fewer rows than its index; restore it or start over with --force-new")


def _in_journal(layout: Layout, kind: str, number: int, key: bytes, columns: list[str], by: By) -> Iterator[Located]:
    path = layout.journal(number)
    for frame in JournalReader(path):
        if frame.is_result is not (kind == RESULTS):
            continue
        words = words_of(frame.keys)
        if (place := _find(words, key, by)) is not None:
            row, n_rows = place
            batch = frame.batch().slice(row, n_rows)
            there = [name for name in columns if name in batch.schema.names]
            values = _values(batch, there)
            yield Located(kind, str(path.relative_to(layout.root)), None, words[row, 2:].tobytes(), values, n_rows)


def _values(rows: Any, columns: list[str]) -> dict[str, Any]:  # noqa: ANN401 - a table or a batch
    values = {name: rows.column(name)[0].as_py() for name in columns}
    if _COST in values and rows.num_rows > 1:
        values[_COST] = sum(rows.column(_COST).to_pylist())
    return values


@dataclass(frozen=True, slots=True)
class Glance:
    """What is known of a folder without counting.

    Attributes:
        simulated: The answers come from the emulator.
        writer: Process that writes it now, None where none does.
        last_run: What the last run reported at its end; empty where none did.
        job_id: By which the ledger knows the job.
    """

    simulated: bool
    writer: int | None
    last_run: Mapping[str, Any]
    job_id: str = ""


def glance(path: Path) -> Glance | None:
    """Look at a folder; None where no store is.

    Raises:
        OutputDamaged: The manifest cannot be read.
    """
    layout = Layout(path)
    manifest = read_manifest(layout)
    if manifest is None:
        return None
    pid = (read_holder(layout) or {}).get("pid") if is_held(layout.lock) else None
    return Glance(manifest.endpoint.simulated, pid, manifest.runs[-1] if manifest.runs else {}, manifest.job.id)
