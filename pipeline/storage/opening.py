"""Creating an output folder, or taking over the one that is there."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.clock import Clock
from pipeline.errors import JobChanged
from pipeline.records import Column
from pipeline.storage.atomic import replace_file
from pipeline.storage.disk import Disk, unreadable
from pipeline.storage.layout import KINDS, Layout
from pipeline.storage.lock import OutputLock, note_holder, remove_holder
from pipeline.storage.manifest import (
    ColumnEntry,
    EndpointEntry,
    JobEntry,
    JobIdentity,
    Manifest,
    differences,
    plain,
    read_manifest,
    write_manifest,
)
from pipeline.storage.recovery import (
    Generation,
    Recovery,
    check_journals,
    check_parts,
    check_place,
    finish_replacements,
    parts_on_disk,
    read_journals,
    secure,
    sweep,
)


@dataclass(frozen=True, slots=True)
class Opened:
    """A folder that is ours, locked, whole and swept."""

    layout: Layout
    lock: OutputLock
    manifest: Manifest
    live: dict[int, Generation]
    recovery: Recovery


def open_folder(
    path: Path, job: JobIdentity, columns: Sequence[Column], clock: Clock, disk: Disk, *, force_new: bool
) -> Opened:
    """Lock the folder and bring it into a state in which rows can be appended.

    Raises:
        OutputError: Not ours; damaged; locked; unwritable; or of a job that differs.
    """
    layout = Layout(path)
    if force_new:
        _move_aside(layout, clock, disk)
    check_place(layout)
    for folder in layout.folders[:2]:
        _make(disk, folder)
    lock = OutputLock(layout)
    try:
        # Again: another process may have created or changed the folder before the lock was ours.
        check_place(layout)
        note_holder(disk, layout, clock.now())
        before, manifest = None, read_manifest(layout)
        changed = differences(manifest, job, columns) if manifest is not None else []
        if manifest is not None and changed:
            if not _is_empty(layout, manifest):
                remove_holder(disk, layout)  # it was not begun
                raise JobChanged(_change_message(layout, changed))
            before, manifest = manifest, None  # no answer is there that could be mixed: begin anew in place
        for folder in layout.folders[2:]:
            _make(disk, folder)
        if manifest is None:
            manifest = _create(layout, job, columns, clock, disk, before)
        manifest, live, recovery = _recover(layout, manifest, job, columns, disk)
        return Opened(layout, lock, manifest, live, recovery)
    except BaseException as error:
        lock.release()
        if isinstance(error, OSError):
            raise unreadable(error, layout.root) from error
        raise


def _is_empty(layout: Layout, manifest: Manifest) -> bool:
    """Whether the output holds no row, in parts or journals."""
    if manifest.results or manifest.failures:
        return False
    live, _ = read_journals(layout, manifest.journal_floor)
    return not any(generation.rows for generation in live.values())


def _make(disk: Disk, folder: Path) -> None:
    """Create a folder and those it lies in; durable where they were not there."""
    if not folder.is_dir():
        _make(disk, folder.parent)
        disk.mkdir(folder)
        disk.dirsync(folder.parent)


def _create(
    layout: Layout, job: JobIdentity, columns: Sequence[Column], clock: Clock, disk: Disk, before: Manifest | None
) -> Manifest:
    """Write the first manifest of a job; from here on the folder is ours. Numbers that `before` gave away stay taken.

    Folders first: a killed start may have made them.
    """
    disk.dirsync(layout.root)
    disk.dirsync(layout.root.parent)
    now = clock.now()
    manifest = Manifest(
        job=JobEntry(
            id=uuid.uuid4().hex,
            name=job.name,
            task=job.task,
            model=job.model,
            identity=plain(dict(job.identity)),
            about=dict(job.about),
        ),
        endpoint=EndpointEntry(kind=job.endpoint_kind, base_url=job.base_url, simulated=job.simulated),
        columns=tuple(ColumnEntry.of(column) for column in columns),
        created_at=now,
        updated_at=now,
        journal_floor=before.journal_floor if before else 0,
        taken={kind: before.next_number(kind) for kind in KINDS} if before else {},
    )
    write_manifest(disk, layout, manifest)
    return manifest


def _recover(
    layout: Layout, manifest: Manifest, job: JobIdentity, columns: Sequence[Column], disk: Disk
) -> tuple[Manifest, dict[int, Generation], Recovery]:
    manifest = finish_replacements(disk, layout, manifest)
    check_parts(layout, manifest)
    check_journals(layout, manifest, parts_on_disk(layout), layout.generations())
    swept = sweep(disk, layout, manifest)
    live, damaged = read_journals(layout, manifest.journal_floor)
    secure(disk, layout, live)
    text = job.job_yaml.encode()
    if not layout.job_yaml.is_file() or layout.job_yaml.read_bytes() != text:
        replace_file(disk, layout.temporary("job.yaml"), layout.job_yaml, text)
    # Names and addresses may change without changing answers; the newest ones go into the manifest and into new parts.
    manifest = manifest.model_copy(
        update={
            "job": manifest.job.model_copy(update={"name": job.name, "about": dict(job.about)}),
            "endpoint": EndpointEntry(kind=job.endpoint_kind, base_url=job.base_url, simulated=job.simulated),
            "columns": tuple(
                ColumnEntry.of(column if old.dim is None else old.column())
                for old, column in zip(manifest.columns, columns, strict=True)
            ),
        }
    )
    rows = sum(generation.rows for generation in live.values())
    return manifest, live, Recovery(rows, damaged, tuple(swept))


def _move_aside(layout: Layout, clock: Clock, disk: Disk) -> None:
    """Give the old output another name, under its lock, so that no run is still writing to it."""
    root = layout.root
    if not layout.manifest.exists() and not layout.generations():
        return
    lock = OutputLock(layout)
    try:
        stamp = clock.now().strftime("%Y%m%dT%H%M%SZ")
        target = root.with_name(f"{root.name}.old-{stamp}")
        number = 1
        while target.exists():
            number += 1
            target = root.with_name(f"{root.name}.old-{stamp}-{number}")
        disk.rename(root, target, replace=False)
    finally:
        lock.release()


def _change_message(layout: Layout, changed: Sequence[str]) -> str:
    lines = "\n".join(f"  {line}" for line in changed)
    return (
        f"{layout.root}: holds answers of a job that differs:\n{lines}\n"
        "Answers of both would be mixed. Either undo the change, choose another output.path, or start over with "
        "--force-new (the old output is moved aside, nothing is deleted)."
    )
