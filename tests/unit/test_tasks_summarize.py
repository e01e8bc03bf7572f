"""`summarize`: long texts in parts, summaries of summaries, and an end to it."""

import pytest

from pipeline.catalog import resolve_model
from pipeline.errors import AnswerCutShort, PlanError, RecordUnusable, UnreadableAnswer
from pipeline.records import Answer, Request, Usage
from pipeline.rows import outline_of
from pipeline.schemas import check_input, input_fields
from pipeline.spec.model import ModelInfoSpec
from pipeline.tasks import TASKS, TaskContext
from pipeline.template import TextTemplate
from tests.support.fakes import record

OLD = "@cf/meta/llama-3.1-8b-instruct-fp8"
NEW = "@cf/google/gemma-4-26b-a4b-it"
PARAGRAPH = "This is a paragraph of a long document. " * 12
ENOUGH = PARAGRAPH * 3
"""Long enough to be halved."""

LONG = "\n\n".join(f"Chapter {n}. {PARAGRAPH}" for n in range(40))


def summarize(model=OLD, window=None, **params):
    info = resolve_model("summarize", model, ModelInfoSpec(context_window=window) if window else None)
    fields = input_fields(info.name, info.task)
    return TASKS["summarize"].adapter(
        TaskContext(model=info, params=params, text=TextTemplate.parse("text"), fields=fields)
    )


def say(adapter, piece, text, usage=None, cap=None):
    (value,) = adapter.parse(Request((piece,), output_cap=cap), Answer({"response": text}, usage or Usage(), 1.0))
    return value


def run(adapter, item, summary):
    """Send everything that becomes necessary; return the row and the number of pieces of each stage."""
    pieces, stages = adapter.pieces(item), []
    while pieces:
        assert [(piece.index, piece.n_pieces) for piece in pieces] == [(n, len(pieces)) for n in range(len(pieces))]
        assert {piece.stage for piece in pieces} == {len(stages)}
        stages.append(len(pieces))
        answered = [(piece, say(adapter, piece, summary)) for piece in pieces]
        pieces = adapter.follow_up(item, answered)
    return adapter.row(item, [value for _, value in answered]), stages


def system(adapter, piece):
    return adapter.payload(Request((piece,)))["messages"][0]["content"]


@pytest.mark.parametrize("model", [OLD, NEW])
def test_a_text_that_fits_is_one_request(model):
    adapter = summarize(model, max_tokens=99, instructions="Three bullet points.", language="de", temperature=0.3)
    (piece,) = adapter.pieces(record(0, LONG))
    payload = adapter.payload(Request((piece,)))
    assert check_input(model, payload) == []
    assert payload["messages"][1] == {"role": "user", "content": LONG}
    assert payload["max_tokens" if model == OLD else "max_completion_tokens"] == 99
    assert payload["temperature"] == 0.3
    assert "Write in German." in payload["messages"][0]["content"]
    assert payload["messages"][0]["content"].endswith("\n\nThree bullet points.")
    assert run(adapter, record(0, LONG), " A summary.\n") == (
        {"summary": "A summary.", "finish_reason": "stop", "n_pieces": 1},
        [1],
    )


def test_a_long_text_is_read_in_parts_and_their_summaries_are_summarised():
    """The model is told which it has before it."""
    adapter = summarize(window=3_000)
    pieces = adapter.pieces(record(0, LONG))
    assert len(pieces) > 3
    assert adapter.outline(record(0, LONG)) == outline_of(pieces)
    assert "".join("".join(piece.content.text for piece in pieces).split()) == "".join(LONG.split())
    assert "one part of a longer document" in system(adapter, pieces[0])
    answered = [(piece, say(adapter, piece, f"Part {piece.index}.")) for piece in pieces]
    (last,) = adapter.follow_up(record(0, LONG), answered)
    assert "summaries of consecutive parts" in system(adapter, last)
    assert last.content.text == "\n\n".join(f"Part {n}." for n in range(len(pieces)))
    row, stages = run(adapter, record(0, LONG), "Short.")
    assert row == {"summary": "Short.", "finish_reason": "stop", "n_pieces": len(pieces)}
    assert stages == [len(pieces), 1]


def test_many_summaries_take_further_stages_each_with_fewer_pieces():
    row, stages = run(summarize(window=1_500), record(0, LONG), "word " * 80)
    assert len(stages) > 2
    assert stages == sorted(set(stages), reverse=True)
    assert stages[-1] == 1
    assert row["n_pieces"] == stages[0]


def test_summaries_that_do_not_get_shorter_are_a_failure_with_a_way_out():
    """Not an endless run."""
    with pytest.raises(UnreadableAnswer, match=r"lower params\.max_tokens"):
        run(summarize(window=1_500), record(0, LONG), "word " * 5_000)


def test_a_part_that_is_refused_again_and_again_comes_to_an_end():
    """Halved at every stage, it would be joined and halved for ever."""
    adapter, item = summarize(), record(0, ENOUGH)
    pieces, n = adapter.pieces(item), 0
    while pieces:
        n += 1
        assert n < 20
        halves = [half for piece in pieces for half in adapter.halved(piece)]
        answered = [(half, say(adapter, half, ENOUGH)) for half in halves]
        pieces = adapter.follow_up(item, answered)
    with pytest.raises(UnreadableAnswer):
        adapter.row(item, [value for _, value in answered])


def test_a_halved_text_is_two_parts_of_one_document():
    adapter = summarize()
    (piece,) = adapter.pieces(record(0, ENOUGH))
    parts = adapter.halved(piece)
    assert [(part.part, part.index, part.n_pieces, part.stage) for part in parts] == [((0,), 0, 1, 0), ((1,), 0, 1, 0)]
    assert "one part of a longer document" in system(adapter, parts[0])
    answered = [(part, say(adapter, part, "Half.")) for part in parts]
    (joined,) = adapter.follow_up(record(0, ENOUGH), answered)
    assert adapter.row(record(0), [say(adapter, joined, "Whole.")])["n_pieces"] == 2


def test_a_short_text_is_not_halved():
    """A text that the service never takes would be sent, and paid, in hundreds of parts."""
    adapter = summarize()
    (piece,) = adapter.pieces(record(0, PARAGRAPH))
    assert adapter.halved(piece) == ()


def test_a_cut_anywhere_is_a_cut_summary():
    """Also where only the summary of a part ended at the bound."""
    adapter = summarize(window=3_000, max_tokens=50)
    pieces = adapter.pieces(record(0, LONG))
    answered = [
        (piece, say(adapter, piece, "Part.", Usage(output_tokens=50 if piece.index == 1 else 5))) for piece in pieces
    ]
    (last,) = adapter.follow_up(record(0, LONG), answered)
    assert adapter.row(record(0), [say(adapter, last, "All.")])["finish_reason"] == "length"


def test_what_the_last_mile_cuts_is_not_taken():
    adapter = summarize(max_tokens=50)
    (piece,) = adapter.pieces(record(0, "text"))
    with pytest.raises(AnswerCutShort):
        say(adapter, piece, "x", Usage(output_tokens=10), cap=10)
    assert adapter.cost(Request((piece,), output_cap=10)).max_output == 10
    assert adapter.cost(Request((piece,))).ceiling == pytest.approx(piece.ceiling)


@pytest.mark.parametrize(
    "result", [None, [], {}, {"response": ""}, {"response": " \n"}, {"summary": "x"}, {"choices": []}]
)
def test_no_text_is_no_summary(result):
    adapter = summarize()
    (piece,) = adapter.pieces(record(0, "text"))
    with pytest.raises(UnreadableAnswer):
        adapter.parse(Request((piece,)), Answer(result, Usage(), 1.0))


def test_parts_fit_the_context_window_of_the_model():
    """2.4 bytes a token, beside the answer and the rules."""
    for window in (1_500, 4_000, 32_000):
        adapter = summarize(window=window, max_tokens=500)
        sizes = [piece.size for piece in adapter.pieces(record(0, LONG * 5))]
        assert max(sizes) <= 2.4 * (window - 500)


@pytest.mark.parametrize(
    ("params", "key"),
    [
        ({"max_tokens": 0}, "params.max_tokens"),
        ({"max_tokens": 32_000}, "params.max_tokens"),
        ({"window": 800}, "model"),
        ({"instructions": 5}, "params.instructions"),
        ({"language": ""}, "params.language"),
        ({"language": 5}, "params.language"),
        ({"language": "x" * 100}, "params.language"),
    ],
)
def test_parameters_that_make_no_sense_are_refused(params, key):
    with pytest.raises(PlanError) as caught:
        summarize(**params)
    assert caught.value.key == key


def test_an_empty_text_is_not_sent():
    with pytest.raises(RecordUnusable):
        summarize().pieces(record(0, " \n"))
