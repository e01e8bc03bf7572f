"""The task `generate` as its tests use it: adapters, requests, answers."""

from pipeline.catalog import resolve_model
from pipeline.records import Answer, Request, Usage
from pipeline.schemas import input_fields
from pipeline.tasks import TaskContext
from pipeline.tasks.generate import Generate
from pipeline.template import TextTemplate
from tests.support.fakes import record

OLD = "@cf/meta/llama-3.1-8b-instruct-fp8"
NEW = "@cf/google/gemma-4-26b-a4b-it"
SCHEMA = {
    "type": "object",
    "properties": {"mood": {"type": "string", "enum": ["good", "bad"]}, "score": {"type": "number"}},
    "required": ["mood"],
}


def generate(model=OLD, **params):
    """The adapter of a job."""
    info = resolve_model("generate", model)
    fields = input_fields(info.name, info.task)
    return Generate(TaskContext(model=info, params=params, text=TextTemplate.parse("text"), fields=fields))


def ask(adapter, text="hello", cap=None):
    """A request of one prompt."""
    return Request(tuple(adapter.pieces(record(0, text))), output_cap=cap)


def parsed(adapter, result, usage=None, cap=None):
    """The row that an answer becomes."""
    return adapter.row(record(0), adapter.parse(ask(adapter, cap=cap), Answer(result, usage or Usage(), 1.0)))


def chat(content, finish="stop", **message):
    """An OpenAI chat completion."""
    return {"choices": [{"message": {"content": content, **message}, "finish_reason": finish}]}


def answered(adapter, piece, result, usage=None):
    """What a piece's answer is to the task."""
    (said,) = adapter.parse(Request((piece,)), Answer(result, usage or Usage(), 1.0))
    return said


def asked_next(adapter, piece, result, usage=None):
    """The piece that an answer makes necessary, None where it is enough."""
    following = adapter.follow_up(record(0), [(piece, answered(adapter, piece, result, usage))])
    assert len(following) <= 1
    return following[0] if following else None
