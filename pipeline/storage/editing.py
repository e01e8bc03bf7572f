"""Taking rows out of published parts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from pipeline.keycolumns import Keys
from pipeline.storage.disk import Disk
from pipeline.storage.index import KeySet, Words, read_sidecar, split
from pipeline.storage.layout import FAILURES, KINDS, Layout
from pipeline.storage.manifest import Manifest, PartEntry
from pipeline.storage.parts import row_groups
from pipeline.storage.publish import rewrite

# (kind, part, its keys) -> which rows go
Doomed: TypeAlias = Callable[[str, PartEntry, Words], NDArray[np.bool_]]


def failure_rows(layout: Layout, *, retryable_only: bool) -> Doomed:
    """All failure rows, or those that may pass another time."""

    def doomed(kind: str, entry: PartEntry, _: Words) -> NDArray[np.bool_]:
        if kind != FAILURES:
            return np.zeros(entry.rows, dtype=np.bool_)
        if not retryable_only:
            return np.ones(entry.rows, dtype=np.bool_)
        groups = row_groups(layout.part(kind, entry.name), ["retryable"])
        flags: Any = np.concatenate([group.column(0).to_numpy() for group in groups])
        return np.asarray(flags, dtype=np.bool_)

    return doomed


def rows_of_records(id_keys: Keys) -> Doomed:
    """All rows of these records."""
    wanted = KeySet(*split(id_keys))

    def doomed(_: str, __: PartEntry, keys: Words) -> NDArray[np.bool_]:
        found: NDArray[np.bool_] = wanted.find_words(keys[:, 0].copy(), keys[:, 1].copy()) >= 0
        return found

    return doomed


def rewrite_without(
    disk: Disk, layout: Layout, manifest: Manifest, doomed: Doomed
) -> tuple[dict[str, tuple[PartEntry, ...]], int]:
    """Write every part that loses rows again, staged; nothing that is named changes.

    Returns:
        The part lists for the next manifest, and how many rows go.
    """
    lists: dict[str, tuple[PartEntry, ...]] = {}
    dropped = 0
    for kind in KINDS:
        entries: list[PartEntry] = []
        for entry in manifest.parts(kind):
            keys = read_sidecar(layout.sidecar(entry.index), entry.rows)
            goes = doomed(kind, entry, keys)
            count = int(goes.sum())
            dropped += count
            changed = (
                rewrite(disk, layout, manifest, kind=kind, entry=entry, keys=keys.tobytes(), keep=~goes)
                if count
                else entry
            )
            if changed is not None:
                entries.append(changed)
        lists[kind] = tuple(entries)
    if dropped:
        disk.dirsync(layout.run)  # the names of what is staged, before a manifest speaks of them
    return lists, dropped


def remove_replaced(disk: Disk, layout: Layout, before: Manifest, after: Manifest) -> None:
    """Remove parts and sidecars that the manifest no longer names; what a crash leaves of them is swept."""
    for kind in KINDS:
        parts = {entry.name for entry in after.parts(kind)}
        sidecars = {entry.index for entry in after.parts(kind)}
        for entry in before.parts(kind):
            if entry.name not in parts:
                disk.unlink(layout.part(kind, entry.name))
            if entry.index not in sidecars:
                disk.unlink(layout.sidecar(entry.index))
