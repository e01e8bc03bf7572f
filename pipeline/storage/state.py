"""What a folder holds, asked from outside: without the lock, also while a run is writing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

from pipeline.errors import OutputDamaged
from pipeline.storage.index import DoneIndex
from pipeline.storage.journal import Counted, JournalReader, count_rows
from pipeline.storage.layout import FAILURES, RESULTS, Layout
from pipeline.storage.live import build_index
from pipeline.storage.lock import is_held, read_holder
from pipeline.storage.manifest import Manifest, read_manifest
from pipeline.storage.parts import row_groups
from pipeline.storage.recovery import read_journals

_T = TypeVar("_T")

# A fold may take files away between reading the manifest and reading them; it cannot do so many times in a row.
_TRIES: Final = 5


@dataclass(frozen=True, slots=True)
class StoreState:
    """A folder as it was at one moment.

    Attributes:
        manifest: The manifest.
        results: Records with a result, in parts and journals.
        failures: Records that failed, in parts and journals.
        rows: Result rows, in parts and journals.
        journal_results: Of the results, those still in journals.
        journal_failures: Of the failures, those still in journals.
        failures_by_code: Failure rows per code, most frequent first.
        holder: Who holds the lock, or was killed while holding it (pid, host, started_at).
        is_locked: A run is going on.
    """

    manifest: Manifest
    results: int
    failures: int
    rows: int
    journal_results: int
    journal_failures: int
    failures_by_code: Mapping[str, int]
    holder: Mapping[str, Any] | None
    is_locked: bool


def read_state(path: Path) -> StoreState | None:
    """Read what is there; None where no store is. Takes no lock and writes nothing.

    Raises:
        OutputDamaged: The manifest or a part cannot be read.
    """
    layout = Layout(path)
    return steadily(layout, lambda manifest: _read(layout, manifest))


def read_index(path: Path) -> DoneIndex:
    """Build the index of what is there, parts and journals alike; empty where no store is. Takes no lock.

    Raises:
        OutputDamaged: The manifest or an index cannot be read.
    """
    layout = Layout(path)
    return steadily(layout, lambda manifest: _index(layout, manifest)) or DoneIndex([], [])


def steadily(layout: Layout, read: Callable[[Manifest], _T]) -> _T | None:
    """Read until no fold came in between: one moves rows from journals to parts; both or neither would be counted."""
    for attempt in range(_TRIES):
        manifest = read_manifest(layout)
        if manifest is None:
            return None
        try:
            found = read(manifest)
            if read_manifest(layout) == manifest or attempt == _TRIES - 1:
                return found
        except OutputDamaged:
            if attempt == _TRIES - 1:
                raise
    raise AssertionError


def _index(layout: Layout, manifest: Manifest) -> DoneIndex:
    live, _ = read_journals(layout, manifest.journal_floor)
    return build_index(layout, manifest, list(live.values()))


def _read(layout: Layout, manifest: Manifest) -> StoreState:
    codes: Counter[str] = Counter()
    in_journals = Counted()
    for number in layout.generations():
        if number < manifest.journal_floor:
            continue
        counted = count_rows(layout.journal(number))
        in_journals.add(counted)
        if counted.failures:
            for frame in JournalReader(layout.journal(number)):
                if not frame.is_result:
                    codes.update(str(code) for code in frame.batch().column("code").to_pylist())
    for entry in manifest.failures:
        for group in row_groups(layout.current(FAILURES, entry.name, entry.staged), ["code"]):
            counts: Any = group.column("code").value_counts()  # pyarrow.compute, but imported only now
            for pair in counts.to_pylist():
                codes[pair["values"]] += pair["counts"]
    return StoreState(
        manifest=manifest,
        results=manifest.n_records(RESULTS) + in_journals.results,
        failures=manifest.n_records(FAILURES) + in_journals.failures,
        rows=sum(entry.rows for entry in manifest.results) + in_journals.rows,
        journal_results=in_journals.results,
        journal_failures=in_journals.failures,
        failures_by_code=dict(codes.most_common()),
        holder=read_holder(layout),
        is_locked=is_held(layout.lock),
    )
