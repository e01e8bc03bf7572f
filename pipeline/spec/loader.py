"""A job spec from a file or a text, with the line and the origin of every key.

Takes YAML and ``--set`` overrides, hands on a `LoadedSpec`, or every mistake at once. Paths inside the spec are left as
they are: they are relative to the working directory, as for other tools of the shell.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Final

from pydantic import ValidationError

from pipeline.errors import SpecError, SpecErrors
from pipeline.spec.messages import Mistake, explain, group_at
from pipeline.spec.model import JobSpec
from pipeline.spec.secrets import shown_override
from pipeline.spec.yaml import MAX_BYTES, Document, KeyPath, YamlFault, dotted, read_yaml

SCHEMA_ID: Final = "urn:workers-ai-batch:job-spec:1"

_MAX_SHOWN: Final = 600
_OVERRIDE_KEY: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*(\.[A-Za-z_][A-Za-z0-9_-]*)*")


@dataclass(frozen=True, slots=True)
class LoadedSpec:
    """A valid job spec and where each of its values came from.

    Attributes:
        spec: The job.
        path: The file as the user named it; "<spec>" for a text.
        text: The YAML as read, without overrides.
        lines: 1-based line by dotted key, for keys that stand in the file and are not overridden.
        origins: "spec" or "command line" by dotted key; a key that is absent has its default.
        overrides: As given, ``key=value`` each.
    """

    spec: JobSpec
    path: str
    text: str
    lines: Mapping[str, int] = field(repr=False)
    origins: Mapping[str, str] = field(repr=False)
    overrides: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Override:
    """One ``--set K=V`` that could be read."""

    shown: str
    path: KeyPath
    value: object


def load_spec(path: str | Path, overrides: Sequence[str] = ()) -> LoadedSpec:
    """Load a job spec from a file.

    Args:
        path: At most 1 MiB of UTF-8. Its stem, made safe, is the default of `name`.
        overrides: ``key=value`` each, the key dotted, the value in YAML; they win over the file, the last one first.

    Raises:
        SpecErrors: Everything that is wrong, one line each, in the order of the file.
    """
    shown = str(path)
    try:
        with Path(path).open("rb") as file:
            raw = file.read(MAX_BYTES + 1)
    except (OSError, ValueError) as exc:
        what = (exc.strerror or str(exc)) if isinstance(exc, OSError) else "not a file name"
        raise SpecErrors([_error(shown, 0, "", f"cannot be read: {what}")]) from exc
    return _load(_decode(raw, shown), shown, overrides, name=_safe_name(Path(path).stem))


def parse_spec(text: str, path: str = "<spec>", overrides: Sequence[str] = ()) -> LoadedSpec:
    """Load a job spec from a text; as `load_spec`, with "job" as the default of `name`.

    Raises:
        SpecErrors: Everything that is wrong, one line each, in the order of the text.
    """
    raw = text.encode("utf-8", "surrogatepass")
    return _load(_decode(raw, path), path, overrides, name="job")


def json_schema() -> dict[str, object]:
    """Return the JSON Schema (draft 2020-12) of the job spec, for editors."""
    schema = JobSpec.model_json_schema(mode="validation")
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": SCHEMA_ID,
        **schema,
        "title": "Job spec of wai",
    }


def _error(path: str, line: int, key: str, problem: str) -> SpecError:
    """Make an error that is one line whatever the file holds: keys may hold line breaks and terminal sequences."""
    return SpecError(_one_line(path), line, _one_line(key), _one_line(problem))


def _one_line(text: str) -> str:
    short = text if len(text) <= _MAX_SHOWN else f"{text[:_MAX_SHOWN]}…"
    return "".join(letter if letter.isprintable() else letter.encode("unicode_escape").decode() for letter in short)


def _decode(raw: bytes, path: str) -> str:
    problem = None
    if len(raw) > MAX_BYTES:
        problem = "larger than 1 MiB; put the records into a file and name it in input.path"
    elif raw.startswith((b"\xff\xfe", b"\xfe\xff")):
        problem = "is UTF-16; save it as UTF-8"
    elif b"\0" in raw:
        problem = "not a text file: it holds NUL bytes"
    else:
        try:
            return raw.decode("utf-8")
        except UnicodeDecodeError as exc:
            line = raw.count(b"\n", 0, exc.start) + 1
            raise SpecErrors([_error(path, line, "", "not UTF-8 text; save the file as UTF-8")]) from exc
    raise SpecErrors([_error(path, 0, "", problem)])


def _safe_name(stem: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]+", "-", stem).lstrip("._-")[:100].rstrip("-") or "job"


def _load(text: str, path: str, overrides: Sequence[str], *, name: str) -> LoadedSpec:
    document = _read(text, path)
    errors = [_error(path, item.line, dotted(item.path), item.problem) for item in document.problems]
    settings, refused = _read_overrides(overrides)
    data = document.data
    assert isinstance(data, dict)
    for override in settings:
        problem = _apply(data, override)
        if problem is not None:
            refused.append(_error(override.shown, 0, "", problem))
    lines, origins = _annotate(document, data, settings)
    _drop_empty_groups(data)
    named = data if data.get("name") is not None else {**data, "name": name}
    spec: JobSpec | None = None
    try:
        spec = JobSpec.model_validate(named)
    except ValidationError as exc:
        known = {(error.line, error.key) for error in errors}
        found = [_located(mistake, path, document, settings) for mistake in explain(exc, named)]
        # A value that could not be read stands in the data as a stopgap: what the model says of it is noise.
        errors += [error for error in found if (error.line, error.key) not in known or not error.line]
    errors = sorted(errors, key=lambda error: (error.line == 0, error.line)) + refused
    if errors or spec is None:
        raise SpecErrors(errors)
    return LoadedSpec(spec, path, text, MappingProxyType(lines), MappingProxyType(origins), tuple(overrides))


def _read(text: str, path: str) -> Document:
    """Read the text; what stops the reading is raised at once, alone."""
    try:
        document = read_yaml(text)
    except YamlFault as fault:
        raise SpecErrors([_error(path, fault.line, dotted(fault.path), fault.problem)]) from fault
    if document.data is None:
        raise SpecErrors([_error(path, 1, "", "empty; wai init TASK writes a job spec to start from")])
    if not isinstance(document.data, dict):
        what = "a list" if isinstance(document.data, list) else "a single value"
        problem = f"should be keys and values such as task: embed, not {what}"
        raise SpecErrors([_error(path, document.lines[()], "", problem)])
    return document


def _read_overrides(overrides: Sequence[str]) -> tuple[list[_Override], list[SpecError]]:
    settings: list[_Override] = []
    refused: list[SpecError] = []
    for text in overrides:
        shown = shown_override(text)
        key, equals, value = text.partition("=")
        if not equals or not _OVERRIDE_KEY.fullmatch(key.strip()):
            refused.append(_error(shown, 0, "", "should be KEY=VALUE, e.g. limits.concurrency=8"))
            continue
        value = value.strip()
        is_text = value == "-" or value.startswith("@")  # stdin, a model: neither is YAML, and a shell eats the quotes
        try:
            document = read_yaml(json.dumps(value) if is_text else value)
        except YamlFault as fault:
            refused.append(_error(shown, 0, "", fault.problem))
            continue
        refused += [_error(shown, 0, "", item.problem) for item in document.problems]
        if not document.problems:
            settings.append(_Override(shown, tuple(key.strip().split(".")), document.data))
    return settings, refused


def _apply(data: dict[str, object], override: _Override) -> str | None:
    """Put a value into the data; return what keeps it from being put there."""
    here = data
    for n, step in enumerate(override.path[:-1], start=1):
        below = here.get(str(step))
        if below is None:
            below = here[str(step)] = {}
        if not isinstance(below, dict):
            return f"{dotted(override.path[:n])} is not a mapping, so it has no key {override.path[n]}"
        here = below
    here[str(override.path[-1])] = override.value
    return None


def _annotate(
    document: Document, data: dict[str, object], settings: Sequence[_Override]
) -> tuple[dict[str, int], dict[str, str]]:
    """Say of each key where it stands and who gave it."""
    lines: dict[str, int] = {}
    origins: dict[str, str] = {}
    pending: list[tuple[KeyPath, object]] = [((), data)]
    while pending:
        path, value = pending.pop()
        if path:
            by_command = _override_of(path, settings) is not None
            origins[dotted(path)] = "command line" if by_command or path not in document.lines else "spec"
            if not by_command and path in document.lines:
                lines[dotted(path)] = document.lines[path]
        if isinstance(value, dict):
            pending += [((*path, key), below) for key, below in value.items()]
        elif isinstance(value, list):
            pending += [((*path, n), below) for n, below in enumerate(value)]
    return lines, origins


def _override_of(path: KeyPath, settings: Sequence[_Override]) -> _Override | None:
    """Return the override that gave the value at `path`: the last one at or above it."""
    for override in reversed(settings):
        if path[: len(override.path)] == override.path:
            return override
    return None


def _drop_empty_groups(data: dict[str, object]) -> None:
    """Let a group whose keys are all commented out mean its defaults."""
    for key in [key for key, value in data.items() if value is None]:
        group = group_at((key,))
        if key == "params" or (group is not None and not JobSpec.model_fields[key].is_required()):
            del data[key]


def _located(mistake: Mistake, path: str, document: Document, settings: Sequence[_Override]) -> SpecError:
    override = _override_of(mistake.path, settings)
    if override is None and mistake.path not in document.lines:
        # Something is missing in a group that only an override made.
        override = next((item for item in settings if mistake.path == item.path[: len(mistake.path)] != ()), None)
    if override is not None:
        key = "" if mistake.path == override.path else dotted(mistake.path)
        return _error(override.shown, 0, key, mistake.problem)
    place = mistake.path
    while place not in document.lines:
        place = place[:-1]
    return _error(path, document.lines[place], dotted(mistake.path), mistake.problem)
