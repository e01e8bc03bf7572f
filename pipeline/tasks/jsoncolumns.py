"""Turns the top level of a JSON Schema into typed columns, and an answer that matches it into their values. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import orjson

from pipeline.errors import PlanError
from pipeline.records import Column

_SCALARS: Final[Mapping[str, str]] = {"string": "string", "integer": "int64", "number": "float64", "boolean": "bool"}
_INT64: Final = 2**63


def columns_of(schema: Mapping[str, object]) -> list[Column]:
    """Return one column per property: text, numbers, booleans and lists of them typed, everything else as JSON text.

    Raises:
        PlanError: The schema is not one of an object with properties.
    """
    properties = schema.get("properties")
    if schema.get("type") != "object" or not isinstance(properties, dict) or not properties:
        raise PlanError("should be of type object, with properties: each becomes a column", key="params.json_schema")
    return [Column(str(name), _kind(spec)) for name, spec in properties.items()]


def _kind(spec: object) -> str:
    if not isinstance(spec, dict):
        return "json"
    kind = spec.get("type")
    if isinstance(kind, list):  # ["string", "null"]: every column is nullable anyway
        rest = [item for item in kind if item != "null"]
        kind = rest[0] if len(rest) == 1 else None
    if kind is None and isinstance(spec.get("enum"), list) and all(isinstance(item, str) for item in spec["enum"]):
        return "string"
    if kind == "array":
        inner = _kind(spec.get("items"))
        return f"list<{inner}>" if inner in _SCALARS.values() else "json"
    return _SCALARS.get(str(kind), "json")


def values_of(columns: Sequence[Column], parsed: object) -> dict[str, object]:
    """Return the columns' values from a validated answer; what is absent is null, what is a bigger integer is too."""
    source: Mapping[str, object] = parsed if isinstance(parsed, dict) else {}
    return {column.name: _value(column.kind, source.get(column.name)) for column in columns}


def _value(kind: str, value: object) -> object:
    if value is None:
        return None
    if kind == "json":
        return orjson.dumps(value).decode()
    if kind.startswith("list<") and isinstance(value, list):
        return [_value(kind[5:-1], item) for item in value]
    if kind == "int64" and isinstance(value, int | float):
        return int(value) if -_INT64 <= value < _INT64 else None
    if kind == "float64" and isinstance(value, int | float):
        return float(value)
    return value
