"""The models: task, price in neurons, limits, and what became of the retired ones.

Takes ``data/models.json`` (ships with the package), hands on `ModelInfo`. Asks no network. Each entry keeps its own
`source`; the file as a whole was collected on 2026-11-22 from developers.cloudflare.com/workers-ai/platform/pricing and
developers.cloudflare.com/workers-ai/platform/limits.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from importlib.resources import files
from types import MappingProxyType
from typing import Final, Protocol, cast

import orjson

from pipeline.errors import PlanError
from pipeline.services import (
    JOB_TASKS,
    NEEDED_PRICES,
    PAID_REQUESTS_PER_MINUTE,
    REPLACEMENTS,
    REQUESTS_PER_MINUTE,
    JobTask,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelInfo:
    """What is published of one model. Prices are neurons.

    Attributes:
        name: As in the address, e.g. ``@cf/baai/bge-m3``.
        task: Cloudflare's task, e.g. ``text-embeddings``.
        input_per_m_tokens: Neurons per million input tokens; None where not published.
        output_per_m_tokens: Neurons per million output tokens, reasoning included.
        cached_input_per_m_tokens: Neurons per million input tokens served from the prompt cache.
        prices: All published neuron prices by unit, those above included.
        context_window: Tokens of input and output together.
        max_batch: Texts per request.
        max_input_tokens: Tokens per text.
        dimensions: Length of an embedding.
        max_tokens_default: Output tokens where a request does not say.
        requests_per_minute: Documented limit; None where none is documented for the model.
        requires_paid: Needs the paid plan or prepaid credits.
        deprecated: ISO date of retirement, None for a living model.
        alias_of: The model that answers under this name.
        reasoning: Thinks before it answers; thoughts are output tokens.
        vision: Sees, by its page; whether images can be sent to it, its schema says.
        async_queue: Cloudflare's queue takes it; None where not known.
        listed: On the pricing page in September 2026.
        assumed_price: Its price is not published; the dearest of its task stands in for it.
        notes: For a person.
        source: Where the figures come from.
        raw: The catalogue entry as it is.
    """

    name: str
    task: str
    input_per_m_tokens: float | None = None
    output_per_m_tokens: float | None = None
    cached_input_per_m_tokens: float | None = None
    prices: Mapping[str, float]
    context_window: int | None = None
    max_batch: int | None = None
    max_input_tokens: int | None = None
    dimensions: int | None = None
    max_tokens_default: int | None = None
    requests_per_minute: int | None = None
    requires_paid: bool = False
    deprecated: str | None = None
    alias_of: str | None = None
    reasoning: bool = False
    vision: bool = False
    async_queue: bool | None = None
    listed: bool = True
    assumed_price: bool = False
    notes: str = ""
    source: str = ""
    raw: Mapping[str, object]

    @property
    def retired(self) -> bool:
        """Whether the service has stopped answering for it."""
        return self.deprecated is not None


class ModelFacts(Protocol):
    """What a user may say of a model (``model_info:``); None leaves the catalogue's figure."""

    @property
    def task(self) -> str | None:
        """Cloudflare's task."""

    @property
    def input_per_m_tokens(self) -> float | None:
        """Neurons per million input tokens."""

    @property
    def output_per_m_tokens(self) -> float | None:
        """Neurons per million output tokens."""

    @property
    def requests_per_minute(self) -> int | None:
        """Limit per minute."""

    @property
    def max_batch(self) -> int | None:
        """Texts per request."""

    @property
    def max_input_tokens(self) -> int | None:
        """Tokens per text."""

    @property
    def context_window(self) -> int | None:
        """Tokens per request."""

    @property
    def dimensions(self) -> int | None:
        """Length of an embedding."""

    @property
    def prices(self) -> Mapping[str, float] | None:
        """Neurons by unit, named as in `ModelInfo.prices`."""


class Catalog:
    """The models by name. Immutable; `load` reads the shipped file once per process."""

    def __init__(self, entries: Mapping[str, ModelInfo]) -> None:
        self._entries = MappingProxyType(dict(entries))

    @staticmethod
    def load() -> Catalog:
        """Return the shipped catalogue."""
        return _shipped()

    def get(self, name: str) -> ModelInfo | None:
        """Return a model, retired ones included; None for a name that is not listed."""
        return self._entries.get(name)

    def models(self, task: str | None = None, *, include_retired: bool = False) -> tuple[ModelInfo, ...]:
        """Return the models in the order of the catalogue.

        Args:
            task: Cloudflare's task or a task of the job spec; None for all.
            include_retired: Also those that no longer answer.
        """
        wanted = None if task is None else JOB_TASKS.get(task) or JobTask("", (task,))
        return tuple(
            model
            for model in self._entries.values()
            if (wanted is None or wanted.takes(model.name, model.task)) and (include_retired or not model.retired)
        )

    def suggest(self, name: str, task: str | None = None) -> tuple[str, ...]:
        """Return up to three names of living models that are written much like `name`, nearest first."""
        names = [model.name for model in self.models(task)]
        by_tail = {tail(known).lower(): known for known in names}
        found = [by_tail[near] for near in difflib.get_close_matches(tail(name).lower(), by_tail, 3, 0.6)]
        found += difflib.get_close_matches(name, names, 3, 0.7)
        return tuple(dict.fromkeys(found))[:3]

    def replacement(self, name: str) -> str | None:
        """Return a living, priced model to use instead of a retired one.

        Known successors first, else the nearest in price of the same maker, else the nearest in price of the task.
        Models that need the paid plan are not proposed. None where the task has no living model.
        """
        model = self.get(name)
        if model is None:
            return None
        living = [
            other
            for other in self.models(model.task)
            if other.prices and not other.requires_paid and other.name != name
        ]
        known = REPLACEMENTS.get(name)
        if known in {other.name for other in living}:
            return known
        family = [other for other in living if _maker(other.name) == _maker(name)]
        nearest = min(family or living, key=lambda other: abs(_weight(other) - _weight(model)), default=None)
        return nearest.name if nearest is not None else None


def resolve_model(
    task: str, model: str | None, model_info: ModelFacts | None = None, *, allow_unpriced: bool = False
) -> ModelInfo:
    """Settle which model a job uses and what is known of it.

    Args:
        task: Task of the job spec, a key of `JOB_TASKS`.
        model: Name from the spec; None for the task's default.
        model_info: What the user says of it; wins over the catalogue.
        allow_unpriced: Let the dearest price of the task stand in for one that is not published.

    Returns:
        The model with the prices its task needs and with `requests_per_minute`, as far as one is documented.

    Raises:
        PlanError: The model is retired, not known, for another task, or has no known price.
    """
    catalog = Catalog.load()
    job_task = JOB_TASKS[task]
    name = model or job_task.default
    known = catalog.get(name)
    if known is not None and known.retired:
        raise PlanError(_retired(catalog, known))
    if known is None:
        if model_info is None:
            raise PlanError(_unknown(catalog, name, task))
        known = ModelInfo(
            name=name,
            task=model_info.task or job_task.cloudflare[0],
            prices={},
            raw={},
            listed=False,
            source="model_info",
        )
    info = _merged(known, model_info)
    if not job_task.takes(info.name, info.task):
        raise PlanError(f"{name} is for {info.task}, not {task}; {task} takes e.g. {job_task.default}")
    units = NEEDED_PRICES[info.task]
    if any(all(unit in info.prices for unit in alternative) for alternative in units):
        return info
    if allow_unpriced:
        assumed = {unit: info.prices.get(unit) or _dearest(catalog, info.task, unit) for unit in units[0]}
        return replace(_priced(info, {**info.prices, **assumed}), assumed_price=True)
    keys = _price_keys([unit for unit in units[0] if unit not in info.prices])
    raise PlanError(
        f"{name} has no published price in neurons; give model_info: {{{keys}}}, or budget: {{unpriced: allow}}"
    )


def server_model(task: str, model: str, model_info: ModelFacts | None = None) -> ModelInfo:
    """Settle what is known of a model on a server that is not Cloudflare's: it counts no neurons.

    Limits of the input are the catalogue's where it knows the name, else those of `model_info`; the pace is that of
    `model_info` alone, for nobody has documented one.

    Args:
        task: Task of the job spec, a key of `JOB_TASKS`.
        model: Name, as the server calls it.
        model_info: What the user says of it; its prices are charged.

    Raises:
        PlanError: The model is for another task.
    """
    tasks = JOB_TASKS[task].cloudflare
    known = Catalog.load().get(model)
    if known is None or known.task not in tasks:
        own = "text-generation" if "text-generation" in tasks else tasks[0]
        known = ModelInfo(name=model, task=own, prices={}, raw={}, listed=False, source="model_info")
    info = _merged(replace(_priced(known, {}), cached_input_per_m_tokens=None), model_info)
    if info.task not in tasks:
        raise PlanError(f"{info.task} is not {task}", key="model_info.task")
    zeros = dict.fromkeys(NEEDED_PRICES[info.task][0], 0.0)
    pace = model_info.requests_per_minute if model_info is not None else None
    return replace(_priced(info, {**zeros, **info.prices}), requests_per_minute=pace, deprecated=None, alias_of=None)


def _priced(info: ModelInfo, prices: Mapping[str, float]) -> ModelInfo:
    """The model with other prices."""
    return replace(
        info,
        prices=MappingProxyType(dict(prices)),
        input_per_m_tokens=prices.get("input_per_m_tokens"),
        output_per_m_tokens=prices.get("output_per_m_tokens"),
    )


def _price_keys(units: Sequence[str]) -> str:
    """How a user writes prices under ``model_info``; those by token have keys of their own."""
    by_token = [unit for unit in units if unit.endswith("put_per_m_tokens")]
    others = ", ".join(f"{unit}: …" for unit in units if unit not in by_token)
    return ", ".join([*(f"{unit}: …" for unit in by_token), *([f"prices: {{{others}}}"] if others else [])])


def _dearest(catalog: Catalog, task: str, unit: str) -> float:
    """The highest price among the living models of a task; of all tasks where none of it has one."""
    of_task = [model.prices.get(unit, 0.0) for model in catalog.models(task)]
    return max(of_task, default=0.0) or max(model.prices.get(unit, 0.0) for model in catalog.models())


def tail(name: str) -> str:
    """Return the last part of a model name: ``bge-m3``."""
    return name.rsplit("/", 1)[-1]


def _maker(name: str) -> str:
    """Family of a model: the first word of its last part, e.g. llama, gemma, bge."""
    return tail(name).lower().removeprefix("meta-").split("-", 1)[0].rstrip("0123456789.")


def _weight(model: ModelInfo) -> float:
    """Place on a price scale on which doublings are equally far apart; mid-field without a price."""
    price = model.prices.get("output_per_m_tokens") or model.prices.get("input_per_m_tokens") or 30_000.0
    return math.log(price)


def _retired(catalog: Catalog, model: ModelInfo) -> str:
    sentence = f"{model.name} was retired on {model.deprecated}"
    if model.alias_of is not None:
        sentence += f" and its calls go to {model.alias_of} at that model's price"
    instead = catalog.replacement(model.name)
    return f"{sentence}; use {instead}" if instead else f"{sentence}; its task has no living model"


def _unknown(catalog: Catalog, name: str, task: str) -> str:
    near = catalog.suggest(name, task) or catalog.suggest(name)
    hint = f"did you mean {' or '.join(near)}? If it is new, " if near else ""
    keys = _price_keys(NEEDED_PRICES[JOB_TASKS[task].cloudflare[0]][0])
    return f"{name} is not in the catalogue; {hint}give model_info: {{{keys}}}"


def _merged(model: ModelInfo, facts: ModelFacts | None) -> ModelInfo:
    """Lay the user's figures over the catalogue's and fill in the documented limit of the task."""
    limit = model.requests_per_minute
    if limit is None:
        limit = PAID_REQUESTS_PER_MINUTE if model.requires_paid else REQUESTS_PER_MINUTE.get(model.task)
    merged = replace(model, requests_per_minute=limit)
    if facts is None:
        return merged
    names = ("input_per_m_tokens", "output_per_m_tokens")
    given: dict[str, float] = {name: value for name in names if (value := getattr(facts, name)) is not None}
    return replace(
        _priced(merged, {**merged.prices, **(facts.prices or {}), **given}),
        task=facts.task or merged.task,
        requests_per_minute=facts.requests_per_minute or merged.requests_per_minute,
        max_batch=facts.max_batch or merged.max_batch,
        max_input_tokens=facts.max_input_tokens or merged.max_input_tokens,
        context_window=facts.context_window or merged.context_window,
        dimensions=facts.dimensions or merged.dimensions,
    )


_CONVERTER: Final = ModelInfo(
    name="tomarkdown",
    task="document-conversion",
    prices=MappingProxyType({}),
    notes="the service behind /ai/tomarkdown; no price is published, what an answer names is booked",
    source="developers.cloudflare.com/workers-ai/features/markdown-conversion/, 2026-11-22",
    raw=MappingProxyType({}),
)


@lru_cache(maxsize=1)
def _shipped() -> Catalog:
    entries = cast("list[dict[str, object]]", orjson.loads(files("pipeline").joinpath("data/models.json").read_bytes()))
    by_name = {cast("str", entry["model"]): entry for entry in entries}
    return Catalog({**{name: _entry(entry, by_name) for name, entry in by_name.items()}, _CONVERTER.name: _CONVERTER})


def _entry(entry: Mapping[str, object], by_name: Mapping[str, Mapping[str, object]]) -> ModelInfo:
    priced = entry
    # One model has two names, and the price stands under the other (facts: pricing and catalogue pages disagree).
    if not entry["neurons"] and "price_alias" in entry:
        priced = by_name[cast("str", entry["price_alias"])]
    prices = {unit: float(value) for unit, value in cast("Mapping[str, float]", priced["neurons"]).items()}
    return ModelInfo(
        name=cast("str", entry["model"]),
        task=cast("str", entry["task"]),
        input_per_m_tokens=prices.get("input_per_m_tokens"),
        output_per_m_tokens=prices.get("output_per_m_tokens"),
        cached_input_per_m_tokens=prices.get("cached_input_per_m_tokens"),
        prices=MappingProxyType(prices),
        context_window=_whole(entry, "context_window"),
        max_batch=_whole(entry, "max_batch"),
        max_input_tokens=_whole(entry, "max_input_tokens"),
        dimensions=_whole(entry, "dimensions"),
        max_tokens_default=_whole(entry, "max_tokens_default"),
        requests_per_minute=_whole(entry, "rpm"),
        requires_paid=bool(entry.get("requires_paid")),
        deprecated=cast("str | None", entry.get("deprecated")),
        alias_of=cast("str | None", entry.get("alias_of")),
        reasoning=bool(entry.get("reasoning")),
        vision=bool(entry.get("vision")),
        async_queue=cast("bool | None", entry.get("async_batch")),
        listed=bool(entry.get("listed_2026_09")),
        notes=cast("str", entry.get("notes", "")),
        source=cast("str", entry.get("source", "")),
        raw=MappingProxyType(dict(entry)),
    )


def _whole(entry: Mapping[str, object], key: str) -> int | None:
    value = entry.get(key)
    return value if isinstance(value, int) and not isinstance(value, bool) else None
