"""`rerank`: every context is scored once, or the answer is not taken."""

import math

import orjson
import pytest

from pipeline.catalog import Catalog, resolve_model
from pipeline.errors import PlanError, RecordUnusable, SpecError, UnreadableAnswer
from pipeline.records import Answer, Record, Request, Usage
from pipeline.resolve import resolve
from pipeline.rows import outline_of
from pipeline.schemas import check_input, input_fields
from pipeline.settings import load_settings
from pipeline.spec import parse_spec
from pipeline.tasks import TASKS, TaskContext
from pipeline.template import TextTemplate

BASE = "@cf/baai/bge-reranker-base"
M3 = "@cf/baai/bge-m3"
TEXTS = ["tax law", "a boat", "fishing"]


def rerank(model=BASE, **params):
    info = resolve_model("rerank", model)
    fields = input_fields(info.name, info.task)
    return TASKS["rerank"].adapter(
        TaskContext(model=info, params=params, text=TextTemplate.parse("query"), fields=fields)
    )


def record(contexts, query="boats?", **fields):
    return Record(0, "r0", "s", 0, {"query": query, "contexts": contexts, **fields})


def scores(*pairs):
    return {"response": [{"id": at, "score": score} for at, score in pairs]}


def parsed(adapter, item, result):
    (piece,) = adapter.pieces(item)
    return adapter.parse(Request((piece,)), Answer(result, Usage(), 1.0))


@pytest.mark.parametrize("model", [BASE, M3])
@pytest.mark.parametrize("contexts", [TEXTS, [{"text": text} for text in TEXTS], orjson.dumps(TEXTS).decode()])
def test_query_and_contexts_are_sent(model, contexts):
    """A list of texts, of objects with text, or JSON in a cell."""
    adapter = rerank(model)
    (piece,) = adapter.pieces(record(contexts))
    payload = adapter.payload(Request((piece,)))
    assert payload == {"query": "boats?", "contexts": [{"text": text} for text in TEXTS]}
    assert check_input(model, payload) == []
    assert adapter.outline(record(contexts)) == outline_of([piece])


def test_the_best_comes_first_with_its_text():
    adapter = rerank()
    values = parsed(adapter, record(TEXTS), scores((2, 0.5), (0, -7.25), (1, 3)))
    assert adapter.row(record(TEXTS), values) == {
        "ranking": [
            {"index": 1, "score": 3.0, "text": "a boat"},
            {"index": 2, "score": 0.5, "text": "fishing"},
            {"index": 0, "score": -7.25, "text": "tax law"},
        ]
    }


@pytest.mark.parametrize(("model", "is_sent"), [(BASE, True), (M3, False)])
def test_top_k_is_sent_where_the_model_takes_it_and_holds_everywhere(model, is_sent):
    adapter = rerank(model, top_k=2)
    (piece,) = adapter.pieces(record(TEXTS))
    assert adapter.payload(Request((piece,))).get("top_k") == (2 if is_sent else None)
    given = scores((1, 3.0), (2, 0.5)) if is_sent else scores((1, 3.0), (2, 0.5), (0, 0.1))
    ranking = adapter.row(record(TEXTS), parsed(adapter, record(TEXTS), given))["ranking"]
    assert [item["index"] for item in ranking] == [1, 2]
    (one,) = adapter.pieces(record(TEXTS[:1]))
    assert adapter.payload(Request((one,))).get("top_k") == (1 if is_sent else None)


def test_many_contexts_travel_in_parts():
    """Each is scored by itself, so the parts' scores are one ranking."""
    texts = [f"context {n}" for n in range(250)]
    adapter = rerank(top_k=3)
    pieces = adapter.pieces(record(texts))
    assert [len(piece.content.contexts) for piece in pieces] == [100, 100, 50]
    assert [(piece.index, piece.n_pieces) for piece in pieces] == [(0, 3), (1, 3), (2, 3)]
    assert adapter.outline(record(texts)) == outline_of(pieces)
    values = []
    for piece in pieces:
        result = scores((7, float(piece.index)), (8, -1.0), (9, -2.0))
        values += adapter.parse(Request((piece,)), Answer(result, Usage(), 1.0))
    ranking = adapter.row(record(texts), values)["ranking"]
    assert [(item["index"], item["text"]) for item in ranking] == [(n, f"context {n}") for n in (207, 107, 7)]
    large = ["x" * 100_000] * 5
    assert all(piece.size <= 250_100 for piece in adapter.pieces(record(large)))
    assert len(rerank(M3).pieces(record(texts))[0].content.contexts) == 99


def test_a_part_that_is_too_large_is_halved():
    adapter = rerank()
    (piece,) = adapter.pieces(record(TEXTS))
    first, second = adapter.halved(piece)
    assert (first.part, second.part) == ((0,), (1,))
    values = [
        *adapter.parse(Request((first,)), Answer(scores((0, 1.0)), Usage(), 1.0)),
        *adapter.parse(Request((second,)), Answer(scores((0, 2.0), (1, 3.0)), Usage(), 1.0)),
    ]
    assert [item["index"] for item in adapter.row(record(TEXTS), values)["ranking"]] == [2, 1, 0]
    assert adapter.halved(first) == ()


@pytest.mark.parametrize(
    "result",
    [
        None,
        [],
        {},
        {"response": None},
        {"response": "x"},
        scores(),
        scores((0, 1.0), (1, 2.0)),
        scores((0, 1.0), (1, 2.0), (2, 3.0), (0, 1.0)),
        scores((0, 1.0), (1, 2.0), (1, 3.0)),
        scores((0, 1.0), (1, 2.0), (3, 3.0)),
        scores((0, 1.0), (1, 2.0), (-1, 3.0)),
        scores((0, 1.0), (1, 2.0), (1.5, 3.0)),
        scores((0, 1.0), (True, 2.0), (2, 3.0)),
        scores((0, 1.0), ("1", 2.0), (2, 3.0)),
        scores((0, 1.0), (1, None), (2, 3.0)),
        scores((0, 1.0), (1, "2"), (2, 3.0)),
        scores((0, 1.0), (1, math.nan), (2, 3.0)),
        {"response": [None, None, None]},
        {"response": [[0.1], [0.2], [0.3]]},
    ],
)
def test_scores_that_are_not_one_for_each_context_are_unreadable(result):
    with pytest.raises(UnreadableAnswer):
        parsed(rerank(), record(TEXTS), result)


def test_a_whole_number_may_be_written_as_a_float():
    """JSON has one kind of number."""
    assert parsed(rerank(), record(TEXTS), scores((0.0, 1), (1.0, 2), (2.0, 3)))


@pytest.mark.parametrize(
    ("contexts", "said"),
    [
        (None, "there is no list"),
        ([], "no list"),
        ({"text": "x"}, "no list"),
        (5, "no list"),
        ("plain text", "no JSON list"),
        ('"text"', "no list"),
        (["a", ""], "item 1"),
        (["a", None], "item 1"),
        ([{"body": "a"}], "item 0"),
        (["a", "\ud800"], "surrogate"),
    ],
)
def test_what_is_no_list_of_texts_is_not_sent(contexts, said):
    with pytest.raises(RecordUnusable, match=said):
        rerank().pieces(record(contexts))


def test_without_a_query_nothing_is_sent():
    with pytest.raises(RecordUnusable, match="query"):
        rerank().pieces(Record(0, "r0", "s", 0, {"contexts": TEXTS}))


def test_the_ceiling_counts_the_query_once_for_each_context():
    """Nobody says how the service counts it."""
    (piece,) = rerank().pieces(record(TEXTS, "x" * 100))
    assert piece.ceiling == pytest.approx((3 * 104 + sum(map(len, TEXTS))) * 283 / 1e6)
    assert rerank().price(Usage(input_tokens=100)) == pytest.approx(100 * 283 / 1e6)


@pytest.mark.parametrize(
    ("params", "key"),
    [
        ({"top_k": 0}, "top_k"),
        ({"query": " "}, "query"),
        ({"query": 5}, "query"),
        ({"contexts_column": 5}, "contexts_column"),
    ],
)
def test_parameters_that_make_no_sense_are_refused(params, key):
    with pytest.raises(PlanError) as caught:
        rerank(**params)
    assert caught.value.key == f"params.{key}"


def test_models_that_rank_are_listed_and_others_refused():
    assert {model.name for model in Catalog.load().models("rerank")} == {BASE, M3}
    with pytest.raises(PlanError, match="is for text-embeddings, not rerank"):
        resolve_model("rerank", "@cf/baai/bge-base-en-v1.5")


def resolved(text):
    return resolve(parse_spec(text), load_settings({}, need_credentials=False))


def test_one_query_may_stand_in_for_a_column():
    """It is the text of every record, and part of what the job is."""
    job = resolved("task: rerank\ninput: {path: x.jsonl}\nparams: {query: which boats?}\n")
    assert job.text.columns == ()
    assert job.adapter.sent(record(TEXTS)) == "which boats?"
    (piece,) = job.adapter.pieces(Record(0, "r0", "s", 0, {"contexts": TEXTS}))
    assert job.adapter.payload(Request((piece,)))["query"] == "which boats?"
    with pytest.raises(SpecError, match=r"input\.text: is given as params\.query too"):
        resolved("task: rerank\ninput: {path: x.jsonl, text: question}\nparams: {query: which boats?}\n")
