"""Reads the input once before anything is spent: what is there, what is done, what is left, what it should cost.

Takes a source and the output's index, hands on a `Plan`. Holds 45 bytes per record (two 128-bit digests, a size, two
prices, a state) and nothing of the records themselves. No network, no writing.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from enum import IntEnum
from typing import Final, Protocol

import numpy as np
import numpy.typing as npt
import orjson

from pipeline.batcher import count_requests
from pipeline.errors import PlanError, RecordUnusable
from pipeline.interfaces import Source, TaskAdapter
from pipeline.keycolumns import KEY, ColumnOf, Keys, chosen_keys, perhaps_repeated, slices
from pipeline.records import NO_PAYLOAD, BrokenRecord, Column, Payload, Record, digest
from pipeline.sources.paths import did_you_mean
from pipeline.words import counted

SAMPLES: Final = 20
_TICK: Final = 5_000
_WORST_NAMES: Final = 3
_SHOWN_ID: Final = 100
_MAX_INT64: Final = 2**63 - 1

Numbers = npt.NDArray[np.float32]


class State(IntEnum):
    """What a record of the input is to this run."""

    PENDING = 0
    DONE = 1
    FAILED = 2
    CHANGED = 3
    FOLLOWER = 4
    """Its payload equals another record's: it takes that one's answer."""


class Index(Protocol):
    """What the output already holds; see `pipeline.storage`."""

    def lookup(self, id_keys: ColumnOf[Keys], payload_keys: ColumnOf[Keys]) -> npt.NDArray[np.uint8]:
        """0 new, 1 done, 2 failed, 3 known with another payload."""
        ...

    def has_payload(self, payload_keys: ColumnOf[Keys]) -> npt.NDArray[np.bool_]:
        """Whether any record with this payload was answered."""
        ...

    def failed_payload(self, payload_keys: ColumnOf[Keys]) -> npt.NDArray[np.bool_]:
        """Whether any record with this payload failed."""
        ...


class ScanStopped(Exception):
    """Reading was interrupted."""


@dataclass(slots=True)
class Scan:
    """One reading of the input, in columns.

    Attributes:
        id_keys: Digest of each record id, in order.
        payload_keys: Digest of what would be sent; zeros where nothing can be.
        sizes: Bytes of content.
        expected: Neurons each record probably costs.
        ceilings: The most it can cost.
        kept: Python types seen in each kept column.
        columns: Every column name seen.
        n_unusable: Records that cannot be read or sent.
        first_unusable: Where and why, for the first few.
        total: Records selected by the spec.
        n_pieces: Pieces they are cut into.
        key: What this was made of, 16 bytes, where the next run may use it instead of reading; empty where it may not,
            or need not because it is kept already.
    """

    id_keys: ColumnOf[Keys]
    payload_keys: ColumnOf[Keys]
    sizes: ColumnOf[Numbers]
    expected: ColumnOf[Numbers]
    ceilings: ColumnOf[Numbers]
    kept: Mapping[str, set[type]]
    columns: frozenset[str]
    n_unusable: int
    first_unusable: Sequence[str]
    total: int
    n_pieces: int = 0
    key: bytes = b""

    def forget(self, *, payloads: bool) -> None:
        """Free what only planning needs; the payloads as well where no record shares another's answer."""
        self.sizes = self.expected = self.ceilings = np.empty(0, dtype=np.float32)
        self.id_keys = np.empty(0, dtype=KEY)
        if payloads:
            self.payload_keys = np.empty(0, dtype=KEY)

    def ids_of(self, marks: npt.NDArray[np.bool_]) -> Keys:
        """Digests of the ids of some records, in order."""
        return chosen_keys(self.id_keys, marks)

    def __len__(self) -> int:
        """Records selected by the spec."""
        return self.total


@dataclass(slots=True)
class _Gathered:
    ids: bytearray = field(default_factory=bytearray)
    payloads: bytearray = field(default_factory=bytearray)
    numbers: array[float] = field(default_factory=lambda: array("f"))
    unusable: list[str] = field(default_factory=list)
    n_unusable: int = 0
    n_pieces: int = 0


def scan(
    source: Source,
    adapter: TaskAdapter,
    *,
    keep: Sequence[str],
    check: Callable[[Payload], Sequence[str]],
    progress: Callable[[int], None] = lambda _: None,
) -> Scan:
    """Read the whole input once.

    Args:
        source: Read from the start.
        adapter: Cuts records into pieces and prices them.
        keep: Columns carried over, whose types are noted.
        check: Validates a payload against the model's published schema; asked for the first few.
        progress: Called with the number of records read, now and then; may raise `ScanStopped`.

    Raises:
        SourceError: A file cannot be read.
        PlanError: Two records have one id, or a payload does not fit the model's schema.
    """
    got = _Gathered()
    kept: dict[str, set[type]] = {name: set() for name in keep}
    columns: set[str] = set()
    n = n_sampled = 0
    for item in source.read():
        n += 1
        if n % _TICK == 0:
            progress(n)
        got.ids += digest(item.id.encode("utf-8", "surrogatepass"))
        if isinstance(item, BrokenRecord):
            _unusable(got, item, item.reason)
            continue
        columns.update(item.fields)
        try:
            size, expected, ceiling, payload_key, n_pieces = adapter.outline(item)
        except RecordUnusable as exc:
            _unusable(got, item, str(exc))
            continue
        got.payloads += payload_key
        got.numbers.extend((size, expected, ceiling))
        got.n_pieces += n_pieces
        for name, types in kept.items():
            value = item.fields.get(name)
            types.add(object if isinstance(value, int) and abs(value) > _MAX_INT64 else type(value))
        if n_pieces and n_sampled < SAMPLES:
            n_sampled += 1
            if problems := check(adapter.sample(item)):
                raise PlanError(
                    f"what would be sent does not fit the model's published schema: {'; '.join(problems)}", key="params"
                )
    progress(n)
    numbers = np.frombuffer(got.numbers, dtype=np.float32).reshape(-1, 3)
    result = Scan(
        id_keys=np.frombuffer(got.ids, dtype=KEY),
        payload_keys=np.frombuffer(got.payloads, dtype=KEY),
        sizes=numbers[:, 0],
        expected=numbers[:, 1],
        ceilings=numbers[:, 2],
        kept=kept,
        columns=frozenset(columns),
        n_unusable=got.n_unusable,
        first_unusable=got.unusable,
        total=n,
        n_pieces=got.n_pieces,
    )
    _refuse_duplicates(result.id_keys[:], source)
    return result


def _unusable(got: _Gathered, item: Record | BrokenRecord, reason: str) -> None:
    got.payloads += NO_PAYLOAD
    got.numbers.extend((0.0, 0.0, 0.0))
    got.n_unusable += 1
    if len(got.unusable) < _WORST_NAMES:
        got.unusable.append(f"{item.source}, row {item.row}: {reason}")


def _refuse_duplicates(id_keys: Keys, source: Source) -> None:
    perhaps = np.flatnonzero(perhaps_repeated(id_keys))
    order = perhaps[np.argsort(id_keys[perhaps], kind="stable")]
    ranked = id_keys[order]
    same = np.flatnonzero(ranked[1:] == ranked[:-1])
    if not len(same):
        return
    first, second = sorted((int(order[same[0]]), int(order[same[0] + 1])))
    places = []
    name = ""
    for item in source.read():
        if item.ordinal in {first, second}:
            places.append(f"{item.source}, row {item.row}")
            name = item.id
            if item.ordinal == second:
                break
    shown = orjson.dumps(name[:_SHOWN_ID]).decode()  # on one line, whatever it holds
    raise PlanError(
        f"record id {shown} stands twice: in {places[0]} and in {places[-1]} "
        f"({counted(len(same), 'repetition')} in all); ids must be unique",
        key="input.id",
    )


def check_columns(found: Scan, *, uses: Sequence[tuple[str, tuple[str, ...]]], keep: Sequence[str]) -> None:
    """Refuse a spec that names columns no record has.

    Args:
        found: The input.
        uses: What the task needs, see `TaskAdapter.uses`.
        keep: Columns carried over.

    Raises:
        PlanError: Names the column and the nearest one there is.
    """
    if not found.columns:
        return
    for key, (name, *instead) in (*uses, *(("input.keep", (name,)) for name in keep)):
        if found.columns.isdisjoint({name, *instead}):
            there = ", ".join(sorted(found.columns)[:12])
            hint = did_you_mean(name, sorted(found.columns), quote='"')
            raise PlanError(f'no record has a column "{name}" (there are: {there}){hint}', key=key)


_KINDS: Final[Mapping[frozenset[type], str]] = {
    frozenset({str}): "string",
    frozenset({bool}): "bool",
    frozenset({int}): "int64",
    frozenset({float}): "float64",
    frozenset({int, float}): "float64",
    frozenset({datetime}): "timestamp",
    frozenset({date}): "date",
    frozenset({bytes}): "binary",
    frozenset(): "string",
}


def kept_columns(keep: Sequence[str], kept: Mapping[str, set[type]]) -> list[Column]:
    """Type the kept columns by the values seen; a mixture is kept as JSON text."""
    return [Column(name, _KINDS.get(frozenset(kept[name] - {type(None)}), "json")) for name in keep]


@dataclass(slots=True)
class Plan:
    """What a run will do.

    Attributes:
        scan: The input.
        state: One `State` per record; the run marks what it finishes.
        unsent: Records without a row that need no call.
        requests: Calls that the pending records need at least.
        expected: Neurons they probably cost.
        at_most: Neurons they can cost at most, one attempt each.
    """

    scan: Scan
    state: npt.NDArray[np.uint8]
    unsent: int
    requests: int
    expected: float
    at_most: float

    def count(self, state: State) -> int:
        """Records in a state."""
        return int(np.count_nonzero(self.state == state))

    def mark(self, item: Record | BrokenRecord) -> None:
        """Take note that a record is finished."""
        self.state[item.ordinal] = int(State.DONE)

    def work(self, source: Source) -> Iterator[Record | BrokenRecord]:
        """Read the input again, yielding what is pending now."""
        state, pending, known = self.state.data, int(State.PENDING), len(self.state)  # NumPy takes µs for one enum
        # An input that has grown has records beyond those planned: the source refuses it by itself at its end.
        return source.read(lambda ordinal: ordinal < known and state[ordinal] == pending)

    def followers(self, source: Source, ready: npt.NDArray[np.bool_]) -> Iterator[Record]:
        """Read the input again, yielding the followers marked in `ready`."""
        known = len(ready)
        for item in source.read(lambda ordinal: ordinal < known and bool(ready[ordinal])):
            if isinstance(item, Record):
                yield item


def make_plan(found: Scan, index: Index, adapter: TaskAdapter, *, dedupe: bool) -> Plan:
    """Decide, for every record, whether it is done, pending, or shares another's answer."""
    state = index.lookup(found.id_keys, found.payload_keys).astype(np.uint8, copy=False)
    if dedupe:
        _find_followers(found, index, state)
    pending = state == State.PENDING
    return Plan(
        scan=found,
        state=state,
        unsent=_unsent(found, pending | (state == State.FOLLOWER)),
        requests=_requests(found, pending, adapter),
        expected=_sum(found.expected, pending),
        at_most=_sum(found.ceilings, pending),
    )


def _requests(found: Scan, pending: npt.NDArray[np.bool_], adapter: TaskAdapter) -> int:
    """Calls for the pending records; where records are cut, as many for their bytes as there are for all of them."""
    if found.n_pieces > sum(np.count_nonzero(found.sizes[part]) for part in slices(len(found))):
        whole = _sum(found.sizes, np.ones(len(found), dtype=np.bool_))
        pieces = found.n_pieces * _sum(found.sizes, pending) / whole if whole else 0.0
        return math.ceil(pieces / adapter.max_pieces - 1e-6)
    sizes = _sizes(found, pending)
    return count_requests(sizes, max_pieces=adapter.max_pieces, max_bytes=adapter.max_request_bytes)


def _unsent(found: Scan, marks: npt.NDArray[np.bool_]) -> int:
    """Marked records that are usable and of which nothing is sent."""
    none = np.bytes_(NO_PAYLOAD)
    return sum(
        int(np.count_nonzero(marks[part] & (found.sizes[part] == 0) & (found.payload_keys[part] != none)))
        for part in slices(len(found))
    )


def _sum(column: ColumnOf[Numbers], marks: npt.NDArray[np.bool_]) -> float:
    return math.fsum(column[part][marks[part]].sum(dtype=np.float64) for part in slices(len(marks)))


def _sizes(found: Scan, marks: npt.NDArray[np.bool_]) -> Iterator[int]:
    """Yield the sizes of the marked records that have one, without holding them all as Python objects."""
    for part in slices(len(marks)):
        sizes = found.sizes[part][marks[part]]
        for start in range(0, len(sizes), _TICK):
            yield from (size for size in sizes[start : start + _TICK].astype(np.int64).tolist() if size)


def _find_followers(found: Scan, index: Index, state: npt.NDArray[np.uint8]) -> None:
    """Tell what is pending for an answer of its own from what takes another's."""
    if not len(found):
        return
    among = np.zeros(len(found), dtype=np.bool_)
    for part in slices(len(found)):
        keys = found.payload_keys[part]
        pending = (state[part] == State.PENDING) & (keys != np.bytes_(NO_PAYLOAD))
        known = index.has_payload(keys) | index.failed_payload(keys)
        state[part][pending & known] = State.FOLLOWER
        among[part] = pending & ~known
    marks = perhaps_repeated(found.payload_keys, among)
    repeated = np.flatnonzero(marks)
    keys = chosen_keys(found.payload_keys, marks)
    # stable: the first record of each payload in the input's order is the one that is sent
    order = np.argsort(keys, kind="stable")
    ranked = keys[order]
    state[repeated[order[1:][ranked[1:] == ranked[:-1]]]] = State.FOLLOWER
