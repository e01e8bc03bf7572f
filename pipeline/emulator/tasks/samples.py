"""Values that satisfy simple JSON schemas, for JSON mode. Deterministic given the random source."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from typing import Final

from pipeline.emulator.tasks.base import Json

DEEPEST: Final = 12
FORMATS: Final = {
    "date": "2026-01-31",
    "date-time": "2026-01-31T12:00:00Z",
    "time": "12:00:00Z",
    "email": "simulated@example.com",
    "uri": "https://example.com/simulated",
    "uuid": "00000000-0000-4000-8000-000000000000",
}


class Sampler:
    """Makes one value for one schema.

    Args:
        root: The whole schema, for ``$ref``.
        chance: Source of choices.
        words: Gives some words for a string.
    """

    def __init__(self, root: Json, chance: random.Random, words: Callable[[], str]) -> None:
        self._root = root
        self._chance = chance
        self._words = words

    def value(self, schema: object = None, depth: int = 0) -> object:
        """Return a value for `schema`, the root when left out."""
        schema = self._root if schema is None else schema
        if not isinstance(schema, dict) or depth > DEEPEST:
            return self._words()
        schema = self._resolved(schema)
        if "const" in schema:
            return schema["const"]
        choices = schema.get("enum")
        if isinstance(choices, list) and choices:
            return self._chance.choice(choices)
        kind = _kind(schema)
        makers: dict[str, Callable[[Json, int], object]] = {
            "object": self._object,
            "array": self._array,
            "string": self._string,
            "number": self._number,
            "integer": self._integer,
        }
        if kind in makers:
            return makers[kind](schema, depth)
        return self._chance.random() < 0.5 if kind == "boolean" else None

    def _resolved(self, schema: Json) -> Json:
        for _ in range(DEEPEST):
            reference = schema.get("$ref")
            if isinstance(reference, str):
                node: object = self._root
                for step in reference.removeprefix("#").strip("/").split("/"):
                    node = node.get(step) if isinstance(node, dict) and step else node
                schema = node if isinstance(node, dict) else {}
                continue
            for key in ("anyOf", "oneOf"):
                options = schema.get(key)
                if isinstance(options, list) and options and isinstance(options[0], dict):
                    schema = {**{k: v for k, v in schema.items() if k != key}, **options[0]}
                    break
            else:
                break
        parts = schema.get("allOf")
        if isinstance(parts, list):
            merged: Json = {k: v for k, v in schema.items() if k != "allOf"}
            for part in parts:
                merged = _merged(merged, self._resolved(part) if isinstance(part, dict) else {})
            return merged
        return schema

    def _object(self, schema: Json, depth: int) -> object:
        properties = schema.get("properties")
        properties = properties if isinstance(properties, dict) else {}
        required = schema.get("required")
        required = required if isinstance(required, list) else []
        names = [name for name in properties if name in required or depth < DEEPEST - 2]
        made = {name: self.value(properties[name], depth + 1) for name in names}
        made.update({name: self._words() for name in required if name not in made})
        return made

    def _array(self, schema: Json, depth: int) -> object:
        fewest = int(_bound(schema, "minItems", 0))
        most = int(_bound(schema, "maxItems", max(3, fewest)))
        n = self._chance.randint(min(max(fewest, 1), most), max(fewest, min(most, fewest + 2, 64)))
        items = [self.value(schema.get("items", {"type": "string"}), depth + 1) for _ in range(n)]
        if schema.get("uniqueItems") is True:
            items = [item for at, item in enumerate(items) if item not in items[:at]]
        return items

    def _string(self, schema: Json, depth: int) -> object:  # noqa: ARG002 - the form of every maker
        if str(schema.get("format")) in FORMATS:
            return FORMATS[str(schema["format"])]
        text = self._words()
        shortest = int(_bound(schema, "minLength", 0))
        longest = int(_bound(schema, "maxLength", max(len(text), shortest)))
        return text.ljust(shortest, ".")[:longest]

    def _number(self, schema: Json, depth: int) -> object:  # noqa: ARG002 - the form of every maker
        least, most = _range(schema)
        return round(least + (most - least) * (0.05 + 0.9 * self._chance.random()), 4) if most > least else least

    def _integer(self, schema: Json, depth: int) -> object:  # noqa: ARG002 - the form of every maker
        least, most = _range(schema)
        step = max(1, int(_bound(schema, "multipleOf", 1)))
        low = math.ceil(least / step) + (1 if "exclusiveMinimum" in schema and least % step == 0 else 0)
        high = math.floor(most / step) - (1 if "exclusiveMaximum" in schema and most % step == 0 else 0)
        return self._chance.randint(low, max(low, high)) * step


def _merged(into: Json, part: Json) -> Json:
    merged = {**into, **part}
    ours, theirs = into.get("properties"), part.get("properties")
    if isinstance(ours, dict) and isinstance(theirs, dict):
        merged["properties"] = {**ours, **theirs}
    wanted, also = into.get("required"), part.get("required")
    if isinstance(wanted, list) and isinstance(also, list):
        merged["required"] = [*wanted, *also]
    return merged


def _kind(schema: Json) -> str:
    told = schema.get("type")
    if isinstance(told, list):
        told = next((kind for kind in told if kind != "null"), "null")
    if isinstance(told, str):
        return told
    if "properties" in schema or "required" in schema:
        return "object"
    return "array" if "items" in schema else "string"


def _bound(schema: Json, key: str, otherwise: float) -> float:
    value = schema.get(key)
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else otherwise


def _range(schema: Json) -> tuple[float, float]:
    least = max(_bound(schema, "minimum", -math.inf), _bound(schema, "exclusiveMinimum", -math.inf))
    most = min(_bound(schema, "maximum", math.inf), _bound(schema, "exclusiveMaximum", math.inf))
    if math.isinf(least):
        least = 0.0 if math.isinf(most) or most > 0 else most - 100.0
    return least, least + 100.0 if math.isinf(most) else most
