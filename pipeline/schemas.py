"""What each model takes, by its published JSON Schema.

Takes a model and what would be sent, hands on sentences about what the service would refuse. ``data/schemas.json``
ships with the package: npm @cloudflare/workers-types 5.20261117.1, converted to JSON Schema on 2026-11-22 (its
`source`). The service may be stricter, and tolerates unknown fields only until it does not, so only published fields
are sent. The published types name no ranges, and their numbers stand for whole numbers too.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from typing import Any, Final, cast

import jsonschema_rs
import orjson

from pipeline.catalog import Catalog, ModelInfo

# Stand-ins for models whose types are not published: the plainest schema of the task, which every model of it takes.
_STAND_IN: Final[Mapping[str, str]] = {
    "text-generation": "@cf/meta/llama-3.1-8b-instruct-fp8",
    "text-embeddings": "@cf/google/embeddinggemma-300m",
}

# Models that take a form: the published type is that of the binding, these are the fields of the form over REST
# (developers.cloudflare.com/workers-ai/models/flux-2-dev/ and -klein-9b/, 2026-11-22; the klein models run 4 steps).
_NUMBER: Final = {"type": "number"}
_FLUX_FORM: Final[Mapping[str, object]] = {
    "prompt": {"type": "string"},
    "width": _NUMBER,
    "height": _NUMBER,
    **{f"input_image_{n}": {"type": "string"} for n in range(4)},
}
_FORM_FIELDS: Final[Mapping[str, Mapping[str, object]]] = {
    "@cf/black-forest-labs/flux-2-dev": {**_FLUX_FORM, "steps": _NUMBER},
    "@cf/black-forest-labs/flux-2-klein-4b": _FLUX_FORM,
    "@cf/black-forest-labs/flux-2-klein-9b": _FLUX_FORM,
}

_QUEUE: Final = "requests"
_RERANKER: Final = "@cf/baai/bge-reranker-base"

Schema = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class _Alternative:
    """One of the forms a model takes, without the form of Cloudflare's queue."""

    schema: Schema
    validator: jsonschema_rs.Validator

    @property
    def fields(self) -> Mapping[str, Schema]:
        """Its fields by name."""
        return cast("Mapping[str, Schema]", self.schema.get("properties", {}))

    @property
    def required(self) -> frozenset[str]:
        """Fields it does not go without."""
        return frozenset(self.schema.get("required", ()))


def input_fields(model: str, task: str | None = None) -> frozenset[str] | None:
    """Return the input fields of a model, over all its forms but the queue's.

    Args:
        model: Name of the model.
        task: Cloudflare's task, for a model the catalogue does not have.

    Returns:
        None where neither the model nor its task has a schema.
    """
    forms = _forms(model, task)
    return frozenset(name for form in forms for name in form.fields) if forms else None


def takes_images(model: ModelInfo) -> bool:
    """Say whether images can be sent to a model with a chat: it sees, and its schema has a place for them.

    One that is said to see, but whose types are not published, would be sent something that nobody has described.
    """
    forms = _forms(model.name, model.task) if model.vision else ()
    return any("image" in form.fields or b'"image_url"' in orjson.dumps(form.schema) for form in forms)


def check_input(model: str, payload: Mapping[str, object], task: str | None = None) -> list[str]:
    """Say what the service would refuse of a whole request.

    Args:
        model: Name of the model.
        payload: The JSON body.
        task: As for `input_fields`.

    Returns:
        One sentence each, beginning with the field; empty if the request is fine or nothing is published.
    """
    forms = _forms(model, task)
    if not forms:
        return []
    form = max(
        forms,
        key=lambda form: (
            form.required <= payload.keys(),
            len(form.fields.keys() & payload.keys()),
            -len(form.required),
        ),
    )
    if _QUEUE in payload and _QUEUE not in form.fields:
        return [f"{_QUEUE}: is the form of Cloudflare's queue, which is not used here"]
    return _sentences(form.validator.iter_errors(payload), form, model)


def check_params(
    model: str,
    task: str,
    params: Mapping[str, object],
    owned: frozenset[str],
    *,
    extra: frozenset[str] = frozenset(),
    carriers: Sequence[str] = (),
) -> list[str]:
    """Say what is wrong with the model parameters of a job spec.

    Args:
        model: Name of the model.
        task: Cloudflare's task, e.g. ``text-embeddings``.
        params: ``params`` of the spec.
        owned: Fields the task itself fills, which a user may not give.
        extra: Parameters that are the task's own, not the model's; allowed here, checked by the task.
        carriers: Fields that may carry the record, the preferred one first: of several forms of the input the first
            that has one is meant.

    Returns:
        One sentence each, beginning with the dotted key: ``params.temperature: should be a number, not text``.
    """
    forms = _forms(model, task)
    if not forms:
        return []
    form = next((form for name in carriers for form in forms if name in form.fields), forms[0])
    allowed = sorted((form.fields.keys() - owned - {_QUEUE}) | extra)
    problems = []
    for name, value in params.items():
        if name in extra:
            continue
        if name in owned and name in form.fields:
            problems.append(f"params.{name}: is set by the task itself; remove it")
        elif name not in allowed:
            problems.append(f"params.{name}: {_unknown(name, allowed, model)}")
        else:
            errors = _field_validator(form, name).iter_errors({name: value})
            problems += [f"params.{sentence}" for sentence in _sentences(errors, form, model)]
    return problems


def _unknown(name: str, allowed: Sequence[str], model: str) -> str:
    if not allowed:
        return f"{model} takes no parameters"
    near = difflib.get_close_matches(name, allowed, 1, 0.6)
    if near:
        return f'{model} has no parameter "{name}"; did you mean "{near[0]}"?'
    return f'{model} has no parameter "{name}"; it takes {", ".join(allowed)}'


def _published(model: str) -> Schema | None:
    """The input schema of a model; those of the others are not kept (4 MB)."""
    data = orjson.loads(files("pipeline").joinpath("data/schemas.json").read_bytes())
    entry = data["models"].get(model)
    if entry is None:
        return None
    schema = _root(cast("Schema", entry["input"]))
    # `known_flaws` of the file: the published type of the reranker leaves out `query`, which the service requires.
    if model == _RERANKER:
        required = sorted({*schema.get("required", ()), "query"})
        return {**schema, "properties": {"query": {"type": "string"}, **schema["properties"]}, "required": required}
    if model in _FORM_FIELDS:
        return {**schema, "properties": dict(_FORM_FIELDS[model]), "required": ["prompt"]}
    return schema


def _root(schema: Schema) -> Schema:
    """Follow the reference at the top, the only one a published schema has."""
    reference = schema.get("$ref")
    if reference is None:
        return schema
    return cast("Schema", schema["definitions"][reference.rsplit("/", 1)[-1]])


def _forms(model: str, task: str | None) -> tuple[_Alternative, ...]:
    if forms := _compiled(model):
        return forms
    if task is None:
        known = Catalog.load().get(model)
        task = known.task if known is not None else ""
    stand_in = _STAND_IN.get(task)
    return _compiled(stand_in) if stand_in is not None else ()


@lru_cache(maxsize=128)
def _compiled(model: str) -> tuple[_Alternative, ...]:
    """The forms of a model's input; none where nothing is published."""
    root = _published(model)
    if root is None:
        return ()
    forms = [form for form in root.get("anyOf", [root]) if _QUEUE not in form.get("properties", {})]
    return tuple(_Alternative(form, jsonschema_rs.Draft7Validator(form)) for form in forms)


def _field_validator(form: _Alternative, name: str) -> jsonschema_rs.Validator:
    return jsonschema_rs.Draft7Validator({"properties": {name: form.fields[name]}})


def _sentences(errors: Any, form: _Alternative, model: str) -> list[str]:  # noqa: ANN401 - the library types none
    found: dict[str, None] = {}
    errors = list(errors)
    choices = [list(error.instance_path) for error in errors if error.kind.name == "enum"]
    for error in errors:
        if error.kind.name == "type" and list(error.instance_path) in choices:
            continue  # the list of what is allowed says it better
        for path, sentence in _explain(error, form, model):
            found[f"{_dotted(path)}: {sentence}" if path else sentence] = None
    return list(found)


_Explained = list[tuple[list[str | int], str]]


def _explain(error: Any, form: _Alternative, model: str) -> _Explained:  # noqa: ANN401 - the library types none
    """Say one error in plain words; of several allowed kinds, the one that was meant."""
    path, kind = list(error.instance_path), error.kind.name
    if kind == "anyOf":
        return _any_of(error, form, model)
    if kind == "additionalProperties":
        allowed = sorted(form.fields) if not path else []
        words = [
            _unknown(name, allowed, model) if allowed else f'unknown key "{name}"' for name in error.kind.unexpected
        ]
        return [([*path, name], said) for name, said in zip(error.kind.unexpected, words, strict=True)]
    if kind == "required":
        return [([*path, error.kind.property], "missing")]
    words_of = _WORDS.get(kind)
    return [(path, words_of(error) if words_of is not None else "is not valid here")]


def _any_of(error: Any, form: _Alternative, model: str) -> _Explained:  # noqa: ANN401 - the library types none
    path = list(error.instance_path)
    branches = [list(branch) for branch in error.kind.context]
    # A branch that differs in kind from what was given, or that another constant marks (role, type), was not meant.
    meant = [branch for branch in branches if not any(_rules_out(inner, path) for inner in branch)]
    if not meant:
        kinds = [inner.kind for branch in branches for inner in branch if list(inner.instance_path) == path]
        constants = [inner for branch in branches for inner in branch if inner.kind.name in ("const", "enum")]
        types = [kind for one in kinds if one.name == "type" for kind in one.types]
        if types and not constants:
            return [(path, f"should be {_kinds(types)}, not {_what(error.instance)}")]
        if constants:
            at = list(constants[0].instance_path)
            allowed = [value for inner in constants if list(inner.instance_path) == at for value in _values(inner)]
            return [(at, f"should be {_one_of(allowed)}, not {_what(constants[0].instance)}")]
    best = min(meant or branches, key=len)
    return [said for inner in best for said in _explain(inner, form, model)]


def _rules_out(error: Any, path: list[str | int]) -> bool:  # noqa: ANN401 - the library types none
    here = list(error.instance_path)
    if error.kind.name == "type":
        return here == path
    return error.kind.name == "const" and here[:-1] == path


def _values(error: Any) -> list[object]:  # noqa: ANN401 - the library types none
    return list(error.kind.options) if error.kind.name == "enum" else [error.kind.expected_value]


_KIND_WORDS: Final[Mapping[str, str]] = {
    "string": "text",
    "number": "a number",
    "integer": "a whole number",
    "boolean": "true or false",
    "array": "a list",
    "object": "a mapping (key: value)",
    "null": "",
}


def _kinds(types: Sequence[str]) -> str:
    return " or ".join(dict.fromkeys(words for kind in types if (words := _KIND_WORDS[kind]))) or "empty (null)"


def _one_of(values: Sequence[object]) -> str:
    words = list(
        dict.fromkeys(
            str(value).lower() if isinstance(value, bool) else f"{value}" for value in values if value is not None
        )
    )
    return words[0] if len(words) == 1 else f"one of {', '.join(words)}"


def _what(value: object) -> str:
    if value is None:
        return "empty"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return f"the number {value:g}" if isinstance(value, float) else f"the number {value}"
    if isinstance(value, str):
        return f'"{value}"' if len(value) <= 20 else "text"
    return "a mapping" if isinstance(value, Mapping) else "a list"


_Words = Callable[[Any], str]


def _bound(words: str) -> _Words:
    return lambda error: f"should be {words} {error.kind.limit:g}, not {error.instance:g}"


_WORDS: Final[Mapping[str, _Words]] = {
    "type": lambda error: f"should be {_kinds(error.kind.types)}, not {_what(error.instance)}",
    "enum": lambda error: f"should be {_one_of(error.kind.options)}, not {_what(error.instance)}",
    "const": lambda error: f"should be {_one_of([error.kind.expected_value])}, not {_what(error.instance)}",
    "minimum": _bound("at least"),
    "maximum": _bound("at most"),
    "exclusiveMinimum": _bound("greater than"),
    "exclusiveMaximum": _bound("less than"),
    "minItems": lambda error: f"should have at least {error.kind.limit} elements, not {len(error.instance)}",
    "maxItems": lambda error: f"should have at most {error.kind.limit} elements, not {len(error.instance)}",
}


def _dotted(path: Sequence[str | int]) -> str:
    out = ""
    for step in path:
        out += f"[{step}]" if isinstance(step, int) else f".{step}" if out else step
    return out
