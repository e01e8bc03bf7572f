"""The models the emulator knows: figures from ``models.json``, published JSON schemas from ``schemas.json``.

Both files are the package's data; they are read here once more, by separate code, so that a slip of the catalogue shows
as a disagreement instead of being repeated.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Final

import jsonschema_rs
import orjson

from pipeline.emulator.refusals import Refusal, bad_input

DEFAULT_MAX_TOKENS: Final = 256
MAX_REPORTED: Final = 3

STAND_IN_SCHEMAS: Final = {
    "@cf/meta/llama-3.1-8b-instruct-fp8-fast": "@cf/meta/llama-3.1-8b-instruct-fp8",
    "@cf/meta/llama-3.1-8b-instruct-fast": "@cf/meta/llama-3.1-8b-instruct-fp8",
    "@cf/meta/llama-3.1-70b-instruct-fp8-fast": "@cf/meta/llama-3.1-8b-instruct-fp8",
    "@cf/deepseek-ai/deepseek-v4.1-flash-1017": "@cf/deepseek-ai/deepseek-v4-flash-0731",
    "@cf/daily-co/phonellm-mini-alpha-2": "@cf/google/gemma-4-26b-a4b-it",
    "@cf/swiss-ai/apertus-v1.5-8b": "@cf/google/gemma-4-26b-a4b-it",
}
"""Models without a published schema, and the nearest relative whose schema is used for them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """Figures of one model.

    Attributes:
        name: e.g. ``@cf/baai/bge-m3``.
        task: e.g. ``text-embeddings``.
        input_price: Neurons per million input tokens; None when unpublished.
        output_price: Neurons per million output tokens; None when unpublished or not charged.
        context_window: Tokens of a whole request; None when unpublished.
        max_input_tokens: Tokens of one text; None when unpublished.
        max_batch: Texts of one request; None when unpublished.
        dimensions: Length of an embedding; None when unpublished.
        max_tokens_default: Output tokens when the request names no bound.
        rpm: Requests per minute; None when unpublished.
        reasoning: Thinks before it answers.
        requires_paid: Refused on Workers Free.
        deprecated: Day it was retired, None while it serves.
        facts: The whole entry of the data file.
    """

    name: str
    task: str
    input_price: float | None
    output_price: float | None
    context_window: int | None
    max_input_tokens: int | None
    max_batch: int | None
    dimensions: int | None
    max_tokens_default: int
    rpm: int | None
    reasoning: bool
    requires_paid: bool
    deprecated: str | None
    facts: dict[str, object]

    def neurons(self, input_tokens: int, output_tokens: int = 0) -> float | None:
        """Return the unrounded charge, None for a model without a published price."""
        if self.input_price is None:
            return None
        return (input_tokens * self.input_price + output_tokens * (self.output_price or 0.0)) / 1e6


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _integer(value: object) -> int | None:
    number = _number(value)
    return None if number is None else int(number)


def _read(facts: dict[str, object]) -> Model:
    prices = facts.get("neurons")
    prices = prices if isinstance(prices, dict) else {}
    deprecated = facts.get("deprecated")
    return Model(
        name=str(facts["model"]),
        task=str(facts["task"]),
        input_price=_number(prices.get("input_per_m_tokens")),
        output_price=_number(prices.get("output_per_m_tokens")),
        context_window=_integer(facts.get("context_window")),
        max_input_tokens=_integer(facts.get("max_input_tokens")),
        max_batch=_integer(facts.get("max_batch")),
        dimensions=_integer(facts.get("dimensions")),
        max_tokens_default=_integer(facts.get("max_tokens_default")) or DEFAULT_MAX_TOKENS,
        rpm=_integer(facts.get("rpm")),
        reasoning=facts.get("reasoning") is True,
        requires_paid=facts.get("requires_paid") is True,
        deprecated=str(deprecated) if deprecated else None,
        facts=facts,
    )


def _data(name: str) -> object:
    return orjson.loads(files("pipeline").joinpath("data", name).read_bytes())


@cache
def models() -> dict[str, Model]:
    """Return every model by name, retired ones included."""
    entries = _data("models.json")
    if isinstance(entries, dict):
        entries = entries["models"]
    assert isinstance(entries, list)
    return {entry["model"]: _read(entry) for entry in entries}


def find_model(name: str) -> Model:
    """Return a model that serves, following the alias of a retired one.

    Raises:
        Refusal: 400 / 5007 for a name that is unknown or retired.
    """
    model = models().get(name)
    if model is not None and model.deprecated:
        alias = model.facts.get("alias_of")
        model = models().get(alias) if isinstance(alias, str) else None
    if model is None:
        raise Refusal(5007, f"AiError: No such model {name} or task")
    return model


@cache
def _schemas() -> dict[str, dict[str, dict[str, object]]]:
    whole = _data("schemas.json")
    assert isinstance(whole, dict)
    schemas: dict[str, dict[str, dict[str, object]]] = whole["models"]
    return schemas


def published_schema(name: str, side: str) -> dict[str, object] | None:
    """Return the JSON schema of a model's ``input`` or ``output``, None when there is none."""
    entry = _schemas().get(name) or _schemas().get(STAND_IN_SCHEMAS.get(name, ""))
    return entry[side] if entry and side in entry else None


@cache
def output_fields(name: str) -> frozenset[str]:
    """Return the top-level fields the published output schema names, over all its alternatives."""
    schema = published_schema(name, "output") or {}
    found: set[str] = set()
    waiting: list[object] = [schema]
    while waiting:
        node = waiting.pop()
        if not isinstance(node, dict):
            continue
        found.update(node.get("properties", ()))
        for key in ("anyOf", "oneOf", "allOf"):
            waiting.extend(node.get(key, ()))
        reference = str(node.get("$ref", ""))
        if reference:
            definitions = schema.get("definitions")
            waiting.append(definitions.get(reference.rsplit("/", 1)[-1]) if isinstance(definitions, dict) else None)
    return frozenset(found)


@cache
def output_mentions(name: str, field: str) -> bool:
    """Say whether the published output schema names `field` anywhere."""
    return f'"{field}":'.encode() in orjson.dumps(published_schema(name, "output"))


@cache
def _validator(name: str) -> jsonschema_rs.Draft7Validator | None:
    schema = published_schema(name, "input")
    return None if schema is None else jsonschema_rs.Draft7Validator(schema)


def check_input(model: Model, body: dict[str, object]) -> None:
    """Hold a request body against the model's published input schema.

    Raises:
        Refusal: 400 / 5006 with the paths at fault.
    """
    if not all(value is None or isinstance(value, str | int | float | list | dict) for value in body.values()):
        raise bad_input("type at '/' not met: an object is wanted, not a file or a form")
    validator = _validator(model.name)
    if validator is None or validator.is_valid(body):
        return
    problems = []
    for error in validator.iter_errors(body):
        path = "/" + "/".join(str(step) for step in error.instance_path)
        problems.append(f"{error.kind.name} at '{path}' not met: {error.message[:200]}")
        if len(problems) == MAX_REPORTED:
            break
    raise bad_input("; ".join(problems))
