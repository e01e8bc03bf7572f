"""`classify`: labels of a trained model, or the user's own by a chat model whose answers are not believed."""

import math

import pytest

from pipeline.catalog import resolve_model
from pipeline.errors import AnswerCutShort, PlanError, RecordUnusable, UnreadableAnswer
from pipeline.records import Answer, Request, Usage
from pipeline.schemas import check_input, input_fields
from pipeline.tasks import TASKS, TaskContext
from pipeline.template import TextTemplate
from tests.support.fakes import record

TRAINED = "@cf/huggingface/distilbert-sst-2-int8"
OLD = "@cf/meta/llama-3.1-8b-instruct-fp8"
NEW = "@cf/google/gemma-4-26b-a4b-it"
LABELS = ["praise", "complaint", "Question?"]


def classify(model=TRAINED, **params):
    info = resolve_model("classify", model)
    fields = input_fields(info.name, info.task)
    return TASKS["classify"].adapter(
        TaskContext(model=info, params=params, text=TextTemplate.parse("text"), fields=fields)
    )


def ask(adapter, text="hello", cap=None):
    return Request(tuple(adapter.pieces(record(0, text))), output_cap=cap)


def parsed(adapter, result, request=None):
    (value,) = adapter.parse(request or ask(adapter), Answer(result, Usage(), 1.0))
    return value


# -- a trained model --------------------------------------------------------------------------------------------


def test_a_trained_model_gets_the_text_alone():
    adapter = classify()
    assert adapter.payload(ask(adapter)) == {"text": "hello"}
    assert adapter.pieces(record(0, "hello"))[0].ceiling == pytest.approx(7 * 2394 / 1e6)
    assert adapter.price(Usage(input_tokens=10)) == pytest.approx(10 * 2394 / 1e6)


def test_the_best_label_comes_first():
    adapter = classify()
    value = parsed(adapter, [{"label": "NEGATIVE", "score": 0.1}, {"label": "POSITIVE", "score": 0.9}])
    assert adapter.row(record(0), [value]) == {
        "label": "POSITIVE",
        "score": 0.9,
        "scores": [{"label": "POSITIVE", "score": 0.9}, {"label": "NEGATIVE", "score": 0.1}],
    }


@pytest.mark.parametrize(
    "result",
    [
        None,
        {},
        [],
        "POSITIVE",
        [None],
        [{"label": "a"}],
        [{"score": 1.0}],
        [{"label": "", "score": 1.0}],
        [{"label": 1, "score": 1.0}],
        [{"label": "a", "score": "1"}],
        [{"label": "a", "score": True}],
        [{"label": "a", "score": math.nan}],
        [{"label": "a", "score": math.inf}],
        [{"label": "a", "score": 1}, {"label": "a", "score": 0}],
        [{"label": "x" * 1000, "score": 1.0}],
        [{"label": str(n), "score": 1.0} for n in range(1000)],
    ],
)
def test_anything_but_labels_with_scores_is_unreadable(result):
    with pytest.raises(UnreadableAnswer):
        parsed(classify(), result)


def test_a_text_beyond_what_the_model_reads_is_refused():
    """Nobody knows what the service does with it."""
    assert classify().pieces(record(0, "x" * 3_000))
    with pytest.raises(RecordUnusable, match="3,001 bytes"):
        classify().pieces(record(0, "x" * 3_001))


@pytest.mark.parametrize("params", [{"labels": LABELS}, {"instructions": "x"}, {"multi_label": True}])
def test_a_trained_model_takes_no_labels_and_says_which_does(params):
    with pytest.raises(PlanError, match="text-generation model") as caught:
        classify(**params)
    assert caught.value.key == f"params.{next(iter(params))}"


# -- labels of one's own ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("model", [OLD, NEW])
@pytest.mark.parametrize("is_multi", [False, True])
def test_a_chat_model_is_held_to_the_labels(model, is_multi):
    """By the system message, and by a schema in the spelling the model takes."""
    adapter = classify(model, labels=LABELS, multi_label=is_multi, instructions="Be strict.")
    payload = adapter.payload(ask(adapter))
    assert check_input(model, payload) == []
    system, user = payload["messages"]
    assert user == {"role": "user", "content": "hello"}
    assert all(label in system["content"] for label in [*LABELS, "Be strict."])
    form = payload["response_format"]["json_schema"]
    schema = form["schema"] if model == NEW else form
    inner = schema["properties"]["labels"]["items"] if is_multi else schema["properties"]["label"]
    assert inner["enum"] == LABELS
    assert payload["temperature"] == 0
    assert "labels" not in payload
    assert "instructions" not in payload


def test_a_model_that_thinks_is_told_not_to_unless_the_user_wants_it():
    """Thoughts are paid as output."""
    adapter = classify(NEW, labels=LABELS)
    assert adapter.payload(ask(adapter))["chat_template_kwargs"] == {"enable_thinking": False}
    thinking = {"enable_thinking": True}
    adapter = classify(NEW, labels=LABELS, chat_template_kwargs=thinking, temperature=0.7)
    assert adapter.payload(ask(adapter))["chat_template_kwargs"] == thinking
    assert adapter.payload(ask(adapter))["temperature"] == 0.7


@pytest.mark.parametrize(
    ("said", "label"),
    [
        ('{"label": "praise"}', "praise"),
        ({"label": "praise"}, "praise"),
        ('```json\n{"label": "Complaint"}\n```', "complaint"),
        ("question?", "Question?"),
        ('"Praise".', "praise"),
        (" complaint\n", "complaint"),
    ],
)
def test_a_label_is_found_however_it_is_written(said, label):
    adapter = classify(OLD, labels=LABELS)
    value = parsed(adapter, {"response": said})
    assert adapter.follow_up(record(0), [(ask(adapter).pieces[0], value)]) == ()
    assert adapter.row(record(0), [value]) == {
        "label": label,
        "score": None,
        "scores": [{"label": label, "score": None}],
    }


@pytest.mark.parametrize(
    ("said", "labels"),
    [
        ('{"labels": ["complaint", "praise", "praise"]}', ["complaint", "praise"]),
        ('{"labels": []}', []),
        ("Praise", ["praise"]),
    ],
)
def test_several_labels_or_none(said, labels):
    value = parsed(classify(OLD, labels=LABELS, multi_label=True), {"response": said})
    assert value["label"] == (labels[0] if labels else None)
    assert [item["label"] for item in value["scores"]] == labels


@pytest.mark.parametrize(
    "said",
    [
        '{"label": "anger"}',
        "I think it is praise",
        "[]",
        '{"label": null}',
        '{"label": ["praise"]}',
        "5",
        '{"labels": ["praise"]}',
    ],
)
def test_an_answer_that_is_no_label_is_sent_back_once(said):
    """With what was said; the second answer counts."""
    adapter = classify(OLD, labels=LABELS)
    (piece,) = ask(adapter).pieces
    value = parsed(adapter, {"response": said})
    (again,) = adapter.follow_up(piece.record, [(piece, value)])
    request = Request((again,))
    assert again.stage == 1
    assert again.payload_key != piece.payload_key
    payload = adapter.payload(request)
    assert [message["role"] for message in payload["messages"]] == ["system", "user", "assistant", "user"]
    assert payload["messages"][2]["content"] == said
    assert adapter.cost(request).ceiling > adapter.cost(ask(adapter)).ceiling
    better = parsed(adapter, {"response": {"label": "praise"}}, request)
    assert adapter.row(piece.record, [better])["label"] == "praise"
    assert adapter.follow_up(piece.record, [(again, better)]) == ()
    with pytest.raises(UnreadableAnswer, match="none of the labels"):
        parsed(adapter, {"response": said}, request)
    with pytest.raises(UnreadableAnswer):
        adapter.row(piece.record, [value])


def test_no_text_is_no_answer_and_a_cut_one_is_not_taken():
    adapter = classify(OLD, labels=LABELS)
    with pytest.raises(UnreadableAnswer, match="no text"):
        parsed(adapter, {"response": ""})
    with pytest.raises(AnswerCutShort):
        adapter.parse(ask(adapter, cap=2), Answer({"response": "pra"}, Usage(output_tokens=2), 1.0))
    with pytest.raises(UnreadableAnswer):
        parsed(adapter, [])


def test_the_bound_on_an_answer_fits_the_longest_label():
    """A thinking model gets room for thoughts; the user may say otherwise."""
    assert classify(OLD, labels=["a", "b" * 150]).payload(ask(classify(OLD, labels=LABELS)))["max_tokens"] >= 150
    thinking = classify(NEW, labels=LABELS)
    assert thinking.payload(ask(thinking))["max_completion_tokens"] > 1_000
    narrow = classify(OLD, labels=LABELS, max_tokens=9)
    assert narrow.payload(ask(narrow))["max_tokens"] == 9
    assert narrow.cost(ask(narrow, cap=5)).max_output == 5


@pytest.mark.parametrize(
    ("params", "key"),
    [
        ({}, "labels"),
        ({"labels": "praise"}, "labels"),
        ({"labels": ["one"]}, "labels"),
        ({"labels": ["a", 5]}, "labels"),
        ({"labels": ["a", " "]}, "labels"),
        ({"labels": ["a", "A "]}, "labels"),
        ({"labels": ["a", "b" * 300]}, "labels"),
        ({"labels": [str(n) for n in range(101)]}, "labels"),
        ({"labels": LABELS, "multi_label": "yes"}, "multi_label"),
        ({"labels": LABELS, "instructions": 5}, "instructions"),
        ({"labels": LABELS, "max_tokens": 0}, "max_tokens"),
    ],
)
def test_parameters_that_make_no_sense_are_refused(params, key):
    with pytest.raises(PlanError) as caught:
        classify(OLD, **params)
    assert caught.value.key == f"params.{key}"
