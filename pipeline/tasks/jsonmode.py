"""Asks for JSON of a schema, and says whether an answer is that. Pure.

The service's JSON mode is not believed: "always validate locally" (public clients, 2026-11-22), and where it gives up
(5024) the schema goes into the prompt instead.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import jsonschema_rs
import orjson

from pipeline.errors import PlanError
from pipeline.tasks.chat import unfenced
from pipeline.tasks.jsoncolumns import columns_of, values_of
from pipeline.tasks.reasoning import without_thoughts

_LONGEST_PROBLEM: Final = 300
_LONGEST_QUOTE: Final = 80


class Malformed(Exception):
    """An answer is no JSON, or not of the schema; says how."""


class JsonMode:
    """What `params.json_schema` asks for.

    Args:
        schema: The parameter.
        fields: Input fields of the model's published schema.

    Attributes:
        columns: One for each property.
        field: ``response_format`` as the model takes it: the bare schema on older models, OpenAI's wrapper on newer
            ones; empty for a model without JSON mode.
        words: The same wish as a sentence.

    Raises:
        PlanError: It is no JSON Schema of an object.
    """

    def __init__(self, schema: object, fields: frozenset[str]) -> None:
        if not isinstance(schema, dict):
            raise PlanError("should be a JSON Schema, a mapping with type: object", key="params.json_schema")
        self._validator = _compile(schema)
        self.columns = tuple(columns_of(schema))
        self.words = f"Answer with JSON only, matching this JSON Schema: {orjson.dumps(schema).decode()}"
        self.field: Mapping[str, object] = {}
        if "response_format" in fields:
            wrapped = {"name": "answer", "schema": schema, "strict": True}
            is_newer = "max_completion_tokens" in fields
            self.field = {"response_format": {"type": "json_schema", "json_schema": wrapped if is_newer else schema}}

    def read(self, text: str, *, is_cut: bool) -> dict[str, object]:
        """Return the columns' values.

        Raises:
            Malformed: The answer is not what was asked for.
        """
        try:
            parsed = _parsed(text)
            orjson.dumps(parsed)  # what is nested deeper than that cannot be checked or kept
        except (orjson.JSONDecodeError, orjson.JSONEncodeError):
            cut = "; it was cut at params.max_tokens" if is_cut else ""
            raise Malformed(f"the answer is not JSON{cut}: {text[:_LONGEST_QUOTE]!r}") from None
        problem = next(iter(self._validator.iter_errors(parsed)), None)
        if problem is not None:
            where = "/".join(str(step) for step in problem.instance_path)[:_LONGEST_QUOTE]
            said = problem.message[:_LONGEST_PROBLEM]
            raise Malformed(f"the answer does not match params.json_schema at /{where}: {said}")
        return values_of(self.columns, parsed)


def _compile(schema: dict[str, object]) -> jsonschema_rs.Draft202012Validator:
    try:
        return jsonschema_rs.Draft202012Validator(schema)
    except (ValueError, jsonschema_rs.ValidationError) as exc:
        raise PlanError(f"not a valid JSON Schema: {str(exc).splitlines()[0]}", key="params.json_schema") from exc


def _parsed(text: str) -> object:
    try:
        return orjson.loads(unfenced(text))
    except orjson.JSONDecodeError:
        return orjson.loads(unfenced(without_thoughts(text)))
