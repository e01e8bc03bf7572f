"""Turns the top level of a JSON Schema into typed columns, and an answer that matches it into their values. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final, cast

import orjson

from pipeline.errors import PlanError
from pipeline.records import Column

_SCALARS: Final[Mapping[str, str]] = {"string": "string", "integer": "int64", "number": "float64", "boolean": "bool"}
_INT64: Final = 2**63
_DEEPEST: Final = 8
"""Levels of structs and lists in one column; what lies deeper, or refers to itself, is JSON text."""

Schema = Mapping[str, object]


def columns_of(schema: Schema) -> list[Column]:
    """Return one column per property.

    Text, numbers, booleans, lists of them, objects with known properties (structs) and lists of such objects are typed.
    JSON text is what has no single type: unions, objects without properties or with more than those named, tuples.

    Raises:
        PlanError: The schema is not one of an object with properties.
    """
    properties = schema.get("properties")
    if schema.get("type") != "object" or not isinstance(properties, dict) or not properties:
        raise PlanError("should be of type object, with properties: each becomes a column", key="params.json_schema")
    return [_column(str(name), spec, schema, 0) for name, spec in properties.items()]


def _column(name: str, spec: object, root: Schema, depth: int) -> Column:
    found = _plain(spec, root)
    text = Column(name, "json")
    if found is None or depth > _DEEPEST:
        return text
    kind = found.get("type", "object" if "properties" in found else None)
    if kind == "array":
        inner = _column(name, found.get("items"), root, depth + 1)
        return text if inner.kind == "json" or "prefixItems" in found else replace(inner, kind=f"list<{inner.kind}>")
    if kind == "object":
        return _struct(name, found, root, depth) or text
    return Column(name, _SCALARS.get(str(kind), "json"))


def _struct(name: str, spec: Schema, root: Schema, depth: int) -> Column | None:
    properties = spec.get("properties")
    is_open = bool(spec.get("additionalProperties")) or "patternProperties" in spec
    if not isinstance(properties, dict) or not properties or is_open:
        return None
    members = tuple(_column(str(member), inner, root, depth + 1) for member, inner in properties.items())
    return Column(name, "struct", fields=members)


def _plain(spec: object, root: Schema) -> Schema | None:
    """Reduce a schema to one with a single `type`: references followed, null left out; None where there is none."""
    for _ in range(_DEEPEST):
        if not isinstance(spec, dict):
            return None
        if isinstance(spec.get("$ref"), str):
            spec = _referred(spec["$ref"], root)
        elif len(choices := _choices(spec)) == 1:
            spec = choices[0]
        elif choices:
            return _common([_plain(choice, root) for choice in choices])
        else:
            return _typed(spec)
    return None


def _referred(reference: str, root: Schema) -> object:
    node: object = root
    for step in reference.removeprefix("#").strip("/").split("/"):
        node = node.get(step.replace("~1", "/").replace("~0", "~")) if isinstance(node, dict) and step else node
    return node


def _choices(spec: Schema) -> list[object]:
    """What `anyOf`, `oneOf` or a single `allOf` allows besides null."""
    for key in ("anyOf", "oneOf", "allOf"):
        options = spec.get(key)
        if isinstance(options, list) and (key != "allOf" or len(options) == 1):
            return [option for option in options if option != {"type": "null"}]
    return []


def _common(found: Sequence[Schema | None]) -> Schema | None:
    kinds = {str(spec.get("type")) if spec is not None else "" for spec in found}
    if kinds <= {"integer", "number"}:
        return {"type": "integer" if kinds == {"integer"} else "number"}
    return {"type": kinds.pop()} if len(kinds) == 1 and kinds <= _SCALARS.keys() else None


def _typed(spec: Schema) -> Schema | None:
    kind, values = spec.get("type"), spec.get("enum", [spec["const"]] if "const" in spec else None)
    if kind is None and isinstance(values, list):
        kind = [name for name, types in _PYTHON.items() if any(type(value) in types for value in values)]
    if not isinstance(kind, list):
        return spec
    rest = set(kind) - {"null"}
    if rest == {"integer", "number"}:
        rest = {"number"}
    return {**spec, "type": rest.pop()} if len(rest) == 1 else None


_PYTHON: Final[Mapping[str, tuple[type, ...]]] = {
    "string": (str,),
    "integer": (int,),
    "number": (float,),
    "boolean": (bool,),
    "null": (type(None),),
    "other": (list, dict),
}


def values_of(columns: Sequence[Column], parsed: object) -> dict[str, object]:
    """Return the columns' values from a validated answer; what is absent is null, what is a bigger integer is too."""
    source: Mapping[str, object] = parsed if isinstance(parsed, dict) else {}
    return {column.name: _value(column, source.get(column.name)) for column in columns}


def _value(column: Column, value: object) -> object:
    kind = column.kind
    if value is None:
        return None
    if kind == "json":
        return orjson.dumps(value).decode()
    if kind.startswith("list<"):
        inner = replace(column, kind=kind[5:-1])
        return [_value(inner, item) for item in value] if isinstance(value, list) else None
    if kind == "struct":
        return values_of(column.fields, value) if isinstance(value, dict) else None
    if isinstance(value, bool) or kind in {"string", "bool"}:
        return value
    return _number(kind, cast("float", value))


def _number(kind: str, value: float) -> float | None:
    if kind == "int64":
        return int(value) if -_INT64 <= value < _INT64 else None
    return float(value)
