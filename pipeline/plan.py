"""Reads the input once before anything is spent: what is there, what is done, what is left, what it should cost.

Takes a source and the output's index, hands on a `Plan`. Holds 45 bytes per record (two 128-bit digests, a size, two
prices, a state) and nothing of the records themselves. No network, no writing.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from difflib import get_close_matches
from enum import IntEnum
from typing import Final, Protocol

import numpy as np
import numpy.typing as npt
import orjson

from pipeline.batcher import count_requests
from pipeline.errors import PlanError, RecordUnusable
from pipeline.interfaces import Source, TaskAdapter
from pipeline.records import DIGEST_BYTES, NO_PAYLOAD, BrokenRecord, Column, Payload, Record, digest
from pipeline.template import TextTemplate

FREE_NEURONS: Final = 10_000.0
USD_PER_NEURON: Final = 0.011 / 1000
"""Free neurons per account and day, and the price of one beyond them.

Source: developers.cloudflare.com/workers-ai/platform/pricing/, 2026-08-28.
"""

SAMPLES: Final = 20
_TICK: Final = 5_000
_SLICE: Final = 1 << 16
_WORST_NAMES: Final = 3
_SHOWN_ID: Final = 100
_MAX_INT64: Final = 2**63 - 1

Keys = npt.NDArray[np.bytes_]


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

    def lookup(self, id_keys: Keys, payload_keys: Keys) -> npt.NDArray[np.uint8]:
        """0 new, 1 done, 2 failed, 3 known with another payload."""
        ...

    def has_payload(self, payload_keys: Keys) -> npt.NDArray[np.bool_]:
        """Whether any record with this payload was answered."""
        ...

    def failed_payload(self, payload_keys: Keys) -> npt.NDArray[np.bool_]:
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
    """

    id_keys: Keys
    payload_keys: Keys
    sizes: npt.NDArray[np.float32]
    expected: npt.NDArray[np.float32]
    ceilings: npt.NDArray[np.float32]
    kept: Mapping[str, set[type]]
    columns: frozenset[str]
    n_unusable: int
    first_unusable: Sequence[str]
    total: int

    def forget(self, *, payloads: bool) -> None:
        """Free what only planning needs; the payloads as well where no record shares another's answer."""
        self.sizes = self.expected = self.ceilings = np.empty(0, dtype=np.float32)
        self.id_keys = np.empty(0, dtype=self.id_keys.dtype)
        if payloads:
            self.payload_keys = np.empty(0, dtype=self.payload_keys.dtype)

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
            size, expected, ceiling, payload_key = adapter.outline(item)
        except RecordUnusable as exc:
            _unusable(got, item, str(exc))
            continue
        got.payloads += payload_key
        got.numbers.extend((size, expected, ceiling))
        for name, types in kept.items():
            value = item.fields.get(name)
            types.add(object if isinstance(value, int) and abs(value) > _MAX_INT64 else type(value))
        if n_sampled < SAMPLES:
            n_sampled += 1
            if problems := check(adapter.sample(item)):
                raise PlanError(
                    f"what would be sent does not fit the model's published schema: {'; '.join(problems)}", key="params"
                )
    progress(n)
    numbers = np.frombuffer(got.numbers, dtype=np.float32).reshape(-1, 3)
    result = Scan(
        id_keys=np.frombuffer(got.ids, dtype=f"S{DIGEST_BYTES}"),
        payload_keys=np.frombuffer(got.payloads, dtype=f"S{DIGEST_BYTES}"),
        sizes=numbers[:, 0],
        expected=numbers[:, 1],
        ceilings=numbers[:, 2],
        kept=kept,
        columns=frozenset(columns),
        n_unusable=got.n_unusable,
        first_unusable=got.unusable,
        total=n,
    )
    _refuse_duplicates(result, source)
    return result


def _unusable(got: _Gathered, item: Record | BrokenRecord, reason: str) -> None:
    got.payloads += NO_PAYLOAD
    got.numbers.extend((0.0, 0.0, 0.0))
    got.n_unusable += 1
    if len(got.unusable) < _WORST_NAMES:
        got.unusable.append(f"{item.source}, row {item.row}: {reason}")


def _refuse_duplicates(found: Scan, source: Source) -> None:
    perhaps = np.flatnonzero(_perhaps_repeated(found.id_keys))
    order = perhaps[np.argsort(found.id_keys[perhaps], kind="stable")]
    ranked = found.id_keys[order]
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
        f"record id {shown} stands twice: in {places[0]} and in {places[-1]} ({len(same)} such repetitions in all); "
        "ids must be unique",
        key="input.id",
    )


def _perhaps_repeated(keys: Keys) -> npt.NDArray[np.bool_]:
    """Mark the keys of which another one shares the first word: all that stand twice, and hardly any that do not.

    Sorts words instead of keys: ten times as fast, in a fifth of the memory.
    """
    words = keys.view("<u8")[::2]
    ranked = np.sort(words)
    repeated = ranked[1:][ranked[1:] == ranked[:-1]]
    del ranked
    marks = np.zeros(len(keys), dtype=np.bool_)
    if len(repeated):
        for part in _slices(len(keys)):
            at = np.searchsorted(repeated, words[part])
            marks[part] = repeated[np.minimum(at, len(repeated) - 1)] == words[part]
    return marks


def _slices(n: int) -> Iterator[slice]:
    """Go through columns some at a time: what is made on the way stays small."""
    for start in range(0, n, _SLICE):
        yield slice(start, start + _SLICE)


def check_columns(found: Scan, *, text: TextTemplate, keep: Sequence[str]) -> None:
    """Refuse a spec that names columns no record has.

    Raises:
        PlanError: Names the column and the nearest one there is.
    """
    if not found.columns:
        return
    for key, names in (("input.text", text.columns), ("input.keep", keep)):
        for name in names:
            if name in found.columns or (key == "input.text" and text.fallback in found.columns):
                continue
            near = get_close_matches(name, found.columns, n=1)
            hint = f'; did you mean "{near[0]}"?' if near else ""
            there = ", ".join(sorted(found.columns)[:12])
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
        requests: Calls that the pending records need at least.
        expected: Neurons they probably cost.
        at_most: Neurons they can cost at most, one attempt each.
    """

    scan: Scan
    state: npt.NDArray[np.uint8]
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
        state, pending = self.state.data, int(State.PENDING)  # NumPy takes µs for one enum
        for item in source.read():
            if state[item.ordinal] == pending:
                yield item

    def followers(self, source: Source, ready: npt.NDArray[np.bool_]) -> Iterator[Record]:
        """Read the input again, yielding the followers marked in `ready`."""
        for item in source.read():
            if ready[item.ordinal] and isinstance(item, Record):
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
        requests=count_requests(
            _numbers(found.sizes[pending & (found.sizes > 0)]),
            max_pieces=adapter.max_pieces,
            max_bytes=adapter.max_request_bytes,
        ),
        expected=float(found.expected[pending].sum(dtype=np.float64)),
        at_most=float(found.ceilings[pending].sum(dtype=np.float64)),
    )


def _numbers(array: npt.NDArray[np.float32]) -> Iterator[int]:
    """Yield the numbers of an array without holding them all as Python objects."""
    for start in range(0, len(array), _TICK):
        yield from array[start : start + _TICK].astype(np.int64).tolist()


def _find_followers(found: Scan, index: Index, state: npt.NDArray[np.uint8]) -> None:
    sendable = (state == State.PENDING) & (found.payload_keys != np.bytes_(NO_PAYLOAD))
    if not sendable.any():
        return
    known = index.has_payload(found.payload_keys) | index.failed_payload(found.payload_keys)
    state[sendable & known] = State.FOLLOWER
    candidates = np.flatnonzero(sendable & ~known & _perhaps_repeated(found.payload_keys))
    # stable: the first record of each payload in the input's order is the one that is sent
    order = candidates[np.argsort(found.payload_keys[candidates], kind="stable")]
    ranked = found.payload_keys[order]
    state[order[1:][ranked[1:] == ranked[:-1]]] = State.FOLLOWER


@dataclass(frozen=True, slots=True)
class Forecast:
    """When it ends and what it costs, at this budget.

    Attributes:
        days: UTC days on which neurons are spent, today included.
        finish_date: The last of them.
        usd_beyond_free: Beyond the account's free allocation, on a paid plan.
    """

    days: int
    finish_date: date
    usd_beyond_free: float


def forecast(neurons: float, *, per_day: float, spent_today: float, today: date) -> Forecast:
    """Spread `neurons` over days of `per_day`, of which `spent_today` are gone."""
    left, day, usd = neurons, 0, 0.0
    used = spent_today
    remaining = max(0.0, per_day - used)
    if left > 0 and remaining <= 0:
        day, used, remaining = 1, 0.0, per_day
    if left > remaining + 100 * per_day:  # many days are all alike: count them at once
        whole = math.floor((left - remaining) / per_day) - 1
        usd += whole * max(0.0, per_day - FREE_NEURONS) * USD_PER_NEURON
        left -= whole * per_day
        day += whole
    while left > 0:
        spend = min(left, remaining)
        usd += (max(0.0, used + spend - FREE_NEURONS) - max(0.0, used - FREE_NEURONS)) * USD_PER_NEURON
        left -= spend
        if left > 1e-9:
            day, used, remaining = day + 1, 0.0, per_day
        else:
            break
    return Forecast(days=day + 1 if neurons > 0 else 0, finish_date=today + timedelta(days=day), usd_beyond_free=usd)
