"""Spec + catalogue + settings -> the job as it will run, and where each value came from.

Everything that can be wrong before the input is opened is found here, with the key that is at fault.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pipeline.catalog import ModelInfo, resolve_model
from pipeline.errors import PlanError, SpecError, SpecErrors
from pipeline.interfaces import TaskAdapter
from pipeline.schemas import check_params, input_fields
from pipeline.settings import Settings
from pipeline.spec import JobSpec, LoadedSpec
from pipeline.tasks import TASKS, TaskContext, TaskKind
from pipeline.template import TextTemplate

CAUTIOUS_REQUESTS_PER_MINUTE: Final = 300
"""For a model whose task has no documented limit: the lowest one there is without the paid plan (text generation)."""

REHEARSAL_SUFFIX: Final = ".rehearsal"


@dataclass(frozen=True, slots=True)
class Resolved:
    """One resolved value.

    Attributes:
        value: JSON scalar, list or mapping.
        origin: ``command line``, ``spec``, ``catalogue``, ``environment`` or ``default``.
    """

    value: object
    origin: str


@dataclass(frozen=True, slots=True)
class Job:
    """A job with nothing left to decide.

    Attributes:
        loaded: The spec it came from, for messages with lines.
        spec: The same as values.
        kind: The task.
        model: With prices and limits.
        adapter: Of the task.
        text: What is sent of a record.
        requests_per_minute: The pace.
        output: Output folder.
        embeds_emulator: The run starts an emulator of its own.
        is_simulated: Answers come from an emulator, its own or one that listens at the base URL.
        base_url: Where requests go; empty for an emulator that is started by the run.
        identity: What changes answers: a resume with another one is refused.
        resolved: Every value with its origin, for ``wai plan``.
    """

    loaded: LoadedSpec
    spec: JobSpec
    kind: TaskKind
    model: ModelInfo
    adapter: TaskAdapter
    text: TextTemplate
    requests_per_minute: int
    output: Path
    embeds_emulator: bool
    is_simulated: bool
    base_url: str
    identity: Mapping[str, object]
    resolved: Mapping[str, Resolved]


def located(loaded: LoadedSpec, key: str, problem: str) -> SpecError:
    """Make an error about a key of the spec, with its line (or that of the nearest parent that has one)."""
    parent = key
    while parent and parent not in loaded.lines:
        parent = parent.rpartition(".")[0]
    return SpecError(loaded.path, loaded.lines.get(parent, 1), key, problem)


def resolve(loaded: LoadedSpec, settings: Settings, *, rehearse: bool = False) -> Job:
    """Settle every value.

    Args:
        loaded: The job spec.
        settings: Base URL; the account is not needed here.
        rehearse: Run against the emulator, into an output folder of its own.

    Raises:
        SpecError: A key is at fault; says file, line and key.
    """
    spec = loaded.spec
    kind = TASKS[spec.task]
    try:
        allow_unpriced = spec.budget.unpriced == "allow"
        model = resolve_model(spec.task, spec.model, spec.model_info, allow_unpriced=allow_unpriced)
        text = _text(spec, kind)
        fields = input_fields(model.name, model.task) or frozenset()
        _check_params(loaded, model, spec, kind)
        if spec.output.subtitles and not kind.timed:
            raise PlanError(f"{kind.name} has no times to make subtitles of; remove it", key="output.subtitles")
        adapter = kind.adapter(
            TaskContext(
                model=model,
                params=spec.params,
                text=text,
                fields=fields,
                batch_size=spec.limits.batch_size,
                subtitles=spec.output.subtitles,
            )
        )
    except PlanError as exc:
        raise located(loaded, exc.key or "model", exc.problem) from exc
    embeds_emulator = rehearse or spec.endpoint.kind == "emulator"
    output = Path(spec.output.path or f"out/{spec.name}")
    if rehearse:
        output = output.with_name(output.name + REHEARSAL_SUFFIX)
    rpm = spec.limits.requests_per_minute or model.requests_per_minute or CAUTIOUS_REQUESTS_PER_MINUTE
    return Job(
        loaded=loaded,
        spec=spec,
        kind=kind,
        model=model,
        adapter=adapter,
        text=text,
        requests_per_minute=rpm,
        output=output,
        embeds_emulator=embeds_emulator,
        is_simulated=embeds_emulator,
        base_url="" if embeds_emulator else settings.base_url,
        identity={
            "task": spec.task,
            "model": model.name,
            "params": dict(sorted(spec.params.items())),
            "input.text": text.source,
            "input.id": spec.input.id,
        },
        resolved=_resolved(
            loaded, model, adapter, rpm, output, text, embeds_emulator=embeds_emulator, settings=settings
        ),
    )


def _text(spec: JobSpec, kind: TaskKind) -> TextTemplate:
    if spec.input.text is not None:
        return TextTemplate.parse(spec.input.text)
    plain, fallback = kind.text
    return TextTemplate(parts=(("", plain),), plain=plain, fallback=fallback, source=plain)


def _check_params(loaded: LoadedSpec, model: ModelInfo, spec: JobSpec, kind: TaskKind) -> None:
    params = {key: value for key, value in spec.params.items() if key not in kind.extra}
    problems = check_params(model.name, model.task, params, kind.owned, extra=kind.extra, carriers=kind.carriers)
    if problems:
        errors = [located(loaded, key, problem) for key, _, problem in (line.partition(": ") for line in problems)]
        raise SpecErrors(errors) if len(errors) > 1 else errors[0]


def _resolved(
    loaded: LoadedSpec,
    model: ModelInfo,
    adapter: TaskAdapter,
    rpm: int,
    output: Path,
    text: TextTemplate,
    *,
    embeds_emulator: bool,
    settings: Settings,
) -> dict[str, Resolved]:
    spec = loaded.spec
    derived: dict[str, tuple[object, str]] = {
        "model": (model.name, "catalogue"),
        "input.text": (text.source, "default"),
        "output.path": (str(output), "default"),
        "limits.requests_per_minute": (rpm, "catalogue"),
        "limits.batch_size": (adapter.max_pieces, "catalogue"),
        "endpoint.kind": ("emulator" if embeds_emulator else spec.endpoint.kind, "default"),
    }
    if not embeds_emulator:
        derived["endpoint.base_url"] = (settings.base_url, "environment")
    values = flatten(spec.model_dump(exclude_none=True, exclude={"input": {"items"}, "params": True}))
    values.update({key: value for key, (value, _) in derived.items()})
    values.update({f"params.{key}": value for key, value in spec.params.items()})
    resolved: dict[str, Resolved] = {}
    for key in sorted(values):
        origin = loaded.origins.get(key) or derived.get(key, (None, "default"))[1]
        resolved[key] = Resolved(values[key], origin)
    return resolved


def flatten(tree: Mapping[str, object], prefix: str = "") -> dict[str, object]:
    """Turn nested mappings into dotted keys."""
    flat: dict[str, object] = {}
    for key, value in tree.items():
        if isinstance(value, dict):
            flat.update(flatten(value, f"{prefix}{key}."))
        else:
            flat[f"{prefix}{key}"] = list(value) if isinstance(value, tuple) else value
    return flat
