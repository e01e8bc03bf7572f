"""A task's adapter as a job would make it, for tests of one task."""

from pipeline.catalog import resolve_model
from pipeline.records import Answer, Media, Record, Request, Usage
from pipeline.rows import outline_of
from pipeline.schemas import check_params, input_fields
from pipeline.spec.model import ModelInfoSpec
from pipeline.tasks import TASKS, TaskContext
from pipeline.template import TextTemplate


def adapter_of(task, model=None, *, text=None, unpriced=False, model_info=None, **params):
    """The adapter of a job; parameters are checked as `resolve` does."""
    kind = TASKS[task]
    facts = ModelInfoSpec(**model_info) if model_info else None
    info = resolve_model(task, model, facts, allow_unpriced=unpriced)
    published = {name: value for name, value in params.items() if name not in kind.extra}
    problems = check_params(info.name, info.task, published, kind.owned, extra=kind.extra, carriers=kind.carriers)
    assert not problems, problems
    fields = input_fields(info.name, info.task) or frozenset()
    plain, fallback = kind.text
    usual = TextTemplate(parts=(("", plain),), plain=plain, fallback=fallback, source=plain)
    template = usual if text is None else TextTemplate.parse(text)
    return kind.adapter(TaskContext(model=info, params=params, text=template, fields=fields))


def record_of(fields, *, name="r0", source="data.jsonl"):
    return Record(ordinal=0, id=name, source=source, row=0, fields=fields)


def request_of(adapter, *records):
    """One request with all pieces of these records; the outline of each is what its pieces say."""
    pieces = []
    for record in records:
        cut = adapter.pieces(record)
        assert adapter.outline(record) == outline_of(cut)
        pieces += cut
    return Request(tuple(pieces))


def answer_of(result, mime=None, **usage):
    """An answer; bytes are a body that is no JSON."""
    if isinstance(result, bytes):
        result = Media(result, mime or "application/octet-stream")
    return Answer(result, Usage(**usage), 1.0)


def row_of(adapter, record, result, mime=None):
    """The row and the files that an answer to a record's one piece becomes."""
    values = adapter.parse(request_of(adapter, record), answer_of(result, mime))
    row = adapter.row(record, values)
    assert set(row) == {column.name for column in adapter.columns}
    return row, list(adapter.files(record, values))
