"""The inference endpoints: ``/ai/run/{model}``, ``/ai/tomarkdown``, ``/ai/v1/chat/completions``, ``/ai/v1/embeddings``.

All but ``/ai/tomarkdown`` are found behind the older address of an AI Gateway as well.

The order of judging: route, account, token, body, model, gateway, faults, allocation, capacity, requests per minute,
input. An inference that has begun is metered even when nobody waits for its answer any more.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Final

from aiohttp import web

from pipeline.emulator.faults import AFTER, Rule
from pipeline.emulator.gateway import gateway_of
from pipeline.emulator.identity import check_account
from pipeline.emulator.models import Model, find_model
from pipeline.emulator.refusals import Refusal
from pipeline.emulator.sabotage import afterwards, instead
from pipeline.emulator.state import Emulator
from pipeline.emulator.tasks import CONVERTER, CONVERTING, OPENAI_CHAT, OPENAI_EMBEDDINGS, TASKS, Ran, Task
from pipeline.emulator.tasks.base import Json, Upload
from pipeline.emulator.wire import dump, envelope, json_response, next_uuid, read_body, read_input, refusal_response


@dataclass(slots=True, kw_only=True)
class Call:
    """What is known of one request so far; what is left at the end goes into the request log."""

    began: float
    account: str = ""
    model: str = ""
    reached_model: bool = False
    fault: str | None = None
    code: int | None = None
    size_bytes: int = 0
    texts: int = 0
    neurons: float | None = None
    digests: tuple[bytes, ...] = ()


@dataclass(frozen=True, slots=True)
class Fixed:
    """What an address settles that is not that of one model.

    Attributes:
        task: Answers it.
        task_name: Whose models may be named in the body.
        model: Answers whatever the body names; None where the body names one.
        is_bare: The answer has no envelope.
    """

    task: Task
    task_name: str
    model: Model | None = None
    is_bare: bool = True


CHAT: Final = Fixed(OPENAI_CHAT, "text-generation")
EMBEDDINGS: Final = Fixed(OPENAI_EMBEDDINGS, "text-embeddings")
MARKDOWN: Final = Fixed(CONVERTING, CONVERTER.task, model=CONVERTER, is_bare=False)


class InferenceRoutes:
    """Handlers over one emulator."""

    def __init__(self, emulator: Emulator) -> None:
        self._emulator = emulator

    async def run(self, request: web.Request) -> web.StreamResponse:
        """``POST /accounts/{account}/ai/run/{model}``."""
        return await self._counted(request, None)

    async def chat(self, request: web.Request) -> web.StreamResponse:
        """``POST /accounts/{account}/ai/v1/chat/completions``."""
        return await self._counted(request, CHAT)

    async def embeddings(self, request: web.Request) -> web.StreamResponse:
        """``POST /accounts/{account}/ai/v1/embeddings``."""
        return await self._counted(request, EMBEDDINGS)

    async def markdown(self, request: web.Request) -> web.StreamResponse:
        """``POST /accounts/{account}/ai/tomarkdown``."""
        return await self._counted(request, MARKDOWN)

    async def _counted(self, request: web.Request, fixed: Fixed | None) -> web.StreamResponse:
        emulator = self._emulator
        emulator.stats.arrived()
        call = Call(began=emulator.monotonic())
        try:
            response = await self._answer(request, call, fixed)
        except Refusal as refusal:
            call.code = refusal.code
            response = refusal_response(refusal, reached_model=call.reached_model)
        ended: int | str = call.fault if call.fault in {"reset", "hang"} and call.fault else response.status
        emulator.stats.answered(ended, call.code)
        emulator.log(
            {
                "at": emulator.now(),
                "account": call.account,
                "model": call.model,
                "status": ended,
                "code": call.code,
                "fault": call.fault,
                "neurons": call.neurons,
                "texts": call.texts,
                "inputs": [digest.hex() for digest in call.digests],
                "size_bytes": call.size_bytes,
                "ms": round((emulator.monotonic() - call.began) * 1000.0, 3),
            }
        )
        return response

    async def _answer(self, request: web.Request, call: Call, fixed: Fixed | None) -> web.StreamResponse:
        call.account = check_account(request)
        raw = await read_body(request)
        call.size_bytes = len(raw)
        body = await read_input(request, raw)
        model, task = _task_of(request.match_info.get("model") or body.get("model"), fixed)
        call.model, call.reached_model = model.name, True
        through_gateway = gateway_of(request) is not None
        if request.query.get("queueRequest", "").lower() == "true" or "requests" in body or "request_id" in body:
            return self._queued(request, call, model, task, body)
        if through_gateway and (kept := self._emulator.cache.get(request, raw)) is not None:
            return json_response(kept, headers=_gateway_headers("HIT"))
        struck = self._emulator.faults.strike(raw, model.name)
        rule = struck.rule
        if rule is not None:
            call.fault = rule.fault
            self._emulator.stats.faulted(rule.fault)
            if rule.fault not in AFTER:
                await asyncio.sleep(struck.delay_s)
                return await instead(request, rule)
        _drop_options(body)
        ran = await self._inference(call, model, task, body, struck.delay_s)
        is_bare = (fixed is not None and fixed.is_bare) or isinstance(ran.output, Upload)
        answer = ran.output if is_bare else envelope(ran.output)
        headers = {"cf-ai-req-id": next_uuid()}
        if ran.neurons is not None and not ran.is_silent:
            headers["cf-ai-neurons"] = f"{ran.neurons:.2f}"
        if through_gateway:
            headers |= _gateway_headers("MISS")
        response = await self._deliver(request, ran, answer, rule, headers)
        if through_gateway and rule is None and not isinstance(answer, Upload):
            self._emulator.cache.put(request, raw, dump(answer))
        return response

    def _queued(self, request: web.Request, call: Call, model: Model, task: Task, body: Json) -> web.Response:
        emulator = self._emulator
        queues = request.query.get("queueRequest", "").lower() == "true"
        if "requests" in body:
            emulator.gates.admit(call.account, model)
            emulator.gates.leave()
        taken = emulator.queue.handle(call.account, model, task, body, call.size_bytes, emulator.config, queues=queues)
        for ran in taken.ran:
            self._meter(call, model, ran)
            call.texts += ran.texts
            call.digests += ran.digests
        return json_response(envelope(taken.answer), headers={"cf-ai-req-id": next_uuid()})

    async def _inference(self, call: Call, model: Model, task: Task, body: Json, delay_s: float) -> Ran:
        emulator = self._emulator
        emulator.gates.admit(call.account, model)
        try:
            ran = task(model, body, emulator.config)
            delay_s += emulator.next_latency_s()
            if delay_s > 0.0:
                await asyncio.sleep(delay_s)
        except Refusal as refusal:
            if refusal.neurons is not None:
                call.neurons = refusal.neurons
                emulator.meters.charge(
                    call.account, model.name, neurons=refusal.neurons, input_tokens=0, output_tokens=0
                )
            raise
        finally:
            emulator.gates.leave()
        self._meter(call, model, ran)
        call.texts, call.neurons, call.digests = ran.texts, ran.neurons, ran.digests
        return ran

    def _meter(self, call: Call, model: Model, ran: Ran) -> None:
        self._emulator.meters.charge(
            call.account,
            model.name,
            neurons=ran.neurons,
            input_tokens=ran.input_tokens,
            output_tokens=ran.output_tokens,
            audio_seconds=ran.audio_seconds,
            tiles=ran.tiles,
        )
        self._emulator.stats.ran(ran.texts)

    async def _deliver(
        self, request: web.Request, ran: Ran, answer: object, rule: Rule | None, headers: dict[str, str]
    ) -> web.StreamResponse:
        if rule is not None and rule.fault != "slow_body":
            return await afterwards(request, rule, answer, headers)
        self._emulator.stats.delivered(ran.digests)
        if rule is not None:
            return await afterwards(request, rule, answer, headers)
        return json_response(answer, headers=headers)


def _gateway_headers(cache: str) -> dict[str, str]:
    return {"cf-aig-log-id": next_uuid(), "cf-aig-cache-status": cache}


def _task_of(name: object, fixed: Fixed | None) -> tuple[Model, Task]:
    if fixed is not None and fixed.model is not None:
        return fixed.model, fixed.task
    if not isinstance(name, str):
        raise Refusal(5006, "AiError: AiError: Bad input: Error: required properties at '/' are 'model'")
    model = find_model(name)
    if fixed is not None:
        if model.task != fixed.task_name:
            raise Refusal(5007, f"AiError: No such model {name} or task")
        return model, fixed.task
    if model.task not in TASKS:
        raise Refusal(5007, f"AiError: No such model {name} or task ({model.task} is not simulated)")
    return model, TASKS[model.task]


def _drop_options(body: Json) -> None:
    """``options`` steers the platform and is no part of the model's input (changelog of 2026-09-17)."""
    options = body.get("options")
    if isinstance(options, dict) and set(options) <= {"rejectIfBusy"}:
        del body["options"]
