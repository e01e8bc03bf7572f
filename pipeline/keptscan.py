"""The reading of an input that has not changed, kept beside the output: a resume neither parses nor digests it again.

A kept scan is used only where nothing that it was made of differs: the files (name, inode, size, times of change), what
the spec says about the input and about what is sent, a glossary, the model with its prices, the version of this
program. And it is tried on the first records of the input, which must come out the same. In every other case the input
is read.

It is not kept where the input was changed just before it was read: the clock of a file system ticks, and a change
within the same tick could not be told (docs/adr/0011-kept-scan.md). Nor where a table names files that are sent: they
may change while the table does not.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from datetime import date, datetime
from itertools import islice
from types import NoneType
from typing import Final

import numpy as np

from pipeline.clock import Clock
from pipeline.errors import OutputUnwritable, PlanError, SourceError
from pipeline.interfaces import Source
from pipeline.plan import SAMPLES, Scan
from pipeline.records import DIGEST_BYTES, BrokenRecord, Record, digest
from pipeline.resolve import Job
from pipeline.sources import Fingerprint, RecordSource
from pipeline.storage import Kept, Layout, Store, find_kept
from pipeline.version import __version__

SETTLED_S: Final = 2.0
"""How long before a reading the last change must lie: the coarsest clock of a file system in use (FAT) ticks so."""

Read = Callable[[Source, Callable[[int], None]], Scan]

_COLUMNS: Final = ("id_keys", "payload_keys", "sizes", "expected", "ceilings")
_TYPES: Final = tuple(np.dtype(name) for name in (f"S{DIGEST_BYTES}", f"S{DIGEST_BYTES}", "<f4", "<f4", "<f4"))
_KINDS: Final = {kind.__name__: kind for kind in (str, bool, int, float, datetime, date, bytes, NoneType)}


class _First:
    """The first records of a source."""

    def __init__(self, source: Source) -> None:
        self._source = source

    def read(self, wanted: Callable[[int], bool] | None = None) -> Iterator[Record | BrokenRecord]:
        return islice(self._source.read(wanted), SAMPLES)

    def files(self) -> Sequence[str]:
        return self._source.files()


def read_or_recall(
    job: Job, source: RecordSource, read: Read, progress: Callable[[int], None], clock: Clock | None
) -> Scan:
    """Take the kept scan of this input, or read it.

    Args:
        job: The job.
        source: Its input.
        read: Reads a source once, as `pipeline.plan.scan`.
        progress: Told the number of records.
        clock: Time, as the files have it; None where the scan will not be kept.

    Raises:
        SourceError: A file is missing or unreadable.
        PlanError: As `read`.
    """
    before = source.fingerprint()
    key = _key(job, before)
    found = _recalled(job, source, before, key, read)
    if found is not None:
        progress(len(found))
        return found
    is_settled = clock is not None and before.changed_s + SETTLED_S <= clock.now().timestamp()
    found = read(source, progress)
    # a table that names files says nothing of what is in them
    if is_settled and _is_still(source, before) and (source.is_media or not job.adapter.is_heavy):
        found.key = key
    return found


def keep(store: Store, found: Scan, tell: Callable[[str], None]) -> None:
    """Lay a scan beside the answers, where the next run may use it. A disk that refuses costs that run a reading."""
    if not found.key:
        return
    about = {
        "columns": sorted(found.columns),
        "kept": {name: sorted({_name(kind) for kind in kinds}) for name, kinds in found.kept.items()},
        "n_unusable": found.n_unusable,
        "n_pieces": found.n_pieces,
        "first_unusable": found.first_unusable,
    }
    try:
        store.keep(Kept(found.key, json.dumps(about).encode(), [getattr(found, name) for name in _COLUMNS]))
    except OutputUnwritable as error:
        tell(f"the next run will have to read the whole input again: {error}")


def _key(job: Job, fingerprint: Fingerprint) -> bytes:
    spec = job.spec
    made_of = (
        (__version__, sys.version_info[:3], fingerprint.digest),
        (spec.task, spec.input, spec.params, spec.limits.batch_size),
        job.model,
        job.adapter.also_read,
    )
    return digest(repr(made_of).encode("utf-8", "surrogatepass"))


def _recalled(job: Job, source: RecordSource, fingerprint: Fingerprint, key: bytes, read: Read) -> Scan | None:
    kept = find_kept(Layout(job.output).scan, key, _TYPES)
    if kept is None:
        return None
    found = _scan_of(kept)
    source.hold_to(fingerprint)  # as the first reading would have done
    try:
        tried = read(_First(source), lambda _: None)
    except PlanError:
        return None
    same = all(np.array_equal(getattr(tried, name), getattr(found, name)[: len(tried)]) for name in _COLUMNS)
    return found if same and len(tried) == min(SAMPLES, len(found)) else None


def _scan_of(kept: Kept) -> Scan:
    about = json.loads(kept.text)
    id_keys, payload_keys, sizes, expected, ceilings = kept.columns
    return Scan(
        id_keys=id_keys,
        payload_keys=payload_keys,
        sizes=sizes,
        expected=expected,
        ceilings=ceilings,
        kept={name: {_KINDS.get(kind, object) for kind in kinds} for name, kinds in about["kept"].items()},
        columns=frozenset(about["columns"]),
        n_unusable=about["n_unusable"],
        n_pieces=about["n_pieces"],
        first_unusable=about["first_unusable"],
        total=len(id_keys),
    )


def _is_still(source: RecordSource, before: Fingerprint) -> bool:
    try:
        return source.fingerprint() == before
    except SourceError:
        return False


def _name(kind: type) -> str:
    return kind.__name__ if _KINDS.get(kind.__name__) is kind else "object"
