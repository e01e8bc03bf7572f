"""Spec + catalogue + settings -> the job as it will run, and where each value came from.

Everything that can be wrong before the input is opened is found here, with the key that is at fault.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pipeline.catalog import ModelInfo
from pipeline.errors import PlanError, SpecError, SpecErrors
from pipeline.interfaces import TaskAdapter
from pipeline.routes import LanePlan, ParamsRefused, lanes_of, plan_lanes
from pipeline.settings import DEFAULT_BASE_URL, Settings
from pipeline.spec import JobSpec, LoadedSpec
from pipeline.tasks import TASKS, TaskKind
from pipeline.template import TextTemplate

REHEARSAL_SUFFIX: Final = ".rehearsal"


@dataclass(frozen=True, slots=True)
class Resolved:
    """One resolved value.

    Attributes:
        value: JSON scalar, list or mapping.
        origin: ``command line``, ``spec``, ``catalogue``, ``environment``, ``default`` or ``cautious guess``.
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
        requests_per_minute: The pace, of all lanes together.
        lanes: The endpoints, those that only stand in last.
        output: Output folder.
        embeds_emulator: The run starts an emulator of its own.
        is_simulated: Answers come from an emulator, its own or one that listens at the base URL.
        base_url: Where requests of the first lane go; empty for an emulator that is started by the run.
        counts_neurons: As in `LanePlan`, of the first lane.
        through_gateway: Some answers come through an AI Gateway.
        is_rate_guessed: As in `LanePlan`, of any lane.
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
    lanes: tuple[LanePlan, ...]
    output: Path
    embeds_emulator: bool
    is_simulated: bool
    base_url: str
    counts_neurons: bool
    through_gateway: bool
    is_rate_guessed: bool
    identity: Mapping[str, object]
    resolved: Mapping[str, Resolved]


def book_of(job: Job, settings: Settings) -> str:
    """Whose allowance the neurons of a job's first lane are booked to."""
    return job.lanes[0].book(settings.account_id)


def located(loaded: LoadedSpec, key: str, problem: str) -> SpecError:
    """Make an error about a key of the spec, with its line (or that of the nearest parent that has one).

    A value of the command line has no line: the error names its ``--set``.
    """
    parent = key
    while parent and parent not in loaded.origins:
        parent = parent.rpartition(".")[0]
    if loaded.origins.get(parent) == "command line":
        for override in reversed(loaded.overrides):
            name = override.partition("=")[0].strip()
            if f"{parent}.".startswith(f"{name}.") or name.startswith(f"{parent}."):
                return SpecError(f"--set {override}", 0, "" if key == name else key, problem)
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
    embeds_emulator = rehearse or all(lane.kind == "emulator" for lane in lanes_of(spec))
    try:
        text = _text(spec, kind)
        if spec.output.subtitles and not kind.timed:
            raise PlanError(f"{kind.name} has no times to make subtitles of; remove it", key="output.subtitles")
        if "vectors" in spec.output.model_fields_set and not kind.has_vectors:
            raise PlanError(f"{kind.name} makes no vectors; remove it", key="output.vectors")
        lanes = plan_lanes(spec, kind, text, settings, embeds_emulator=embeds_emulator)
    except ParamsRefused as exc:
        errors = [located(loaded, key, problem) for key, problem in exc.problems]
        errors.sort(key=lambda error: (error.line == 0, error.line))
        raise (SpecErrors(errors) if len(errors) > 1 else errors[0]) from exc
    except PlanError as exc:
        raise located(loaded, exc.key or "model", exc.problem) from exc
    first = lanes[0]
    output = Path(spec.output.path or f"out/{spec.name}")
    if rehearse:
        output = output.with_name(output.name + REHEARSAL_SUFFIX)
    rpm = sum(lane.requests_per_minute for lane in lanes if lane.weight)
    return Job(
        loaded=loaded,
        spec=spec,
        kind=kind,
        model=first.model,
        adapter=first.adapter,
        text=text,
        requests_per_minute=rpm,
        lanes=lanes,
        output=output,
        embeds_emulator=embeds_emulator,
        is_simulated=embeds_emulator,
        base_url=first.base_url,
        counts_neurons=first.counts_neurons,
        through_gateway=any(lane.through_gateway for lane in lanes),
        is_rate_guessed=any(lane.is_rate_guessed for lane in lanes),
        identity={
            "task": spec.task,
            "model": first.model.name,
            "params": dict(sorted(spec.params.items())),
            "input.text": text.source,
            "input.id": spec.input.id,
        },
        resolved=_resolved(loaded, first, rpm, output, text, embeds_emulator=embeds_emulator),
    )


def _text(spec: JobSpec, kind: TaskKind) -> TextTemplate:
    given = spec.params.get(kind.text_param) if kind.text_param is not None else None
    if spec.input.text is not None:
        if given is not None:
            raise PlanError(f"is given as params.{kind.text_param} too: remove one of them", key="input.text")
        return TextTemplate.parse(spec.input.text)
    if isinstance(given, str):
        return TextTemplate(parts=((given, None),), source=given)
    plain, fallback = kind.text
    return TextTemplate(parts=(("", plain),), plain=plain, fallback=fallback, source=plain)


def _resolved(
    loaded: LoadedSpec, lane: LanePlan, rpm: int, output: Path, text: TextTemplate, *, embeds_emulator: bool
) -> dict[str, Resolved]:
    spec = loaded.spec
    derived: dict[str, tuple[object, str]] = {
        "model": (lane.model.name, "catalogue"),
        "input.text": (text.source, "default"),
        "output.path": (str(output), "default"),
        "limits.requests_per_minute": (rpm, "cautious guess" if lane.is_rate_guessed else "catalogue"),
        "limits.batch_size": (lane.adapter.max_pieces, "catalogue"),
        "endpoint.kind": ("emulator" if embeds_emulator else lane.endpoint.kind, "default"),
    }
    if not embeds_emulator:
        is_usual = lane.base_url == DEFAULT_BASE_URL
        derived["endpoint.base_url"] = (lane.base_url, "default" if is_usual else "environment")
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
