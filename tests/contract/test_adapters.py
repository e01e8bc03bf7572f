"""What every task adapter keeps, for every living model of its task: valid payloads, true ceilings, no surprises."""

import json
import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.catalog import Catalog, resolve_model
from pipeline.emulator.tokens import chat_tokens, embedding_tokens
from pipeline.errors import AttemptError, PlanError, RecordUnusable, UnreadableAnswer
from pipeline.records import Answer, Request, Usage
from pipeline.rows import outline_of
from pipeline.schemas import check_input, input_fields
from pipeline.tasks import TASKS, TaskContext
from pipeline.template import TextTemplate
from tests.support.fakes import record

SCHEMA = {
    "type": "object",
    "properties": {"label": {"type": "string"}, "score": {"type": "number"}, "tags": {"type": "array"}},
    "required": ["label"],
}
PARAMS = {
    "embed": [{}],
    "generate": [{}, {"max_tokens": 7, "system": "Be brief. 短く。"}, {"json_schema": SCHEMA, "max_tokens": 64}],
}
COLUMNS = {
    "embed": [("embedding", "vector")],
    "generate": [
        ("response", "string"),
        ("finish_reason", "string"),
        ("prompt_tokens", "int64"),
        ("completion_tokens", "int64"),
    ],
}


def priced(task):
    """Every living model of a task that a job can use as the catalogue has it."""
    for model in Catalog.load().models(task):
        try:
            yield resolve_model(task, model.name)
        except PlanError:
            continue


MODELS = [(task, model) for task in TASKS for model in priced(task)]
IDS = [f"{task} {model.name}" for task, model in MODELS]
NARROW = {"@cf/meta/llama-guard-3-8b"}  # takes no system message and no JSON schema
CASES = [
    (task, model, params) for task, model in MODELS for params in PARAMS[task] if not params or model.name not in NARROW
]


def adapter_of(task, model, params=None):
    fields = input_fields(model.name, model.task) or frozenset()
    return TASKS[task].adapter(
        TaskContext(model=model, params=params or {}, text=TextTemplate.parse("text"), fields=fields)
    )


ADAPTED = [(task, model, params, adapter_of(task, model, params)) for task, model, params in CASES]

EXPANDERS = "ﷺﷻ㍿㌖ﬃ⑽㈱½…豈"  # one character that NFKC makes several of, or longer
COMBINING = "é̂̃क्षि"
TEXTS = st.one_of(
    st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=60),
    st.text(st.sampled_from(EXPANDERS + COMBINING + "a 1"), min_size=1, max_size=40),
    st.text(st.sampled_from("日本語中文한국어ไทย"), min_size=1, max_size=40),
    st.text(st.sampled_from("🎉👩‍👩‍👧🏽🇩🇪"), min_size=1, max_size=30),
    st.text(st.sampled_from("abc XYZ 0123.,!?\n\t{}[]\"'<|endoftext|>"), min_size=1, max_size=200),
).filter(str.strip)


def request_of(adapter, texts):
    return Request(tuple(adapter.pieces(record(index, text))[0] for index, text in enumerate(texts)))


@given(st.sampled_from(ADAPTED), TEXTS | st.text(max_size=5) | st.text("ab é", min_size=2_000, max_size=2_100))
@settings(max_examples=400, deadline=None)
def test_the_outline_of_a_record_is_that_of_its_pieces(case, text):
    """What is planned is what is sent: the same sums, the same digest, and the same records that cannot be sent."""
    adapter = case[3]

    def tried(work):
        try:
            return work(record(0, text))
        except RecordUnusable as unusable:
            return str(unusable)

    pieces, outline = tried(adapter.pieces), tried(adapter.outline)
    assert outline == (pieces if isinstance(pieces, str) else outline_of(pieces))


def test_every_task_has_living_models():
    """The suite is about something."""
    assert {task for task, _ in MODELS} == set(TASKS) == set(PARAMS) == set(COLUMNS)
    assert len(MODELS) >= 20


@pytest.mark.parametrize(("task", "model"), MODELS, ids=IDS)
def test_output_columns_are_stable(task, model):
    """Programs read them: a name or a type that changes is a break."""
    assert [(column.name, column.kind) for column in adapter_of(task, model).columns] == COLUMNS[task]


@given(st.sampled_from(ADAPTED), st.lists(TEXTS, min_size=1, max_size=3))
@settings(max_examples=200, deadline=None)
def test_a_payload_fits_the_models_published_schema(case, texts):
    """Every field is known to the model and of its type, whatever the text."""
    _task, model, _, adapter = case
    payload = adapter.payload(request_of(adapter, texts[: adapter.max_pieces]))
    assert check_input(model.name, payload, model.task) == []
    assert json.loads(json.dumps(payload)) == payload


@pytest.mark.parametrize(("task", "model", "params", "adapter"), ADAPTED)
def test_the_payload_of_every_model_fits_its_schema(task, model, params, adapter):
    """None is left to chance."""
    assert check_input(model.name, adapter.payload(request_of(adapter, ["hello"])), model.task) == []


@pytest.mark.parametrize("params", PARAMS["generate"][1:])
@pytest.mark.parametrize("name", sorted(NARROW))
def test_what_a_narrow_model_does_not_take_is_found_before_it_is_sent(name, params):
    """The check that a plan makes of its first payloads says so."""
    adapter = adapter_of("generate", resolve_model("generate", name), params)
    assert check_input(name, adapter.payload(request_of(adapter, ["hello"])), "text-generation") != []


def charge(task, model, params, payload, texts):
    """The most the service can charge: its tokenizer may normalise first, and the answer may be as long as allowed."""
    price_in, price_out = model.input_per_m_tokens / 1e6, (model.output_per_m_tokens or 0.0) / 1e6
    if task == "embed":
        counts = [max(pair) for pair in zip(embedding_tokens(texts), embedding_tokens(nfkc(texts)), strict=True)]
        most = model.max_input_tokens
        return sum(min(count, most) if most else count for count in counts) * price_in
    said = [message["content"] for message in payload["messages"]]
    cap = payload.get("max_tokens", payload.get("max_completion_tokens"))
    assert cap == params.get("max_tokens", 256)
    return max(chat_tokens(said), chat_tokens(nfkc(said))) * price_in + cap * price_out


def nfkc(texts):
    return [unicodedata.normalize("NFKC", text) for text in texts]


@given(st.sampled_from(ADAPTED), st.lists(TEXTS, min_size=1, max_size=4))
@settings(max_examples=400, deadline=None)
def test_a_ceiling_is_never_below_the_charge(case, texts):
    """P3 stands on it: for any text in any script, on any model."""
    task, model, params, adapter = case
    texts = texts[: adapter.max_pieces]
    request = request_of(adapter, texts)
    cost = adapter.cost(request)
    charged = charge(task, model, params, adapter.payload(request), texts)
    assert charged <= cost.ceiling * (1 + 1e-12)
    assert cost.ceiling <= sum(piece.ceiling for piece in request.pieces) * (1 + 1e-9)
    for piece in request.pieces:
        assert 0 <= piece.expected <= piece.ceiling * (1 + 1e-9)


@given(TEXTS)
@settings(max_examples=200)
def test_bytes_bound_the_tokens_of_a_tokenizer_that_splits_all(text):
    """The stand-in's count is one of many: even one token a byte of the normalised text is covered."""
    for task, model, _, adapter in ADAPTED[:: len(ADAPTED) // 4]:
        if model.max_input_tokens:
            continue
        (piece,) = adapter.pieces(record(0, text))
        worst = max(len(text.encode()), len(unicodedata.normalize("NFKC", text).encode()))
        assert piece.ceiling >= worst * model.input_per_m_tokens / 1e6, task


@pytest.mark.parametrize(("task", "model"), MODELS, ids=IDS)
@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"text": None},
        {"text": ""},
        {"text": " \n\t "},
        {"text": 5},
        {"text": ["a"]},
        {"text": "\ud800"},
        {"other": "x"},
    ],
    ids=repr,
)
def test_what_cannot_be_sent_is_refused_before_it_is(task, model, fields):
    """A failure row with a reason; nothing is spent on it."""
    empty = record(0)
    unusable = type(empty)(ordinal=0, id="r0", source="s", row=0, fields=fields)
    with pytest.raises(RecordUnusable) as caught:
        adapter_of(task, model).pieces(unusable)
    assert str(caught.value)


def documented(task, model):
    """The shapes in which the service answers a request of one piece, and what the row says then."""
    if task == "embed":
        vector = [0.5] * (model.dimensions or 8)
        return [
            {"shape": [1, len(vector)], "data": [vector]},
            {"shape": [1, len(vector)], "data": [vector], "pooling": "mean"},
            {"response": [vector], "shape": [1, len(vector)], "pooling": "cls"},
        ]
    message = {"role": "assistant", "content": "Hi", "reasoning_content": None, "tool_calls": []}
    return [
        {"response": "Hi", "usage": {}},
        {"response": "Hi", "tool_calls": []},
        {
            "id": "x",
            "object": "chat.completion",
            "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
        },
        {"output": [{"type": "message", "content": [{"type": "output_text", "text": "Hi"}]}], "status": "completed"},
        {"output_text": "Hi", "output": []},
    ]


@pytest.mark.parametrize(("task", "model"), MODELS, ids=IDS)
def test_every_documented_shape_becomes_a_row(task, model):
    """With a value for each column, and no other."""
    adapter = adapter_of(task, model)
    for result in documented(task, model):
        request = request_of(adapter, ["hello"])
        values = adapter.parse(request, Answer(result, Usage(input_tokens=3, output_tokens=1), 1.0))
        assert len(values) == 1
        assert set(adapter.row(request.pieces[0].record, values)) == {column.name for column in adapter.columns}


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(
                ["data", "response", "choices", "message", "content", "output", "output_text", "type", "text", "shape"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=15,
)
HOSTILE = (
    JSON
    | st.builds(lambda data: {"data": data}, JSON)
    | st.builds(lambda message: {"choices": [{"message": message}]}, JSON)
    | st.builds(lambda value: {"response": value}, JSON)
    | st.builds(lambda value: {"output": [value]}, JSON)
)


@given(st.sampled_from(ADAPTED), HOSTILE, st.integers(1, 3))
@settings(max_examples=500, deadline=None)
def test_a_hostile_answer_is_unreadable_and_nothing_worse(case, result, n):
    """Any JSON is either understood or refused; it never ends the run, and never fills a row half."""
    _, _, _, adapter = case
    request = request_of(adapter, ["a", "b", "c"][: min(n, adapter.max_pieces)])
    try:
        values = adapter.parse(request, Answer(result, Usage(), 1.0))
    except AttemptError as error:
        assert type(error) is UnreadableAnswer  # noqa: PT017 - most answers are fine either way
        return
    assert len(values) == len(request.pieces)
    for piece, value in zip(request.pieces, values, strict=True):
        assert set(adapter.row(piece.record, [value])) == {column.name for column in adapter.columns}


@pytest.mark.parametrize(("task", "model"), MODELS, ids=IDS)
def test_counted_units_have_a_price_and_uncounted_ones_none(task, model):
    """The table is used where the service counts, and nothing is made up where it does not."""
    adapter = adapter_of(task, model)
    assert adapter.price(Usage()) is None
    counted = adapter.price(Usage(input_tokens=1000, output_tokens=0))
    assert counted == pytest.approx(model.input_per_m_tokens / 1000)
