"""The job spec: YAML in, a frozen `JobSpec` out, every mistake with its line.

The names load on first use, so that a command that needs no spec does not pay for the parser and the validator.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pipeline.spec.deadline import deadline_after
    from pipeline.spec.loader import LoadedSpec, json_schema, load_spec, parse_spec
    from pipeline.spec.model import EndpointSpec, JobSpec
    from pipeline.spec.templates import render_template

_ROOM = {
    "EndpointSpec": "model",
    "JobSpec": "model",
    "LoadedSpec": "loader",
    "deadline_after": "deadline",
    "json_schema": "loader",
    "load_spec": "loader",
    "parse_spec": "loader",
    "render_template": "templates",
}

__all__ = [
    "EndpointSpec",
    "JobSpec",
    "LoadedSpec",
    "deadline_after",
    "json_schema",
    "load_spec",
    "parse_spec",
    "render_template",
]


def __getattr__(name: str) -> object:
    if name not in _ROOM:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_ROOM[name]}"), name)
