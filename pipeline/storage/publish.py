"""From journals to parts, and from parts to rewritten parts. The order is the promise: data before pointer.

fold:    part written aside, synced, read back -> rename -> folder synced -> sidecar likewise -> manifest -> journals go
rewrite: part written aside, synced, read back -> sidecar under a new name -> folder synced -> manifest -> rename over
         the old part
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline.errors import OutputDamaged
from pipeline.storage.atomic import write_new
from pipeline.storage.columns import FAILURE_SCHEMA
from pipeline.storage.disk import Disk
from pipeline.storage.index import encode_sidecar
from pipeline.storage.journal import JournalReader
from pipeline.storage.layout import FAILURES, RESULTS, Layout, part_name, part_number
from pipeline.storage.manifest import Manifest, PartEntry
from pipeline.storage.parts import PartWriter, WrittenPart, check_digest, part_metadata, row_groups


def write_parts(
    disk: Disk, layout: Layout, manifest: Manifest, journals: Iterable[Path], schema: pa.Schema | None
) -> dict[str, WrittenPart]:
    """Stream journals into at most one part of each kind, under temporary names.

    Args:
        disk: The disk.
        layout: The folder.
        manifest: Says whose answers these are.
        journals: Journals in order; nobody appends to them any more.
        schema: Schema of result rows; None as long as there are none.
    """
    writers: dict[str, PartWriter] = {}
    metadata = part_metadata(manifest)
    try:
        for path in journals:
            for frame in JournalReader(path):
                kind = RESULTS if frame.is_result else FAILURES
                if kind not in writers:
                    columns = schema if kind == RESULTS else FAILURE_SCHEMA
                    if columns is None:
                        raise OutputDamaged(f"{path}: holds results although the manifest knows no columns for them")
                    writers[kind] = PartWriter(disk, layout.temporary(f"{kind}.parquet"), columns, metadata)
                writers[kind].add(frame.batch(), frame.keys, records=frame.records)
        return {kind: writer.finish() for kind, writer in writers.items()}
    except BaseException:
        for writer in writers.values():
            writer.abandon()
        raise


def publish(disk: Disk, layout: Layout, manifest: Manifest, kind: str, part: WrittenPart) -> PartEntry:
    """Give a written part and its sidecar their final, new names; both durable on return, not yet named."""
    name = part_name(manifest.next_number(kind))
    disk.rename(part.path, layout.part(kind, name), replace=False)
    disk.dirsync(layout.folder(kind))
    return _entry(disk, layout, kind, part, name=name, revision=0)


def _entry(disk: Disk, layout: Layout, kind: str, part: WrittenPart, *, name: str, revision: int) -> PartEntry:
    number = part_number(name)
    index = f"{kind}-{number:05d}.idx" if revision == 0 else f"{kind}-{number:05d}-{revision}.idx"
    sidecar = encode_sidecar(part.keys)
    write_new(disk, layout.temporary(index), sidecar)
    disk.rename(layout.temporary(index), layout.sidecar(index), replace=False)
    disk.dirsync(layout.index)
    return PartEntry(
        name=name,
        rows=part.rows,
        records=part.records,
        bytes=part.size,
        sha256=part.sha256,
        index=index,
        index_sha256=hashlib.sha256(sidecar).hexdigest(),
        revision=revision,
    )


def rewrite(
    disk: Disk,
    layout: Layout,
    manifest: Manifest,
    *,
    kind: str,
    entry: PartEntry,
    keys: bytes,
    keep: NDArray[np.bool_],
) -> PartEntry | None:
    """Write a part again with only the rows to keep, staged to replace the old one once the manifest names it.

    The new file takes the old one's name by one rename, so that a reader of the folder never sees a row twice, nor
    misses one that is kept.

    Args:
        disk: The disk.
        layout: The folder.
        manifest: Says whose answers these are.
        kind: ``results`` or ``failures``.
        entry: The part.
        keys: Its keys, 32 bytes per row.
        keep: One flag per row; all rows of a record have the same.

    Returns:
        The new entry; None when no row is kept.
    """
    if not keep.any():
        return None
    check_digest(layout.part(kind, entry.name), entry.sha256)
    revision = entry.revision + 1
    staged = f"staged-{kind}-{part_number(entry.name):05d}-{revision}.parquet"
    table = np.frombuffer(keys, dtype="V32")
    dropped = len(np.unique(table[~keep].view("S32")))
    writer: PartWriter | None = None
    at = 0
    try:
        for group in row_groups(layout.part(kind, entry.name)):
            flags = keep[at : at + group.num_rows]
            if writer is None:
                # Without what the reader adds to fields: the new file is as the old one was.
                schema = pa.schema([field.remove_metadata() for field in group.schema])
                writer = PartWriter(disk, layout.staged(staged), schema, part_metadata(manifest))
            for batch in group.filter(pa.array(flags)).combine_chunks().to_batches():
                writer.add(batch, b"", records=0)
            writer.add_keys(table[at : at + group.num_rows][flags].tobytes(), records=0)
            at += group.num_rows
        assert writer is not None, "a part has at least one row group"
        writer.records = entry.n_records - dropped
        part = writer.finish()
    except BaseException:
        if writer is not None:
            writer.abandon()
        raise
    return _entry(disk, layout, kind, part, name=entry.name, revision=revision).model_copy(update={"staged": staged})
