"""Looks a record up in the input, the output and the event log."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from pipeline.clock import Clock, SystemClock
from pipeline.errors import PlanError, RecordUnusable
from pipeline.eventlog import read_attempts
from pipeline.explain.advice import advise
from pipeline.explain.explanation import Entry, Explanation, Standing, printable
from pipeline.explain.nearest import Nearest
from pipeline.planning import opened
from pipeline.records import NO_PAYLOAD, BrokenRecord, Outline, Record, digest
from pipeline.resolve import Job, resolve
from pipeline.settings import Settings, load_settings
from pipeline.sources import RecordSource
from pipeline.spec import LoadedSpec, load_spec
from pipeline.storage import Layout, Located, glance, locate
from pipeline.tasks.files import located

_COLUMNS: Final[Mapping[str, list[str]]] = {
    "results": ["id", "source", "row", "model", "neurons", "latency_ms", "attempts", "finished_at"],
    "failures": ["id", "source", "row", "code", "http_status", "message", "attempts", "retryable", "at"],
}


def explain_record(
    spec: str | Path | LoadedSpec,
    record_id: str,
    *,
    settings: Settings | None = None,
    rehearse: bool = False,
    clock: Clock | None = None,
) -> Explanation:
    """Find out all there is to know of a record.

    Raises:
        PlanError: It is neither in the input nor in the output; names ids that are written alike.
        SpecError: The spec is wrong or the input cannot be read.
        OutputDamaged: The output cannot be read.
    """
    clock = clock or SystemClock()
    settings = settings or load_settings(need_credentials=False)
    loaded = spec if isinstance(spec, LoadedSpec) else load_spec(Path(spec))
    job = resolve(loaded, settings, rehearse=rehearse)
    entry, stored, shares_with = _found(job, record_id)
    seen = glance(job.output)
    state = _state(job, entry, stored)
    given = [word for override in loaded.overrides for word in ("--set", override)]
    command = shlex.join(["wai", "run", loaded.path, *(["--rehearse"] if rehearse else []), *given])
    return Explanation(
        id=record_id,
        job=job.spec.name,
        output=str(job.output),
        state=state,
        simulated=seen.simulated if seen is not None else job.is_simulated,
        entry=entry,
        shares_with=shares_with if state in {Standing.DONE, Standing.FAILED, Standing.PENDING} else None,
        attempts=read_attempts(Layout(job.output).run / "events.jsonl", record_id),
        stored=stored,
        writer=seen.writer if seen is not None else None,
        advice=advise(
            state,
            entry,
            stored,
            seen,
            command=command,
            now=clock.now(),
            neurons_total=job.spec.budget.neurons_total,
        ),
    )


def _found(job: Job, record_id: str) -> tuple[Entry | None, Located | None, str | None]:
    """Its place in the input, its row, and whose answer it shares."""
    if _reads_stdin(job):
        stored = _stored(job, record_id)
        if stored is None:
            raise PlanError(f'no record "{printable(record_id)}" in {job.output}; what came through stdin is not kept')
        return None, stored, _shared(job, record_id, stored)
    with opened(job) as source:
        near = Nearest(record_id)
        item = _find(source, record_id, near)
        entry = _entry(job, item) if item is not None else None
        stored = _stored(job, record_id)
        if stored is not None:
            is_own = entry is not None and not entry.unusable and not entry.is_sent
            return entry, stored, None if is_own else _shared(job, record_id, stored)
        if item is None or entry is None:
            raise PlanError(_unknown(job, record_id, near))
        return entry, None, _will_share(job, source, item, entry)


def _reads_stdin(job: Job) -> bool:
    path = job.spec.input.path
    return path == "-" or (not isinstance(path, str) and "-" in (path or ()))


def _unknown(job: Job, record_id: str, near: Nearest) -> str:
    alike = ", ".join(printable(each) for each in near.ids())
    return f'no record "{printable(record_id)}" in the input or in {job.output}' + (
        f"; nearest: {alike}" if alike else ""
    )


def _find(source: RecordSource, record_id: str, near: Nearest) -> Record | BrokenRecord | None:
    for item in source.read():
        if item.id == record_id:
            return item
        near.see(item.id)
    return None


def _outline(job: Job, item: Record | BrokenRecord) -> tuple[Outline | None, str]:
    """What would be sent, or why nothing can be."""
    if isinstance(item, BrokenRecord):
        return None, item.reason
    try:
        return job.adapter.outline(item), ""
    except RecordUnusable as error:
        return None, str(error)


def _entry(job: Job, item: Record | BrokenRecord) -> Entry:
    outline, unusable = _outline(job, item)
    text = job.adapter.sent(item) if isinstance(item, Record) and outline else ""
    return Entry(
        file=item.source,
        row=item.row,
        text=text,
        unusable=unusable,
        expected=outline.expected if outline else 0.0,
        at_most=outline.ceiling if outline else 0.0,
        payload_key=outline.payload_key if outline else NO_PAYLOAD,
        is_sent=bool(outline and outline.n_pieces),
        file_bytes=_file_bytes(item, text) if job.kind.media is not None else None,
    )


def _file_bytes(item: Record | BrokenRecord, name: str) -> int | None:
    """Size of the file of a record; None where there is none, or it has gone meanwhile."""
    if isinstance(item, BrokenRecord) or not name:
        return None
    try:
        return located(item, name).stat().st_size
    except (RecordUnusable, OSError):
        return None


def _stored(job: Job, record_id: str) -> Located | None:
    return locate(job.output, _id_key(record_id), columns=_COLUMNS)


def _id_key(record_id: str) -> bytes:
    return digest(record_id.encode("utf-8", "surrogatepass"))


def _shared(job: Job, record_id: str, stored: Located) -> str | None:
    """Whose answer a stored row is, where it cost no attempt of its own."""
    if stored.values.get("attempts") != 0 or stored.payload_key == NO_PAYLOAD:
        return None
    first = locate(job.output, stored.payload_key, columns=_COLUMNS, by="payload")
    return str(first.values["id"]) if first is not None and first.values["id"] != record_id else ""


def _will_share(job: Job, source: RecordSource, item: Record | BrokenRecord, entry: Entry) -> str | None:
    """Whose answer a pending record will take, as the plan decides it: a settled one's, or an earlier pending one's."""
    if not job.spec.dedupe or not entry.is_sent:
        return None
    settled = locate(job.output, entry.payload_key, columns=_COLUMNS, by="payload")
    if settled is not None:
        return str(settled.values["id"])
    for other in source.read():
        if other.ordinal == item.ordinal:
            break
        outline, _ = _outline(job, other)
        if outline and outline.payload_key == entry.payload_key and _stored(job, other.id) is None:
            return other.id
    return None


def _state(job: Job, entry: Entry | None, stored: Located | None) -> Standing:
    """As the plan decides it."""
    if stored is None:
        return Standing.PENDING
    settled = Standing.FAILED if stored.kind == "failures" else Standing.DONE
    if entry is None:
        return settled if _reads_stdin(job) else Standing.NOT_IN_INPUT
    is_known_by_id_alone = settled is Standing.FAILED and stored.payload_key == NO_PAYLOAD
    return settled if is_known_by_id_alone or stored.payload_key == entry.payload_key else Standing.CHANGED
