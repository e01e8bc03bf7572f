"""The endpoints of a job with nothing left to decide: where each is, what answers there, at what price and pace."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from pipeline.addresses import account_in
from pipeline.catalog import Catalog, ModelInfo, resolve_model, server_model
from pipeline.dialects.kinds import (
    KINDS,
    base_url_of,
    check_endpoint,
    counts_neurons,
    goes_through_gateway,
    needs_account,
)
from pipeline.errors import PlanError
from pipeline.interfaces import TaskAdapter
from pipeline.schemas import check_params, input_fields
from pipeline.settings import Settings
from pipeline.spec import JobSpec
from pipeline.spec.model import EndpointSpec, LaneSpec
from pipeline.tasks import TaskContext, TaskKind
from pipeline.tasks.queued import Queued
from pipeline.template import TextTemplate
from pipeline.words import neurons

CAUTIOUS_REQUESTS_PER_MINUTE: Final = 300
"""For a model whose task has no documented limit: the lowest one there is without the paid plan (text generation)."""

_SERVER_FIELDS: Final = frozenset({"messages", "max_tokens", "response_format", "text", "prompt"})
"""Input fields that any server is taken to know; those the user names come on top."""

_FALLBACK: Final = "fallback"
_MOST_QUEUED: Final = 8


@dataclass(frozen=True, slots=True)
class LanePlan:
    """One endpoint of a job.

    Attributes:
        number: 0-based, in the order of the spec; that of the first for `fallback_model`, which is the same endpoint.
        name: As in the spec.
        endpoint: How it is reached.
        base_url: Where its requests go; empty for an emulator that the run starts.
        model: That answers there.
        adapter: Prices and reads its requests; that of the first lane where nothing differs.
        weight: As in `Lane`.
        counts_neurons: Cloudflare answers itself, or an emulator of it; published schemas and prices hold there.
        through_gateway: Answers come through an AI Gateway.
        concurrency: Requests in flight at most.
        requests_per_minute: The pace.
        is_rate_guessed: Nobody has documented how fast requests may follow each other.
        neurons_per_day: Allowance of its account.
    """

    number: int
    name: str
    endpoint: LaneSpec
    base_url: str
    model: ModelInfo
    adapter: TaskAdapter
    weight: float
    counts_neurons: bool
    through_gateway: bool
    concurrency: int
    requests_per_minute: int
    is_rate_guessed: bool
    neurons_per_day: float

    @property
    def is_free(self) -> bool:
        """Its server counts no neurons, and the job names no price for it."""
        return not self.counts_neurons and not any(self.model.prices.values())

    def book(self, account_id: str) -> str:
        """Whose allowance its neurons are booked to: an account's, or that of a server with its own prices."""
        if self.counts_neurons:
            return account_in(self.base_url) or account_id
        return f"server-{urlsplit(self.base_url).netloc}"


def lanes_of(spec: JobSpec) -> list[LaneSpec]:
    """The endpoints as the spec gives them, a single one included."""
    lanes = list(spec.endpoints) or [LaneSpec.model_validate(spec.endpoint.model_dump())]
    if spec.fallback_model is not None:
        more = {"name": _FALLBACK, "model": spec.fallback_model, "weight": 0.0}
        lanes.append(lanes[0].model_copy(update=more))
    return lanes


def variables_of(spec: JobSpec) -> tuple[bool, list[str]]:
    """Whether the usual account and token are needed, and which variables hold keys of other servers."""
    lanes = lanes_of(spec)
    needs = any(needs_account(lane) and not (lane.account_id_env and lane.api_key_env) for lane in lanes)
    return needs, [lane.api_key_env for lane in lanes if lane.api_key_env and not needs_account(lane)]


def plan_lanes(
    spec: JobSpec, kind: TaskKind, text: TextTemplate, settings: Settings, *, embeds_emulator: bool
) -> tuple[LanePlan, ...]:
    """Settle every endpoint; what one does not say of itself is said for all. Those that only stand in come last.

    Raises:
        PlanError: Names the key that is at fault.
    """
    given = lanes_of(spec)
    if not any(lane.weight for lane in given):
        raise PlanError("every endpoint has weight 0: none would ever be used first", key="endpoints.0.weight")
    if len(given) > 1 and any(lane.mode == "queue" for lane in given):
        raise PlanError("a queue refuses nothing, so there is nothing to spread: use one endpoint", key="endpoint.mode")
    emulators = [number for number, lane in enumerate(given) if lane.kind == "emulator"]
    if emulators and not embeds_emulator:
        problem = "an emulator stands for all endpoints or for none; to try the job out: wai run --rehearse"
        raise PlanError(problem, key=f"endpoints.{emulators[0]}.kind")
    plans: list[LanePlan] = []
    for number, lane in sorted(enumerate(given), key=lambda each: each[1].weight == 0):
        name = lane.name or (f"{lane.kind}-{number + 1}" if spec.endpoints else lane.kind)
        at = f"endpoints.{number}" if spec.endpoints and name != _FALLBACK else "endpoint"
        if name in {plan.name for plan in plans}:
            raise PlanError(f'"{name}" names two endpoints', key=f"{at}.name")
        own = 0 if spec.fallback_model is not None and number == len(given) - 1 else number
        try:
            plans.append(_plan(spec, kind, text, settings, own, name, lane, plans, embeds_emulator=embeds_emulator))
        except ParamsRefused:
            raise
        except PlanError as exc:
            key = exc.key.replace("endpoint", at, 1) if exc.key.startswith("endpoint.") else exc.key
            if not key and lane.model is not None:
                key = "fallback_model" if name == _FALLBACK else f"{at}.model"
            raise PlanError(exc.problem, key=key) from exc
    return tuple(plans)


def _plan(
    spec: JobSpec,
    kind: TaskKind,
    text: TextTemplate,
    settings: Settings,
    number: int,
    name: str,
    lane: LaneSpec,
    before: list[LanePlan],
    *,
    embeds_emulator: bool,
) -> LanePlan:
    counted = embeds_emulator or counts_neurons(lane)
    check_endpoint(lane, spec.task, settings, reconciles=spec.budget.reconcile and not before)
    model = _model(spec, lane, counted=counted)
    adapter = _shared(kind, lane, model, before, counted=counted)
    if adapter is None:
        adapter = _adapter(spec, kind, model, text, counted=counted)
        adapter = _queued(model, adapter) if lane.mode == "queue" else adapter
    per_day = lane.budget.neurons_per_day or spec.budget.neurons_per_day
    if per_day <= spec.budget.reserve_for_others:
        problem = f"budget.reserve_for_others ({neurons(spec.budget.reserve_for_others)}) leaves nothing of it"
        raise PlanError(problem, key="endpoint.budget.neurons_per_day")
    documented = lane.limits.requests_per_minute or spec.limits.requests_per_minute or model.requests_per_minute
    return LanePlan(
        number=number,
        name=name,
        endpoint=lane,
        base_url="" if embeds_emulator else base_url_of(lane, settings),
        model=model,
        adapter=adapter,
        weight=lane.weight,
        counts_neurons=counted,
        through_gateway=goes_through_gateway(lane, settings),
        concurrency=min(lane.limits.concurrency or spec.limits.concurrency, _queue_bound(lane)),
        requests_per_minute=documented or CAUTIOUS_REQUESTS_PER_MINUTE,
        is_rate_guessed=documented is None,
        neurons_per_day=per_day,
    )


def _queue_bound(lane: LaneSpec) -> int:
    """How many may be in flight: a queued request holds its neurons until it is done."""
    return _MOST_QUEUED if lane.mode == "queue" else sys.maxsize


def _model(spec: JobSpec, lane: LaneSpec, *, counted: bool) -> ModelInfo:
    """The model with its prices: Cloudflare's from the catalogue, another server's free of neurons."""
    asked = lane.model or spec.model
    if not counted:
        name = asked or KINDS[lane.kind].model
        if name is None:
            raise PlanError(f"missing; name the model as the server at {lane.base_url} calls it", key="model")
        return server_model(spec.task, name, spec.model_info)
    # the emulator of a rehearsal knows Cloudflare's models only: the task's default stands in for others
    known = _is_cloudflares(lane) or Catalog.load().get(asked or "") is not None
    facts = spec.model_info if known and lane.model is None else None
    return resolve_model(spec.task, asked if known else None, facts, allow_unpriced=spec.budget.unpriced == "allow")


def _is_cloudflares(endpoint: EndpointSpec) -> bool:
    return endpoint.kind in {"workers-ai", "emulator"} or counts_neurons(endpoint)


def _shared(
    kind: TaskKind, lane: LaneSpec, model: ModelInfo, before: list[LanePlan], *, counted: bool
) -> TaskAdapter | None:
    """The adapter of an earlier lane where this one can do with it.

    Raises:
        PlanError: Its answers would not go with those of the first.
    """
    if not before:
        return None
    first = before[0]
    if not counted:
        return first.adapter
    for earlier in before:
        if earlier.counts_neurons and earlier.model.name == model.name:
            return earlier.adapter
    if kind.name == "embed" and lane.model is not None and model.name != first.model.name:
        raise PlanError("vectors of different models cannot be compared: one job has one model for embed")
    return None


def _adapter(spec: JobSpec, kind: TaskKind, model: ModelInfo, text: TextTemplate, *, counted: bool) -> TaskAdapter:
    problems: list[tuple[str, str]] = []
    if counted:
        fields = input_fields(model.name, model.task) or frozenset()
        problems = param_problems(spec, kind, model)
    else:
        fields = _SERVER_FIELDS | spec.params.keys()
        _check_owned(spec, kind)
    wrong = {key.removeprefix("params.").partition("[")[0].partition(".")[0] for key, _ in problems}
    context = TaskContext(
        model=model,
        params={name: value for name, value in spec.params.items() if name not in wrong},
        text=text,
        fields=fields,
        batch_size=spec.limits.batch_size,
        subtitles=spec.output.subtitles,
        vectors=spec.output.vectors,
    )
    if problems:
        raise ParamsRefused(problems + _problem_of_task(kind, context))
    return kind.adapter(context)


def _queued(model: ModelInfo, adapter: TaskAdapter) -> TaskAdapter:
    """The task by way of the queue.

    Raises:
        PlanError: The model is known to have none.
    """
    if model.async_queue is False:
        raise PlanError(f"{model.name} has no queue; leave mode out", key="endpoint.mode")
    return Queued(adapter, model.name)


class ParamsRefused(PlanError):
    """Several parameters are wrong.

    Attributes:
        problems: (key, what is wrong) for each.
    """

    def __init__(self, problems: list[tuple[str, str]]) -> None:
        super().__init__(problems[0][1], key=problems[0][0])
        self.problems = problems


def param_problems(spec: JobSpec, kind: TaskKind, model: ModelInfo) -> list[tuple[str, str]]:
    """Parameters that are not the model's by its published schema, or of the wrong kind, and what is wrong."""
    params = {key: value for key, value in spec.params.items() if key not in kind.extra}
    lines = check_params(model.name, model.task, params, kind.owned, extra=kind.extra, carriers=kind.carriers)
    return [(key, problem) for key, _, problem in (line.partition(": ") for line in lines)]


def _problem_of_task(kind: TaskKind, context: TaskContext) -> list[tuple[str, str]]:
    """What the task says against the parameters the schema has nothing against; nothing of those that are not given."""
    try:
        kind.adapter(context)
    except PlanError as exc:
        if exc.key.removeprefix("params.") in context.params:
            return [(exc.key, exc.problem)]
    return []


def _check_owned(spec: JobSpec, kind: TaskKind) -> None:
    """Of a server without a published schema only the task's own fields are known."""
    for name in spec.params:
        if name in kind.owned and name not in kind.extra:
            raise PlanError("is set by the task itself; remove it", key=f"params.{name}")
