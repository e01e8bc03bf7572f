"""Cloudflare's queue: requests are taken, fulfilled a little later, and fetched by their number.

Shapes: developers.cloudflare.com/workers-ai/features/batch-api/rest-api/ (2026-09). As public clients saw it (2026-08):
answers out of order, the list named ``results`` for every other request, and results nested once more.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from pipeline.emulator.config import EmulatorConfig
from pipeline.emulator.models import Model
from pipeline.emulator.refusals import Refusal, bad_input
from pipeline.emulator.tasks.base import Json, Ran, Task, Upload
from pipeline.emulator.wire import next_uuid

MAX_QUEUED_BYTES: Final = 10_000_000
RUNS_AFTER_S: Final = 0.2
DONE_AFTER_S: Final = 0.6
UNSUPPORTED: Final = "AiError: This model does not support request queuing"


@dataclass(slots=True)
class _Waiting:
    account: str
    model: str
    began: float
    answer: Json


@dataclass(frozen=True, slots=True)
class Taken:
    """What a request to the queue came to.

    Attributes:
        answer: The ``result`` of the envelope.
        ran: What was run for it, to be metered; None for a question.
    """

    answer: Json
    ran: tuple[Ran, ...] = ()


class RequestQueue:
    """The queue of all accounts.

    Args:
        monotonic: Seconds that never go backwards.
    """

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._waiting: dict[str, _Waiting] = {}

    def clear(self) -> None:
        """Forget everything."""
        self._waiting.clear()

    def handle(
        self, account: str, model: Model, task: Task, body: Json, size: int, config: EmulatorConfig, *, queues: bool
    ) -> Taken:
        """Take requests into the queue, or say how far one is.

        Args:
            account: Whose.
            model: That answers.
            task: What it does.
            body: ``{requests: [...]}`` or ``{request_id}``.
            size: Bytes of the body.
            config: Options.
            queues: The address asked for the queue.

        Raises:
            Refusal: The model has no queue, the body is too large or is neither.
        """
        request_id = body.get("request_id")
        if isinstance(request_id, str):
            return Taken(self._progress(account, model, request_id))
        if model.facts.get("async_batch") is not True:
            raise Refusal(8007, UNSUPPORTED)
        if size >= MAX_QUEUED_BYTES:
            raise Refusal(3006)
        requests = body.get("requests")
        if not queues or not isinstance(requests, list) or not requests:
            raise bad_input("required properties at '/' are 'requests', with ?queueRequest=true")
        items: list[Json] = []
        ran: list[Ran] = []
        for index, request in enumerate(requests):
            item, done = _run(model, task, request, index, config)
            items.append(item)
            ran += done
        number = next_uuid()
        named = "responses" if len(self._waiting) % 2 == 0 else "results"
        tokens = sum(each.input_tokens for each in ran), sum(each.output_tokens for each in ran)
        neurons = sum(each.neurons or 0.0 for each in ran)
        usage = {"prompt_tokens": tokens[0], "completion_tokens": tokens[1], "neurons": neurons}
        self._waiting[number] = _Waiting(
            account, model.name, self._monotonic(), {named: list(reversed(items)), "usage": usage}
        )
        return Taken({"status": "queued", "request_id": number, "model": model.name}, tuple(ran))

    def _progress(self, account: str, model: Model, request_id: str) -> Json:
        waiting = self._waiting.get(request_id)
        if waiting is None or (waiting.account, waiting.model) != (account, model.name):
            raise bad_input("unknown request_id")
        seconds = self._monotonic() - waiting.began
        if seconds < DONE_AFTER_S:
            status = "queued" if seconds < RUNS_AFTER_S else "running"
            return {"status": status, "request_id": request_id, "model": model.name}
        return waiting.answer


def _run(model: Model, task: Task, request: object, index: int, config: EmulatorConfig) -> tuple[Json, list[Ran]]:
    """Fulfil one request; a refusal is its own."""
    if not isinstance(request, dict):
        return {"id": index, "success": False, "error": "a request is an object"}, []
    body = dict(request)
    reference = body.pop("external_reference", None)
    item: Json = {"id": index, "external_reference": reference}
    try:
        ran = task(model, body, config)
    except Refusal as refusal:
        return {**item, "success": False, "error": refusal.message}, []
    output = ran.output
    if isinstance(output, Upload):
        return {**item, "success": False, "error": "the queue answers with JSON only"}, [ran]
    nested: object = output if index % 2 else {"result": output}
    return {**item, "success": True, "result": nested}, [ran]
