"""`generate` asks again: for JSON that was malformed, where JSON mode gave up, and for answers that were cut."""

import orjson
import pytest

from pipeline.catalog import resolve_model
from pipeline.errors import AnswerCutShort, InvalidRequest, ServerFault, UnreadableAnswer
from pipeline.records import Answer, Request, Usage
from tests.support.chatting import NEW, OLD, SCHEMA, answered, asked_next, chat, generate, parsed
from tests.support.fakes import record

# -- JSON that is not what was asked for ------------------------------------------------------------------------

REFUSED = InvalidRequest(400, 5024, "JSON Mode couldn't be met")


@pytest.mark.parametrize("model", [OLD, NEW])
def test_a_malformed_answer_is_sent_back_once_with_what_is_wrong(model):
    """One repair: the conversation, the answer, the problem. Then the record fails with the last problem."""
    adapter = generate(model, json_schema=SCHEMA, system="Judge.", max_tokens=50)
    (piece,) = adapter.pieces(record(0, "hello"))
    bad = chat('{"mood":"so so"}')
    repair = asked_next(adapter, piece, bad)
    messages = adapter.payload(Request((repair,)))["messages"]
    assert [message["role"] for message in messages] == ["system", "user", "assistant", "user"]
    assert messages[:2] == adapter.payload(Request((piece,)))["messages"]
    assert messages[2]["content"] == '{"mood":"so so"}'
    assert "params.json_schema at /mood" in messages[3]["content"]
    assert "response_format" in adapter.payload(Request((repair,)))
    assert (repair.stage, repair.payload_key, repair.index) == (1, piece.payload_key, 0)
    assert repair.ceiling > piece.ceiling
    assert adapter.cost(Request((repair,))).max_output == 50

    assert asked_next(adapter, repair, bad) is None
    with pytest.raises(UnreadableAnswer, match="/mood"):
        adapter.row(record(0), [answered(adapter, repair, bad)])
    mended = answered(adapter, repair, chat('{"mood":"good"}'))
    assert adapter.row(record(0), [mended])["mood"] == "good"


def test_a_repair_that_says_nothing_or_fails_leaves_the_first_problem():
    """The failure row says what was wrong with the answer, not with the repair."""
    adapter = generate(json_schema=SCHEMA)
    (piece,) = adapter.pieces(record(0, "hello"))
    repair = asked_next(adapter, piece, {"response": "no JSON"})
    first = answered(adapter, piece, {"response": "no JSON"})
    assert adapter.fallback(repair, ServerFault(500, 3043, "x")) == first
    assert answered(adapter, repair, {"response": None}) == first
    assert asked_next(adapter, repair, {"response": None}) is None
    assert adapter.fallback(piece, ServerFault(500, 3043, "x")) is None


def test_a_very_long_malformed_answer_is_not_sent_back_whole():
    """Repeats of 20 KB were seen (gpt-oss); half a surrogate pair would break the request."""
    adapter = generate(json_schema=SCHEMA)
    (piece,) = adapter.pieces(record(0, "hello"))
    repair = asked_next(adapter, piece, {"response": "\ud800" + "la " * 10_000})
    assert len(adapter.payload(Request((repair,)))["messages"][1]["content"]) <= 4_000
    orjson.dumps(adapter.payload(Request((repair,))))


def test_json_mode_that_gave_up_is_replaced_by_words():
    """5024: the same again without response_format, the schema in the prompt, checked here; and only once."""
    adapter = generate(json_schema=SCHEMA)
    (piece,) = adapter.pieces(record(0, "hello"))
    (words,) = adapter.instead(piece, REFUSED)
    payload = adapter.payload(Request((words,)))
    assert "response_format" not in payload
    assert orjson.dumps(SCHEMA).decode() in payload["messages"][0]["content"]
    assert payload["messages"][1] == {"role": "user", "content": "hello"}
    assert (words.part, words.stage, words.ceiling) == ((0,), 0, piece.ceiling)
    assert adapter.instead(words, REFUSED) == ()
    assert adapter.instead(piece, InvalidRequest(400, 5006, "bad")) == ()
    assert generate().instead(piece, REFUSED) == ()
    repair = asked_next(adapter, words, {"response": "no"})
    assert "response_format" not in adapter.payload(Request((repair,)))


@pytest.mark.parametrize(("n_refused", "was_met", "in_words"), [(4, False, False), (5, False, True), (9, True, False)])
def test_json_mode_that_is_never_met_is_given_up(n_refused, was_met, in_words):
    """Each refusal burns neurons; a model that can do it keeps being asked."""
    adapter = generate(json_schema=SCHEMA)
    (piece,) = adapter.pieces(record(0, "hello"))
    if was_met:
        answered(adapter, piece, {"response": {"mood": "good"}})
    for _ in range(n_refused):
        adapter.instead(piece, REFUSED)
    assert ("response_format" not in adapter.payload(Request((piece,)))) == in_words
    assert adapter.instead(piece, InvalidRequest(400, 5006, "x")) == ()


@pytest.mark.parametrize(
    "said", ['<think>{"a":1} hm</think>\n{"mood":"good"}', 'hm</think>```json\n{"mood":"good"}\n```']
)
def test_thoughts_before_json_are_passed_over(said):
    """Old models that think do so in the answer itself."""
    assert parsed(generate(json_schema=SCHEMA), {"response": said})["mood"] == "good"


def test_json_that_speaks_of_thoughts_is_still_json():
    """Only what cannot be read as it is is searched for them."""
    schema = {"type": "object", "properties": {"html": {"type": "string"}}}
    said = '{"html":"</think>{}"}'
    assert parsed(generate(json_schema=schema), {"response": said})["html"] == "</think>{}"


# -- answers that were cut --------------------------------------------------------------------------------------


def cut(text="long", tokens=10, before=20):
    return {"response": text}, Usage(input_tokens=before, output_tokens=tokens)


def test_a_cut_answer_is_only_asked_for_again_where_that_is_wished():
    """It is a row that says so."""
    adapter = generate(max_tokens=10)
    (piece,) = adapter.pieces(record(0, "hello"))
    assert asked_next(adapter, piece, *cut()) is None
    assert adapter.row(record(0), [answered(adapter, piece, *cut())])["finish_reason"] == "length"


def test_a_cut_answer_is_asked_for_with_twice_the_tokens():
    """As often as wished, each piece priced at its own bound."""
    adapter = generate(max_tokens=10, retry_truncated=2)
    (first,) = adapter.pieces(record(0, "hello"))
    second = asked_next(adapter, first, *cut())
    third = asked_next(adapter, second, *cut("longer", 20))
    assert asked_next(adapter, third, *cut("longest one", 40)) is None
    price = resolve_model("generate", OLD).output_per_m_tokens / 1e6
    for piece, tokens in ((first, 10), (second, 20), (third, 40)):
        request = Request((piece,))
        assert adapter.payload(request)["max_tokens"] == tokens
        assert adapter.cost(request).max_output == tokens
        assert adapter.cost(request).ceiling == pytest.approx(piece.ceiling)
        assert piece.ceiling - first.ceiling == pytest.approx((tokens - 10) * price)
    assert adapter.payload(Request((third,), output_cap=25))["max_tokens"] == 25
    with pytest.raises(AnswerCutShort):
        adapter.parse(Request((third,), output_cap=25), Answer({"response": "x"}, Usage(output_tokens=25), 1.0))


@pytest.mark.parametrize(
    ("result", "tokens", "kept"),
    [
        ("short and complete", 5, "short and complete"),
        ("a longer one that was cut as well", 20, "a longer one that was cut as well"),
        ("cut", 20, "the first that was cut"),
        (None, 20, "the first that was cut"),
    ],
)
def test_the_better_of_two_answers_is_kept(result, tokens, kept):
    """One that is complete, else the longer one; nothing is asked for once more where the first stays."""
    adapter = generate(max_tokens=10, retry_truncated=True)
    (piece,) = adapter.pieces(record(0, "hello"))
    longer = asked_next(adapter, piece, *cut("the first that was cut"))
    said = answered(adapter, longer, {"response": result}, Usage(input_tokens=20, output_tokens=tokens))
    assert adapter.row(record(0), [said])["response"] == kept
    assert bool(adapter.follow_up(record(0), [(longer, said)])) == (kept == result and tokens == 20)
    assert adapter.fallback(longer, ServerFault(500, 3043, "x")).text == "the first that was cut"


@pytest.mark.parametrize(
    ("model", "bounds"), [(OLD, [10_000, 20_000, 31_964]), ("@cf/zai-org/glm-5.3", [6_000, 12_000, 16_384])]
)
def test_the_context_window_bounds_a_longer_answer(model, bounds):
    """What is left of it is asked for, and no more; 16,384 where none is published."""
    adapter = generate(model, max_tokens=bounds[0], retry_truncated=True)
    (piece,) = adapter.pieces(record(0, "hello"))
    field = "max_tokens" if model == OLD else "max_completion_tokens"
    seen = []
    while piece is not None:
        seen.append(adapter.payload(Request((piece,)))[field])
        said = chat("x" * len(seen), finish="length")
        piece = asked_next(adapter, piece, said, Usage(input_tokens=20, output_tokens=seen[-1]))
    assert seen == bounds


@pytest.mark.parametrize("result", [chat(None, "length", reasoning_content="hm"), chat("<think>\nhm", "length")])
def test_thoughts_that_used_up_the_bound_are_given_more_where_that_is_wished(result):
    """An answer that never began is one that was cut; it fails with what would help."""
    adapter = generate(NEW, max_tokens=10, retry_truncated=1, keep_reasoning=True)
    (piece,) = adapter.pieces(record(0, "hello"))
    longer = asked_next(adapter, piece, result)
    assert adapter.payload(Request((longer,)))["max_completion_tokens"] == 20
    assert adapter.row(record(0), [answered(adapter, longer, chat("Hi"))])["response"] == "Hi"
    assert asked_next(adapter, longer, result) is None
    with pytest.raises(UnreadableAnswer, match="gave no text"):
        adapter.row(record(0), [answered(adapter, longer, result)])
    with pytest.raises(UnreadableAnswer, match="gave no text"):
        parsed(generate(NEW, max_tokens=10, keep_reasoning=True), result)


def test_a_cut_json_answer_is_lengthened_not_repaired():
    """Under the same bound it would be cut again."""
    plain = generate(json_schema=SCHEMA)
    assert asked_next(plain, plain.pieces(record(0, "hello"))[0], chat("{", "length")) is None
    adapter = generate(json_schema=SCHEMA, max_tokens=10, retry_truncated=1)
    (piece,) = adapter.pieces(record(0, "hello"))
    longer = asked_next(adapter, piece, chat('{"mood":', "length"))
    assert adapter.payload(Request((longer,)))["max_tokens"] == 20
    assert [message["role"] for message in adapter.payload(Request((longer,)))["messages"]] == ["user"]
    repair = asked_next(adapter, longer, chat('{"mood":"so so"}'))
    assert len(adapter.payload(Request((repair,)))["messages"]) == 3
    assert asked_next(adapter, repair, chat('{"mood":"so so"}')) is None
