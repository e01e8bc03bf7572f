"""The manifest: what belongs to the output. Human-readable JSON, replaced atomically, the only truth about parts.

Its last key is the sha256 of all that stands before it: whoever edits it by hand is refused as a flipped bit is.
A part without an entry is swept at the next open; an entry without a part cannot come to be.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

import orjson
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pipeline.errors import OutputDamaged
from pipeline.records import Column
from pipeline.storage.atomic import replace_file
from pipeline.storage.disk import Disk
from pipeline.storage.layout import RESULTS, Layout, part_number
from pipeline.version import __version__

FORMAT_VERSION: Final = 1
MAX_RUNS: Final = 100


@dataclass(frozen=True, slots=True)
class JobIdentity:
    """What a job is, as far as its output is concerned.

    Attributes:
        name: Name of the job; may change between runs.
        task: Task name.
        model: Model name.
        identity: Everything else that changes answers (params, templates …), JSON values only.
        endpoint_kind: Kind of endpoint.
        base_url: Where requests go, without secrets; may change between runs.
        simulated: Answers come from the emulator.
        job_yaml: The spec as run, for people.
        about: What the task says of its results, for the metadata of parts.
    """

    name: str
    task: str
    model: str
    identity: Mapping[str, object]
    endpoint_kind: str
    base_url: str
    simulated: bool
    job_yaml: str
    about: Mapping[str, str] = field(default_factory=dict)


class _Entry(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class PartEntry(_Entry):
    """A published part.

    Attributes:
        name: File name in ``results/`` or ``failures/``.
        rows: Rows, > 0.
        records: Records they belong to; None where a version wrote it that had one row a record.
        bytes: File size.
        sha256: Digest of the file.
        index: File name of its sidecar in ``run/index/``.
        index_sha256: Digest of the sidecar.
        revision: How often it was rewritten.
        staged: File in ``run/`` that replaces the part of this name, if it is still there; otherwise it already has.
    """

    name: str
    rows: int = Field(gt=0)
    records: int | None = Field(default=None, gt=0)
    bytes: int = Field(gt=0)
    sha256: str
    index: str
    index_sha256: str
    revision: int = 0
    staged: str | None = None

    @property
    def n_records(self) -> int:
        """Records its rows belong to."""
        return self.rows if self.records is None else self.records


class ColumnEntry(_Entry):
    """A column of the results."""

    name: str
    kind: str
    dim: int | None = None
    fields: tuple[ColumnEntry, ...] = ()

    def column(self) -> Column:
        """As the rest of the package knows it."""
        return Column(self.name, self.kind, self.dim, tuple(entry.column() for entry in self.fields))

    @classmethod
    def of(cls, column: Column) -> ColumnEntry:
        """As the manifest stores it."""
        return cls(
            name=column.name, kind=column.kind, dim=column.dim, fields=tuple(cls.of(member) for member in column.fields)
        )


class JobEntry(_Entry):
    """Whose output it is."""

    id: str
    name: str
    task: str
    model: str
    identity: dict[str, Any]
    about: dict[str, str] = Field(default_factory=dict)


class EndpointEntry(_Entry):
    """Where the answers came from."""

    kind: str
    base_url: str
    simulated: bool


class Manifest(_Entry):
    """Everything the output folder holds; a value, replaced as a whole.

    Attributes:
        journal_floor: Journals of lower generations are folded into parts.
        taken: By kind, part numbers below this were given away, although parts of them may have been dropped since.
        runs: What each run reported at its end, oldest first, the last 100.
    """

    format_version: int = FORMAT_VERSION
    written_by: str = f"workers-ai-batch {__version__}"
    job: JobEntry
    endpoint: EndpointEntry
    columns: tuple[ColumnEntry, ...]
    created_at: datetime
    updated_at: datetime
    journal_floor: int = 0
    taken: dict[str, int] = Field(default_factory=dict)
    results: tuple[PartEntry, ...] = ()
    failures: tuple[PartEntry, ...] = ()
    runs: tuple[dict[str, Any], ...] = ()

    def parts(self, kind: str) -> tuple[PartEntry, ...]:
        """Parts of ``results`` or ``failures``, in order."""
        return self.results if kind == RESULTS else self.failures

    def next_number(self, kind: str) -> int:
        """Number of the next part: higher than all there ever were, so that one that is not named tells its age."""
        return max(self.taken.get(kind, 0), *(part_number(entry.name) + 1 for entry in self.parts(kind)), 0)

    def n_records(self, kind: str) -> int:
        """Records in the parts of ``results`` or ``failures``."""
        return sum(entry.n_records for entry in self.parts(kind))

    def result_columns(self) -> tuple[Column, ...]:
        """Columns of the results, as far as resolved."""
        return tuple(entry.column() for entry in self.columns)

    def encode(self) -> bytes:
        """The file's content."""
        body = orjson.dumps(self.model_dump(mode="json"), option=orjson.OPT_INDENT_2).removesuffix(b"\n}")
        return body + _seal(body)


def _seal(body: bytes) -> bytes:
    """How a manifest that begins with `body` ends."""
    return b',\n  "sha256": "%s"\n}\n' % hashlib.sha256(body).hexdigest().encode()


_SEAL_SIZE: Final = len(_seal(b""))


def read_manifest(layout: Layout) -> Manifest | None:
    """Read the manifest; None where there is none.

    Raises:
        OutputDamaged: Not readable, or of a newer format.
    """
    advice = "restore it from a copy, or start over with --force-new (the folder is moved aside, nothing is deleted)"
    try:
        data = layout.manifest.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise OutputDamaged(f"{layout.manifest}: cannot be read: {error.strerror}; {advice}") from error
    try:
        raw = orjson.loads(data)
        version = raw["format_version"]
        writer = raw.get("written_by", "an unnamed version")
    except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError) as error:
        raise OutputDamaged(f"{layout.manifest}: not a manifest ({error}); {advice}") from error
    if not isinstance(version, int) or not 1 <= version <= FORMAT_VERSION:
        raise OutputDamaged(
            f"{layout.manifest}: format {version}, written by {writer}; this is workers-ai-batch {__version__}, "
            f"which reads formats up to {FORMAT_VERSION}: use the version that wrote it, or a newer one"
        )
    if data[-_SEAL_SIZE:] != _seal(data[:-_SEAL_SIZE]):
        raise OutputDamaged(f"{layout.manifest}: its content is not what was written (sha256 differs); {advice}")
    try:
        return Manifest.model_validate_json(data)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(step) for step in first["loc"])
        raise OutputDamaged(f"{layout.manifest}: {where}: {first['msg']}; {advice}") from error


def write_manifest(disk: Disk, layout: Layout, manifest: Manifest) -> None:
    """Replace the manifest; durable on return."""
    replace_file(disk, layout.temporary("manifest.json"), layout.manifest, manifest.encode())


def plain(value: object) -> Any:  # noqa: ANN401 - JSON
    """A value as JSON gives it back, so that what was stored and what is asked compare equal."""
    return orjson.loads(orjson.dumps(value, option=orjson.OPT_NON_STR_KEYS | orjson.OPT_SORT_KEYS))


def differences(manifest: Manifest, job: JobIdentity, columns: Sequence[Column]) -> list[str]:
    """What changed in a way that changes answers: one line ``key: old -> new`` each."""
    old: dict[str, object] = {
        "task": manifest.job.task,
        "model": manifest.job.model,
        "endpoint": _origin(manifest.endpoint.simulated),
        **manifest.job.identity,
    }
    new: dict[str, object] = {
        "task": job.task,
        "model": job.model,
        "endpoint": _origin(job.simulated),
        **plain(dict(job.identity)),
    }
    lines = _compare("", old, new)
    before, after = manifest.result_columns(), tuple(columns)
    if not _compatible(before, after):
        lines.append(f"columns: {_describe(before)} -> {_describe(after)}")
    return lines


def _origin(simulated: bool) -> str:
    return "simulated answers (emulator)" if simulated else "real answers"


def _compare(prefix: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    lines = []
    for key in [*old, *(key for key in new if key not in old)]:
        before, after = old.get(key, _ABSENT), new.get(key, _ABSENT)
        if isinstance(before, dict) and isinstance(after, dict):
            lines += _compare(f"{prefix}{key}.", before, after)
        elif before != after or isinstance(before, bool) is not isinstance(after, bool):
            lines.append(f"{prefix}{key}: {_show(before)} -> {_show(after)}")
    return lines


_ABSENT: Final = object()


def _show(value: object) -> str:
    if value is _ABSENT:
        return "(not set)"
    text = orjson.dumps(value).decode()
    return text if len(text) <= 200 else f"{text[:200]}…"


def _compatible(before: Sequence[Column], after: Sequence[Column]) -> bool:
    """Equal, but for vectors whose length one side does not know yet."""
    if len(before) != len(after):
        return False
    return all(
        old.name == new.name
        and old.kind == new.kind
        and (old.dim == new.dim or None in (old.dim, new.dim))
        and _compatible(old.fields, new.fields)
        for old, new in zip(before, after, strict=True)
    )


def _describe(columns: Sequence[Column]) -> str:
    return ", ".join(f"{column.name} {column.kind}{f'[{column.dim}]' if column.dim else ''}" for column in columns)
