"""What a folder holds, asked from outside: without the lock, also while a run is writing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

from pipeline.errors import OutputDamaged
from pipeline.storage.index import DoneIndex, read_sidecar, words_of
from pipeline.storage.journal import FAILURE_ROWS, JournalReader, count_rows
from pipeline.storage.layout import FAILURES, KINDS, RESULTS, Layout
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
        results: Result rows, in parts and journals.
        failures: Failure rows, in parts and journals.
        journal_results: Of these, result rows still in journals.
        journal_failures: Of these, failure rows still in journals.
        failures_by_code: Failure rows per code, most frequent first.
        holder: Who holds or last held the lock (pid, host, started_at).
        is_locked: A run is going on.
    """

    manifest: Manifest
    results: int
    failures: int
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
        except (FileNotFoundError, OutputDamaged):
            if attempt == _TRIES - 1:
                raise
    raise AssertionError


def _index(layout: Layout, manifest: Manifest) -> DoneIndex:
    tables = {
        kind: [read_sidecar(layout.sidecar(entry.index), entry.rows) for entry in manifest.parts(kind)]
        for kind in KINDS
    }
    live, _, _ = read_journals(layout, manifest.journal_floor)
    for generation in live.values():
        tables[RESULTS].append(words_of(generation.result_keys))
        tables[FAILURES].append(words_of(generation.failure_keys))
    return DoneIndex(tables[RESULTS], tables[FAILURES])


def _read(layout: Layout, manifest: Manifest) -> StoreState:
    codes: Counter[str] = Counter()
    in_journals = [0, 0]
    for number in layout.generations():
        if number < manifest.journal_floor:
            continue
        results, failures = count_rows(layout.journal(number))
        in_journals[0] += results
        in_journals[1] += failures
        if failures:
            for frame in JournalReader(layout.journal(number)):
                if frame.kind == FAILURE_ROWS:
                    codes.update(str(code) for code in frame.batch().column("code").to_pylist())
    for entry in manifest.failures:
        for group in row_groups(layout.part(FAILURES, entry.name), ["code"]):
            counts: Any = group.column("code").value_counts()  # pyarrow.compute, but imported only now
            for pair in counts.to_pylist():
                codes[pair["values"]] += pair["counts"]
    return StoreState(
        manifest=manifest,
        results=sum(entry.rows for entry in manifest.results) + in_journals[0],
        failures=sum(entry.rows for entry in manifest.failures) + in_journals[1],
        journal_results=in_journals[0],
        journal_failures=in_journals[1],
        failures_by_code=dict(codes.most_common()),
        holder=read_holder(layout),
        is_locked=is_held(layout.lock),
    )
