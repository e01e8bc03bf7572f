"""An endpoint that puts requests into Cloudflare's queue and waits for them: fulfilled eventually, instead of refused.

What is queued is paid whatever becomes of us, so a receipt is on disk before it is asked about, and the intent before
the receipt: the next run collects what this one left. Where a model has no queue (8007), each request is sent alone.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Mapping, Sequence
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
from pipeline.errors import ApiError, AttemptError, OutputUnwritable, Scope, UnreadableAnswer
from pipeline.limits import Pace
from pipeline.records import Answer, ItemRefused, Payload, Request, Usage
from pipeline.threads import in_thread

_FIRST_PAUSE_S: Final = 1.0
_LONGEST_PAUSE_S: Final = 30.0
_TRIES: Final = 3
_LOST_AFTER: Final = 20
_SYNCHRONOUS: Final = 8

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
            fd = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
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
        self._has_collected = False
        self._has_queue = True
        self._turn = asyncio.Lock()

    async def call(self, payload: Payload, request: Request) -> Answer:  # noqa: ARG002 - references say what it is
        """Queue the requests of a payload and wait for all of them; their results by reference.

        Raises:
            AttemptError: They could not be queued.
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
            collected = await self._fulfilled(again)
            usages.append(collected.usage)
            found.update({name: collected.items.get(name, found.get(name)) for name in again})
        latency_ms = (self._clock.monotonic() - began) * 1000.0
        return Answer(result=found, usage=_sum(usages), latency_ms=latency_ms)

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
        await in_thread(lambda: self._notes.add(queued=request_id, references=references))
        return await self._collected(Receipt(request_id, tuple(references)))

    async def _collected(self, receipt: Receipt) -> Collected:
        """Ask until it is done. It is paid for: nothing but its loss ends the asking."""
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
                is_lost = error.scope is not Scope.ATTEMPT or isinstance(error, UnreadableAnswer)
                if error.scope is Scope.RUN or (is_lost and failures >= _TRIES) or failures >= _LOST_AFTER:
                    raise
                done = None
            if done is not None:
                await in_thread(lambda: self._notes.add(collected=receipt.request_id))
                return done
            await self._clock.sleep(pause_s)
            pause_s = min(_LONGEST_PAUSE_S, pause_s * 1.5)

    async def _collect_what_was_left(self) -> None:
        """Before anything new is queued: fetch what an earlier run has queued and paid for."""
        async with self._turn:
            if self._has_collected:
                return
            receipts, n_lost = await in_thread(self._notes.open_receipts)
            if n_lost:
                self._tell(
                    f"{n_lost} requests may have been queued by a run that was cut off before it learned their number; "
                    "they are sent again"
                )
            if receipts:
                self._tell(f"collecting {len(receipts)} queued requests of an earlier run")
            for receipt in receipts:
                try:
                    self._left.update((await self._collected(receipt)).items)
                except AttemptError as error:
                    if error.scope is Scope.RUN:
                        raise
                    self._tell(f"queued request {receipt.request_id} is lost ({error}); what it held is sent again")
                    await in_thread(lambda lost=receipt: self._notes.add(collected=lost.request_id))  # type: ignore[misc]
            self._left = {name: item for name, item in self._left.items() if not isinstance(item, ItemRefused)}
            self._has_collected = True

    async def _one_by_one(self, requests: Mapping[str, Json]) -> Collected:
        gate = asyncio.Semaphore(_SYNCHRONOUS)
        found: dict[str, object] = {}
        usages: list[Usage] = []

        async def one(name: str, item: Json) -> None:
            async with gate:
                await self._pace.wait()
                plain = {key: value for key, value in item.items() if key != "external_reference"}
                try:
                    answer = self._dialect.decode(await self._client.send(self._dialect.encode(plain)))
                except AttemptError as error:
                    if error.scope is Scope.RUN:
                        raise
                    found[name] = ItemRefused(str(error))
                    return
                found[name] = answer.result
                usages.append(answer.usage)

        async with asyncio.TaskGroup() as group:
            for name, item in requests.items():
                group.create_task(one(name, item))
        return Collected(found, _sum(usages))


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
