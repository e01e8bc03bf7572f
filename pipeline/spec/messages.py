"""What the model refuses, in plain words.

Takes a validation error and the data it is about, hands on one sentence per mistake, at the path a user would name. The
validator's own words and union branches never come through.
"""

from __future__ import annotations

import difflib
import re
import types
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from pipeline.spec.model import JobSpec
from pipeline.spec.secrets import NO_VARIABLE, WHERE_INSTEAD, is_secrets_key

KeyPath = tuple[str | int, ...]

_YES_NO: Final = {"yes": "true", "on": "true", "y": "true", "no": "false", "off": "false", "n": "false"}
_NUMBER: Final = re.compile(r"[-+]?([0-9][0-9_, ]*(\.[0-9]*)?|\.[0-9]+)([eE][-+]?[0-9]+)?")
_UNITS: Final = {"seconds": "seconds", "neurons": "neurons", "minute": "requests"}


@dataclass(frozen=True, slots=True)
class Mistake:
    """One sentence about one key."""

    path: KeyPath
    problem: str


@dataclass(frozen=True, slots=True)
class _Located:
    """An error at its path in the data; `branch` is where it went into one of several allowed kinds, if it did."""

    error: ErrorDetails
    path: KeyPath
    branch: KeyPath | None


def explain(exc: ValidationError, data: object) -> list[Mistake]:
    """Turn a validation error into sentences, in the order in which it was found."""
    located = [_locate(error, data) for error in exc.errors(include_url=False)]
    mistakes: list[Mistake] = []
    for item in located:
        if item.error["type"] == "too_short" and item.error["input"]:
            continue  # not empty: its elements are wrong, and each of them is reported
        if item.branch is not None:
            siblings = [other for other in located if other.branch == item.branch]
            deepest = max(len(other.path) for other in siblings)
            if len(item.path) < deepest:
                continue  # a list of the right kind with a wrong element: "should be text" would mislead
            if deepest == len(item.branch):
                kinds = " or ".join(dict.fromkeys(_KINDS.get(other.error["type"], "valid") for other in siblings))
                mistake = Mistake(item.path, _should_be(kinds, item.error["input"]))
            else:
                mistake = Mistake(item.path, _sentence(item))
        else:
            mistake = Mistake(item.path, _sentence(item))
        if mistake not in mistakes:
            mistakes.append(mistake)
    return mistakes


def _locate(error: ErrorDetails, data: object) -> _Located:
    """Follow an error's place through the data, leaving out the names of union branches."""
    path: list[str | int] = []
    branch: KeyPath | None = None
    here = data
    for step in error["loc"]:
        if isinstance(here, Mapping) and isinstance(step, str) and (step in here or error["type"] == "missing"):
            path.append(step)
            here = here.get(step)
        elif isinstance(here, Sequence) and not isinstance(here, str) and isinstance(step, int) and step < len(here):
            path.append(step)
            here = here[step]
        else:
            branch = tuple(path)
    return _Located(error, tuple(path), branch)


def _sentence(item: _Located) -> str:
    error = item.error
    kind, value, context = error["type"], error["input"], error.get("ctx", {})
    if kind in _KINDS and value is None and _is_required(item.path):
        return _empty_group(item.path)
    if kind in _KINDS:
        return _should_be(_KINDS[kind], value, key=str(item.path[-1]) if item.path else "")
    words = _BY_TYPE.get(kind)
    return words(item.path, value, context) if words is not None else "is not valid here"


def _should_be(kinds: str, value: object, key: str = "") -> str:
    """Say what a value should be, what it is, and how to write it when that is plain."""
    if value is None:
        return f"is empty; should be {kinds} (leave the key out for its default)"
    if isinstance(value, str):
        return f"should be {kinds}{_instead_of_text(kinds, value, key)}"
    if kinds.startswith("text") and isinstance(value, int | float):
        written = str(value).lower() if isinstance(value, bool) else f"{value}"
        return f'should be {kinds}, not {_what(value)}: write "{written}" in quotes'
    if kinds == "text" and isinstance(value, Mapping):
        return "should be text, not a mapping; put a template such as {title} in quotes"
    return f"should be {kinds}, not {_what(value)}"


def _instead_of_text(kinds: str, value: str, key: str) -> str:
    """End the sentence for a text that stands where something else should, with the right way to write it."""
    if kinds == "true or false" and value.lower() in _YES_NO:
        return f": write {_YES_NO[value.lower()]}, not {value}"
    if kinds == "a list" and value.isidentifier():
        return f", not text: write [{value}]"
    if "number" not in kinds:
        return ", not text"
    if _NUMBER.fullmatch(value.strip()):
        plain = re.sub(r"[_, ]", "", value)
        return f', not text: write {plain}, not "{value}"'
    unit = next((unit for word, unit in _UNITS.items() if word in key.split("_")), None)
    return f"{f' of {unit}' if unit else ''}, not text"


def _what(value: object) -> str:
    """Name a value: short ones by themselves, others by their kind."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return f"the number {value:g}" if isinstance(value, float) else f"the number {value}"
    if isinstance(value, str):
        return "text"
    return "a mapping" if isinstance(value, Mapping) else "a list"


_KINDS: Final[Mapping[str, str]] = {
    "string_type": "text",
    "int_type": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "tuple_type": "a list",
    "dict_type": "a mapping (key: value)",
    "model_type": "a mapping (key: value)",
    "model_attributes_type": "a mapping (key: value)",
}

_Words = Callable[[KeyPath, Any, Mapping[str, Any]], str]


def _bound(words: str, name: str) -> _Words:
    return lambda _path, value, context: f"should be {words} {context[name]:g}, not {value:g}"


def _missing(path: KeyPath, _value: object, _context: Mapping[str, object]) -> str:
    what = _purpose(path)
    choices = choices_of(path)
    if choices:
        return f"missing; {what}: {', '.join(choices)}"
    return f"missing; {what}" if what else "missing"


def _purpose(path: KeyPath) -> str:
    """What a key at the top of the spec is for, as the second half of a sentence."""
    field = JobSpec.model_fields.get(str(path[-1]))
    what = (field.description or "").rstrip(".") if field is not None else ""
    return f"{what[:1].lower()}{what[1:]}"


def _is_required(path: KeyPath) -> bool:
    return len(path) == 1 and JobSpec.model_fields[str(path[0])].is_required()


def _empty_group(path: KeyPath) -> str:
    group = group_at(path)
    keys = f": a mapping with the keys {', '.join(group.model_fields)}" if group is not None else ""
    return f"is empty, but required; {_purpose(path)}{keys}"


def _unknown(path: KeyPath, _value: object, _context: Mapping[str, object]) -> str:
    key = str(path[-1])
    if is_secrets_key(key):
        return f'unknown key "{key}"; {WHERE_INSTEAD}'
    group = group_at(path[:-1])
    known = list(group.model_fields) if group is not None else []
    elsewhere = [where for where in all_keys() if where.rsplit(".", 1)[-1] == key]
    if elsewhere:
        return f'unknown key "{key}"; it belongs at {elsewhere[0]}'
    # First the keys that could stand here, then those of other groups, by their full names.
    leaves = {where.rsplit(".", 1)[-1]: where for where in sorted(all_keys(), key=_depth, reverse=True) if "." in where}
    for names in ({name: name for name in known}, leaves):
        for near in difflib.get_close_matches(key, names, 1, 0.75):
            return f'unknown key "{key}"; did you mean "{names[near]}"?'
    return f'unknown key "{key}"; valid keys: {", ".join(known)}'


def _depth(key: str) -> int:
    return key.count(".")


def _choice(path: KeyPath, value: object, context: Mapping[str, Any]) -> str:
    choices = choices_of(path) or tuple(re.findall(r"'([^']*)'", str(context.get("expected", ""))))
    near = difflib.get_close_matches(value, choices, 1, 0.6) if isinstance(value, str) else []
    hint = f"; did you mean {near[0]}?" if near else ""
    shown = f'"{value}"' if isinstance(value, str) and len(value) < 20 else "this" if value is not None else "nothing"
    return f"should be one of {', '.join(choices)}, not {shown}{hint}"


def _pattern(path: KeyPath, _value: object, _context: Mapping[str, object]) -> str:
    if str(path[-1]).endswith("_env"):
        return NO_VARIABLE
    return "may hold letters, digits, - and _ only" + (
        " (and dots), and begins with a letter or digit" if path[-1] == "name" else ""
    )


_BY_TYPE: Final[Mapping[str, _Words]] = {
    "missing": _missing,
    "extra_forbidden": _unknown,
    "literal_error": _choice,
    "greater_than": _bound("greater than", "gt"),
    "greater_than_equal": _bound("at least", "ge"),
    "less_than": _bound("less than", "lt"),
    "less_than_equal": _bound("at most", "le"),
    "finite_number": lambda *_: "should be a finite number",
    "too_short": lambda *_: "is empty",
    "string_too_short": lambda *_: "is empty",
    "string_too_long": lambda _path, value, context: f"longer than {context['max_length']} characters ({len(value)})",
    "string_pattern_mismatch": _pattern,
    "value_error": lambda _path, _value, context: str(context["error"]),
}
"""Sentence by the validator's type of error; a test walks the model's JSON Schema and fails if a kind is not here."""


def group_at(path: KeyPath) -> type[BaseModel] | None:
    """Return the group of keys at a path of the spec; None where keys are free or the path leads nowhere."""
    group: type[BaseModel] | None = JobSpec
    for step in path:
        field = group.model_fields.get(str(step)) if group is not None else None
        group = _group_of(field.annotation) if field is not None else None
    return group


def all_keys(group: type[BaseModel] = JobSpec, before: str = "") -> list[str]:
    """Return every key of the spec, dotted, groups included."""
    found: list[str] = []
    for name, field in group.model_fields.items():
        found.append(f"{before}{name}")
        below = _group_of(field.annotation)
        if below is not None:
            found += all_keys(below, f"{before}{name}.")
    return found


def choices_of(path: KeyPath) -> tuple[str, ...]:
    """Return the words a key allows, where it allows certain words only."""
    group = group_at(path[:-1])
    field = group.model_fields.get(str(path[-1])) if group is not None else None
    if field is None:
        return ()
    return tuple(value for value in _leaves(field.annotation) if isinstance(value, str))


def _leaves(annotation: object) -> list[object]:
    """Values of the Literals in an annotation."""
    if get_origin(annotation) in (Union, types.UnionType):
        return [leaf for part in get_args(annotation) for leaf in _leaves(part)]
    return list(get_args(annotation)) if "Literal" in str(get_origin(annotation)) else []


def _group_of(annotation: object) -> type[BaseModel] | None:
    parts = get_args(annotation) or (annotation,)
    for part in parts:
        if isinstance(part, type) and issubclass(part, BaseModel):
            return part
    return None
