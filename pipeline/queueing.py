"""An endpoint that puts requests into Cloudflare's queue and waits for them: fulfilled eventually, instead of refused.

What is queued is paid whatever becomes of us, so a receipt is on disk before it is asked about, and the intent before
the receipt: the next run collects what this one left. Where a model has no queue (8007), each request is sent alone.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, cast

import orjson

from pipeline.client import HttpClient
from pipeline.clock import Clock
from pipeline.dialects.queue import (
    Collected,
    encode_question,
    encode_submission,
    is_unsupported,
    read_progress,
    read_receipt,
)
from pipeline.dialects.workers_ai import WorkersAI
from pipeline.errors import (
    ApiError,
    AttemptError,
    ConnectFailed,
    OutputUnwritable,
    RateLimited,
    Scope,
    UnreadableAnswer,
)
from pipeline.limits import Pace
from pipeline.records import Answer, ItemRefused, Payload, Request, Usage
from pipeline.threads import in_thread

_FIRST_PAUSE_S: Final = 1.0
_LONGEST_PAUSE_S: Final = 30.0
_TRIES: Final = 3
_LOST_AFTER: Final = 20
_SYNCHRONOUS: Final = 8
_PAID_BEFORE: Final = Usage(neurons=0.0)
"""Of answers to what an earlier attempt has queued: that one was booked."""

Json = Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Receipt:
    """A request in the queue.

    Attributes:
        request_id: As the service names it.
        references: Of what it holds, in order.
    """

    request_id: str
    references: tuple[str, ...]


class QueueNotes:
    """The file that says what is in the queue: one JSON line each for an intent, a receipt, and a collection.

    Args:
        path: ``run/queue.jsonl`` of the output folder.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def open_receipts(self) -> tuple[list[Receipt], int]:
        """Return what was queued and not collected, and how many intents have no receipt. A torn line is none."""
        receipts: dict[str, Receipt] = {}
        intents = 0
        try:
            lines = self._path.read_bytes().splitlines()
        except FileNotFoundError:
            return [], 0
        for line in lines:
            try:
                note = orjson.loads(line)
            except orjson.JSONDecodeError:
                continue
            if "intent" in note:
                intents += 1
            elif "queued" in note:
                intents -= 1
                receipts[note["queued"]] = Receipt(note["queued"], tuple(note["references"]))
            elif "refused" in note:
                intents -= 1
            elif "collected" in note:
                receipts.pop(note["collected"], None)
        return list(receipts.values()), max(0, intents)

    def add(self, **note: object) -> None:
        """Append a note; durable on return.

        Raises:
            OutputUnwritable: The disk refuses.
        """
        try:
            fd = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o644)
            try:
                os.write(fd, b"\n" + orjson.dumps(note) + b"\n")  # apart from a line that was torn
                os.fdatasync(fd)
            finally:
                os.close(fd)
        except OSError as exc:
            raise OutputUnwritable(f"{self._path}: {exc.strerror or exc}") from exc


class QueueEndpoint:
    """Implements `interfaces.Endpoint` for payloads of `pipeline.tasks.queued`.

    Args:
        client: Knows the token.
        dialect: Of the model.
        notes: What is in the queue.
        pace: Also counts what is sent alone.
        clock: For the pauses between two questions.
        tell: Takes one line for a person.
    """

    def __init__(
        self,
        client: HttpClient,
        dialect: WorkersAI,
        notes: QueueNotes,
        *,
        pace: Pace,
        clock: Clock,
        tell: Callable[[str], None],
    ) -> None:
        self._client, self._dialect, self._notes = client, dialect, notes
        self._pace, self._clock, self._tell = pace, clock, tell
        self._left: dict[str, object] = {}
        self._held: dict[str, set[str]] = {}
        """References by request id: what is asked about now, or has answered and is not handed out."""
        self._has_collected = False
        self._has_told = False
        self._has_queue = True
        self._turn = asyncio.Lock()

    async def call(self, payload: Payload, request: Request) -> Answer:  # noqa: ARG002 - references say what it is
        """Queue the requests of a payload and wait for all of them; their results by reference.

        What has answered when an attempt fails is kept for the next one: it is paid for.

        Raises:
            AttemptError: They could not be queued, or not be asked about.
        """
        began = self._clock.monotonic()
        await self._collect_what_was_left()
        requests = cast("Sequence[Json]", cast("Json", payload)["requests"])
        pending = {str(item["external_reference"]): item for item in requests}
        found = {name: self._left.pop(name) for name in list(pending) if name in self._left}
        usages: list[Usage] = []
        for _ in range(_TRIES):
            again = {name: item for name, item in pending.items() if isinstance(found.get(name), ItemRefused | None)}
            if not again:
                break
            try:
                collected = await self._fulfilled(again)
            except AttemptError as error:
                has_answers = len(again) < len(pending)
                if not has_answers or _is_nobodys_fault(error):
                    self._left.update({name: item for name, item in found.items() if name not in again})
                    _add_charge(error, usages)
                    raise
                usages += [Usage(header_neurons=error.neurons)] if error.maybe_billed else []
                break  # those stay refused; the others are not to fail with them
            usages.append(collected.usage)
            found.update({name: collected.items.get(name, found.get(name)) for name in again})
        await self._handed_out(pending)
        latency_ms = (self._clock.monotonic() - began) * 1000.0
        return Answer(result=found, usage=_sum(usages) if usages else _PAID_BEFORE, latency_ms=latency_ms)

    async def _fulfilled(self, requests: Mapping[str, Json]) -> Collected:
        if self._has_queue:
            try:
                return await self._through_the_queue(requests)
            except ApiError as error:
                if not is_unsupported(error):
                    raise
                self._has_queue = False
                self._tell(f"{error.message}: every request is sent alone instead")
        return await self._one_by_one(requests)

    async def _through_the_queue(self, requests: Mapping[str, Json]) -> Collected:
        references = list(requests)
        sent = encode_submission(self._dialect, list(requests.values()))
        await in_thread(lambda: self._notes.add(intent=references))
        try:
            request_id = read_receipt(self._dialect.decode(await self._client.send(sent)))
        except ApiError:
            await in_thread(lambda: self._notes.add(refused=references))
            raise
        self._held[request_id] = set(references)
        await in_thread(lambda: self._notes.add(queued=request_id, references=references))
        try:
            return await self._collected(Receipt(request_id, tuple(references)))
        except AttemptError as error:
            del self._held[request_id]
            self._has_collected = self._has_collected and _is_lost(error)  # else the next call asks again
            error.maybe_billed, error.neurons = True, None  # it was taken, whatever the question has cost
            raise

    async def _collected(self, receipt: Receipt) -> Collected:
        """Ask until it is done. It is paid for: nothing but its loss ends the asking, or a network that is gone."""
        pause_s = _FIRST_PAUSE_S
        failures = 0
        while True:
            try:
                answer = self._dialect.decode(
                    await self._client.send(encode_question(self._dialect, receipt.request_id))
                )
                done = read_progress(answer, receipt.references)
                failures = 0
            except AttemptError as error:
                failures += 1
                if error.scope is Scope.RUN or failures >= (_TRIES if _is_lost(error) else _LOST_AFTER):
                    raise
                done = None
            if done is not None:
                return done
            await self._clock.sleep(pause_s)
            pause_s = min(_LONGEST_PAUSE_S, pause_s * 1.5)

    async def _collect_what_was_left(self) -> None:
        """Before anything new is queued: fetch what an earlier run has queued and paid for."""
        async with self._turn:
            if self._has_collected:
                return
            receipts, n_lost = await in_thread(self._notes.open_receipts)
            receipts = [receipt for receipt in receipts if receipt.request_id not in self._held]
            if n_lost and not self._has_told:
                self._tell(
                    f"{n_lost} requests may have been queued by a run that was cut off before it learned their number; "
                    "they are sent again"
                )
            if receipts:
                self._tell(f"collecting {len(receipts)} queued requests of an earlier run")
            self._has_told = True
            for receipt in receipts:
                await self._take_over(receipt)
            self._has_collected = True

    async def _take_over(self, receipt: Receipt) -> None:
        """Fetch what is queued under a receipt; of what is lost there, say so."""
        self._held[receipt.request_id] = set(receipt.references)
        try:
            collected = await self._collected(receipt)
        except AttemptError as error:
            del self._held[receipt.request_id]
            if error.scope is Scope.RUN or not _is_lost(error):
                error.maybe_billed, error.neurons = False, None  # what was to be sent now was not
                raise
            self._tell(f"queued request {receipt.request_id} is lost ({error}); what it held is sent again")
            await in_thread(lambda: self._notes.add(collected=receipt.request_id))
            return
        answered = {name: item for name, item in collected.items.items() if not isinstance(item, ItemRefused)}
        self._left.update(answered)
        await self._handed_out(set(receipt.references) - answered.keys())

    async def _handed_out(self, names: Collection[str]) -> None:
        """Note as collected what has nothing more to hand out: not before, for a run that is killed asks again."""
        for request_id, references in list(self._held.items()):
            if references.isdisjoint(names):
                continue
            references.difference_update(names)
            if not references:
                await in_thread(lambda done=request_id: self._notes.add(collected=done))  # type: ignore[misc]
                del self._held[request_id]

    async def _one_by_one(self, requests: Mapping[str, Json]) -> Collected:
        gate = asyncio.Semaphore(_SYNCHRONOUS)
        found: dict[str, object] = {}
        usages: list[Usage] = []

        refusals: list[AttemptError] = []

        async def one(name: str, item: Json) -> None:
            async with gate:
                if not refusals:
                    await self._pace.wait()
                if refusals:
                    return
                plain = {key: value for key, value in item.items() if key != "external_reference"}
                try:
                    answer = self._dialect.decode(await self._client.send(self._dialect.encode(plain)))
                except AttemptError as error:
                    if _is_nobodys_fault(error):
                        refusals.append(error)
                        return
                    found[name] = ItemRefused(str(error))
                    usages.extend([Usage(header_neurons=error.neurons)] if error.maybe_billed else [])
                    return
                found[name] = answer.result
                usages.append(answer.usage)

        async with asyncio.TaskGroup() as group:
            for name, item in requests.items():
                group.create_task(one(name, item))
        if refusals:
            refusal = next((error for error in refusals if error.scope is Scope.RUN), refusals[0])
            self._left.update({name: item for name, item in found.items() if not isinstance(item, ItemRefused)})
            _add_charge(refusal, usages)
            raise refusal
        return Collected(found, _sum(usages))


def _is_lost(error: AttemptError) -> bool:
    """Whether the service does not know what was queued, or says nothing of it that can be read."""
    return error.scope is not Scope.ATTEMPT or isinstance(error, UnreadableAnswer)


def _is_nobodys_fault(error: AttemptError) -> bool:
    """Whether it says nothing of what was asked: the same will be asked again, or nothing more at all."""
    return error.scope is Scope.RUN or isinstance(error, ConnectFailed | RateLimited)


def _add_charge(error: AttemptError, usages: Sequence[Usage]) -> None:
    """Let a failure tell what has answered before it: of a charge that is not known, that there is one."""
    if not usages:
        return
    total = _sum(usages)
    spent = total.header_neurons if total.neurons is None else total.neurons
    if spent is None or (error.maybe_billed and error.neurons is None):
        error.maybe_billed, error.neurons = True, None
    else:
        error.neurons = (error.neurons or 0.0) + spent


def _sum(usages: Sequence[Usage]) -> Usage:
    """What several answers used together; what one of them does not tell is not told."""

    def total(name: str) -> float | None:
        values = [getattr(usage, name) for usage in usages]
        return None if not values or any(value is None for value in values) else sum(values)

    tokens = {name: total(name) for name in ("input_tokens", "output_tokens")}
    return replace(
        Usage(neurons=total("neurons"), header_neurons=total("header_neurons")),
        **{name: None if value is None else int(value) for name, value in tokens.items()},
    )
