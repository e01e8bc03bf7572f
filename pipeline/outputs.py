"""What a run does with its output before and after sending: opens it, settles old rows, shares equal answers."""

from __future__ import annotations

import glob
from collections.abc import Callable, Iterator, Mapping
from itertools import takewhile
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import orjson

from pipeline.clock import Clock
from pipeline.control import Options
from pipeline.errors import JobChanged
from pipeline.keptscan import keep as keep_scan
from pipeline.plan import Plan, Scan, State, kept_columns
from pipeline.records import Column, digest
from pipeline.resolve import Job
from pipeline.rows import follower_values, output_columns
from pipeline.settings import Settings
from pipeline.sources import RecordSource
from pipeline.storage import AnswerFile, DoneIndex, JobIdentity, PieceMemory, Shared, Store
from pipeline.words import counted

SHARE_CHUNK: Final = 2_000

Follower = tuple[bytes, bytes, Mapping[str, object]]


def open_output(
    job: Job, found: Scan, options: Options, *, clock: Clock, tell: Callable[[str], None]
) -> tuple[Store, DoneIndex, list[Column]]:
    """Create or recover the output folder, settle the rows it has with what the input says now, and keep the scan.

    Returns:
        The open store, the index of what it holds, and the kept columns with their types.

    Raises:
        JobChanged: What is there answers another job, or other texts.
        OutputLocked: Another run holds the folder.
        OutputDamaged: What is there does not match its manifest.
        OutputUnwritable: The disk refuses.
    """
    keep = kept_columns(job.spec.input.keep, found.kept)
    before = _aside(job.output)
    store = Store.open(
        job.output,
        job=JobIdentity(
            name=job.spec.name,
            task=job.spec.task,
            model=job.model.name,
            identity=job.identity,
            endpoint_kind="emulator" if job.embeds_emulator else job.spec.endpoint.kind,
            base_url=job.base_url,
            simulated=job.is_simulated,
            job_yaml=job.loaded.text,
            about=job.adapter.about(),
        ),
        columns=output_columns(
            job.adapter.columns,
            keep,
            include_input=job.spec.output.include_input,
            tells_endpoint=len(job.lanes) > 1,
            through_gateway=job.through_gateway,
        ),
        rows_per_part=job.spec.checkpoint.rows_per_part,
        clock=clock,
        force_new=options.force_new,
    )
    if options.force_new and (aside := _aside(job.output) - before):
        tell(f"the old output is now {aside.pop()}")
    if n := store.recovery.damaged_frames:
        tell(f"{counted(n, 'damaged place')} in a journal: the records there are pending, and will be paid again")
    try:
        job.adapter.hold_to(store.columns)
        index = _settle_old_rows(job, store, found, options, tell)
        keep_scan(store, found, tell)
        return store, index, keep
    except BaseException:
        store.decline()
        raise


def _aside(output: Path) -> set[Path]:
    """Older outputs of the same name that ``--force-new`` has moved aside."""
    return set(output.parent.glob(f"{glob.escape(output.name)}.old-*"))


def _settle_old_rows(job: Job, store: Store, found: Scan, options: Options, tell: Callable[[str], None]) -> DoneIndex:
    """Drop what the user asked to have answered again; refuse to mix answers to different texts before that."""
    index = store.index()
    # a record that failed has no answer to lose: it is sent again with whatever text it has now
    states = index.lookup(found.id_keys, found.payload_keys, failures=not options.retry_failed)
    changed = states == State.CHANGED
    n_changed = int(np.count_nonzero(changed))
    if n_changed and not options.replace_changed:
        raise JobChanged(
            f"{counted(n_changed, 'record')} of the input changed since being answered, so the rows in "
            f"{job.output} would no longer match. Answer again with --replace-changed, begin anew with "
            "--force-new, or write to another output.path"
            + ("" if job.spec.input.id else " (if lines were only moved, give the records ids: input.id)")
        )
    if not n_changed and not options.retry_failed:
        return index
    del index
    if options.retry_failed and (n := store.drop_failures()):
        tell(f"{counted(n, 'failed record')} will be sent again")
    if n_changed:
        store.drop_records(found.ids_of(changed))
        tell(f"{counted(n_changed, 'changed record')} will be answered again")
    return store.index()


def open_memory(job: Job, settings: Settings, store: Store, tell: Callable[[str], None]) -> PieceMemory:
    """Open the answers to pieces: the job's own, and those of other runs where the task shares them.

    Raises:
        OutputDamaged: The job's own cannot be read: what they cost would be paid again.
        OutputUnwritable: The disk refuses.
    """
    own = own_answers(store)
    own.check()
    shared = None
    if job.adapter.shares_pieces and job.spec.cache and not job.embeds_emulator:
        scope = {key: job.identity[key] for key in ("task", "model", "params")}
        shared = AnswerFile(
            settings.cache(simulated=job.is_simulated), digest(orjson.dumps(scope, option=orjson.OPT_SORT_KEYS))
        )
    return PieceMemory(own, shared, model=job.model.name, tell=tell)


def own_answers(store: Store) -> AnswerFile:
    """Answers to pieces of the job's records that have no row yet."""
    advice = "restore it from a copy, or remove it: the pieces of unfinished records will be asked and paid again"
    return AnswerFile(store.layout.pieces, advice=advice)


def share_equal_answers(
    job: Job,
    source: RecordSource,
    store: Store,
    plan: Plan,
    keep: list[Column],
    clock: Clock,
    is_ending: Callable[[], bool],
) -> Shared:
    """Give every record whose payload was answered for another one a row of its own; the same for failures.

    Ends early where `is_ending` says so: the next run goes on. Seals the store. See docs/adr/0006-equal-payloads.md.
    """
    followers = plan.state == State.FOLLOWER
    if not followers.any():
        return Shared()
    index = store.index()
    known = index.has_payload(plan.scan.payload_keys) | index.failed_payload(plan.scan.payload_keys)
    ready = followers & known
    if not ready.any():
        return Shared()
    chunks = _follower_chunks(job, source, plan, ready, keep, clock)
    shared = store.share(takewhile(lambda _: not is_ending(), chunks))
    store.seal()
    return shared


def _follower_chunks(
    job: Job, source: RecordSource, plan: Plan, ready: npt.NDArray[np.bool_], keep: list[Column], clock: Clock
) -> Iterator[list[Follower]]:
    # where rows hold it themselves, equal payloads have equal ones
    tells_input = job.spec.output.include_input and not job.adapter.rows_hold_input
    chunk: list[Follower] = []
    for record in plan.followers(source, ready):
        sent = job.adapter.sent(record) if tells_input else None
        values = follower_values(record, keep, sent, clock.now())
        chunk.append((digest(record.id.encode()), job.adapter.outline(record).payload_key, values))
        if len(chunk) == SHARE_CHUNK:
            yield chunk
            chunk = []
    if chunk:
        yield chunk
