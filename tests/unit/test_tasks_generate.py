"""`generate`: a prompt to an answer, read in every shape there is, and to columns where a schema says so."""

import orjson
import pytest

from pipeline.catalog import Catalog, resolve_model
from pipeline.errors import AnswerCutShort, PlanError, RecordUnusable, UnreadableAnswer
from pipeline.records import Usage
from pipeline.schemas import check_input, input_fields
from pipeline.tasks import TaskContext
from pipeline.tasks.generate import DEFAULT_MAX_TOKENS, Generate
from pipeline.template import TextTemplate
from tests.support.chatting import NEW, OLD, SCHEMA, ask, asked_next, chat, generate, parsed
from tests.support.fakes import record

# -- sending ----------------------------------------------------------------------------------------------------


def test_max_tokens_is_always_sent_under_the_models_own_name():
    """The service's default cuts answers silently."""
    assert generate().payload(ask(generate())) == {
        "messages": [{"role": "user", "content": "hello"}],
        "max_tokens": DEFAULT_MAX_TOKENS,
    }
    for adapter in (generate(NEW, max_tokens=9), generate(NEW, max_completion_tokens=9)):
        payload = adapter.payload(ask(adapter))
        assert payload["max_completion_tokens"] == 9
        assert "max_tokens" not in payload


def test_system_and_parameters_go_along():
    """The system text as a message before the prompt, the rest as fields."""
    adapter = generate(system="Be brief.", temperature=0.5)
    payload = adapter.payload(ask(adapter))
    assert payload["messages"][0] == {"role": "system", "content": "Be brief."}
    assert payload["temperature"] == 0.5
    assert "system" not in payload


def test_a_json_schema_is_sent_in_the_spelling_the_model_takes():
    """Bare on the older models, wrapped on the newer, in words where there is no JSON mode."""
    old, new = generate(json_schema=SCHEMA), generate(NEW, json_schema=SCHEMA)
    assert old.payload(ask(old))["response_format"] == {"type": "json_schema", "json_schema": SCHEMA}
    wrapped = {"name": "answer", "schema": SCHEMA, "strict": True}
    assert new.payload(ask(new))["response_format"] == {"type": "json_schema", "json_schema": wrapped}
    info = resolve_model("generate", OLD)
    fields = input_fields(OLD, info.task) - {"response_format"}
    words = Generate(
        TaskContext(model=info, params={"json_schema": SCHEMA}, text=TextTemplate.parse("text"), fields=fields)
    )
    payload = words.payload(ask(words))
    assert "response_format" not in payload
    assert orjson.dumps(SCHEMA).decode() in payload["messages"][0]["content"]


def test_the_last_mile_lowers_the_bound_and_the_price():
    """A cap is sent and priced; it never raises what the job allows."""
    adapter = generate(max_tokens=100)
    capped, plain = ask(adapter, cap=10), ask(adapter)
    assert adapter.payload(capped)["max_tokens"] == 10
    assert adapter.payload(ask(adapter, cap=1000))["max_tokens"] == 100
    assert adapter.cost(capped).max_output == 10
    assert adapter.cost(plain).input == pytest.approx(adapter.cost(capped).input)
    assert adapter.cost(plain).ceiling == pytest.approx(plain.pieces[0].ceiling)


@pytest.mark.parametrize(
    ("params", "key"),
    [
        ({"max_tokens": 0}, "params.max_tokens"),
        ({"max_tokens": True}, "params.max_tokens"),
        ({"max_tokens": 1.5}, "params.max_tokens"),
        ({"max_completion_tokens": "9"}, "params.max_completion_tokens"),
        ({"system": 5}, "params.system"),
        ({"json_schema": "x"}, "params.json_schema"),
        ({"json_schema": {"type": "object", "properties": {"a": {"type": "strange"}}}}, "params.json_schema"),
        ({"json_schema": {"type": "array"}}, "params.json_schema"),
    ],
)
def test_parameters_that_make_no_sense_are_refused(params, key):
    """With the key."""
    with pytest.raises(PlanError) as caught:
        generate(**params)
    assert caught.value.key == key


@pytest.mark.parametrize("text", ["", " \n"])
def test_an_empty_prompt_is_not_sent(text):
    """It becomes a failure row."""
    with pytest.raises(RecordUnusable):
        generate().pieces(record(0, text))


# -- answers ----------------------------------------------------------------------------------------------------

RESPONSES = {
    "output": [
        {"type": "reasoning", "content": [{"type": "reasoning_text", "text": "hm"}]},
        {
            "type": "message",
            "content": [{"type": "output_text", "text": "Hi"}, {"type": "output_text", "text": " you"}],
        },
    ]
}


@pytest.mark.parametrize(
    ("result", "text", "finish"),
    [
        ({"response": "Hi you", "tool_calls": []}, "Hi you", "stop"),
        ({"response": {"a": 1}}, '{"a":1}', "stop"),
        (chat("Hi you"), "Hi you", "stop"),
        (chat("Hi", finish="length"), "Hi", "length"),
        (chat("Hi", finish=None, reasoning_content="hm"), "Hi", "stop"),
        (RESPONSES, "Hi you", "stop"),
        ({**RESPONSES, "incomplete_details": {"reason": "max_output_tokens"}}, "Hi you", "length"),
        ({"output_text": "Hi you", "output": []}, "Hi you", "stop"),
    ],
)
def test_every_documented_shape_is_read(result, text, finish):
    """Three shapes, one answer."""
    values = parsed(generate(), result, Usage(input_tokens=5, output_tokens=2))
    assert values == {"response": text, "finish_reason": finish, "prompt_tokens": 5, "completion_tokens": 2}


def test_an_answer_as_long_as_allowed_was_cut():
    """The older shape gives no reason; its length does."""
    assert parsed(generate(max_tokens=7), {"response": "x"}, Usage(output_tokens=7))["finish_reason"] == "length"
    assert parsed(generate(max_tokens=7), {"response": "x"}, Usage(output_tokens=6))["finish_reason"] == "stop"


@pytest.mark.parametrize(
    "result",
    [
        {"response": "x"},
        chat("x", finish="length"),
        {"output_text": "x", "incomplete_details": {"reason": "max_output_tokens"}},
    ],
)
def test_an_answer_cut_by_the_last_mile_is_not_taken(result):
    """Only a bound of the job's own may shorten an answer."""
    with pytest.raises(AnswerCutShort):
        parsed(generate(max_tokens=50), result, Usage(output_tokens=10), cap=10)
    assert parsed(generate(max_tokens=10), result, Usage(output_tokens=10), cap=10)["finish_reason"] == "length"


@pytest.mark.parametrize(
    "result", [chat(None, finish="length", reasoning_content="hm"), {"response": ""}, {"response": None}]
)
def test_no_text_is_no_answer_and_says_what_to_do(result):
    """Models that think first may spend everything on it."""
    with pytest.raises(UnreadableAnswer, match=r"after 400 tokens; if it thinks first, raise params\.max_tokens"):
        parsed(generate(max_tokens=400), result, Usage(output_tokens=400))


@pytest.mark.parametrize(
    "result",
    [
        None,
        [],
        "x",
        5,
        {},
        {"choices": []},
        {"choices": [None]},
        {"choices": [{"text": "x"}]},
        {"output": "x"},
        {"output": []},
    ],
)
def test_an_unknown_shape_is_unreadable(result):
    """Nothing is guessed."""
    with pytest.raises(UnreadableAnswer):
        parsed(generate(), result)


@pytest.mark.parametrize(
    "said",
    [
        '{"mood":"good","score":1}',
        '```json\n{"mood":"good","score":1}\n```',
        ' {"mood": "good", "score": 1.0} ',
        {"mood": "good", "score": 1},
    ],
)
def test_an_answer_that_matches_the_schema_fills_its_columns(said):
    """As an object, as text, or in a Markdown fence."""
    values = parsed(generate(json_schema=SCHEMA), {"response": said})
    assert (values["mood"], values["score"]) == ("good", 1.0)
    assert values["response"]


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ('{"mood":"so so"}', "does not match params.json_schema at /mood"),
        ('{"score":1}', "does not match params.json_schema at /"),
        ('{"mood":"go', "is not JSON"),
        ("Sure! Here it is", "is not JSON"),
        ("[]", "does not match"),
    ],
)
def test_an_answer_that_does_not_match_is_not_taken(said, why):
    """The service's JSON mode is not believed."""
    with pytest.raises(UnreadableAnswer, match=why):
        parsed(generate(json_schema=SCHEMA), {"response": said})


@pytest.mark.parametrize("schema", [None, SCHEMA, {"type": "object", "properties": {"x": {}}}])
@pytest.mark.parametrize("depth", [200, 300, 1_000])
def test_an_answer_nested_deeper_than_can_be_written_is_unreadable(schema, depth):
    """A parser takes a thousand levels, a writer 254: whatever cannot be kept is not taken."""
    deep = orjson.loads('{"x":' * depth + "1" + "}" * depth)
    adapter = generate(json_schema=schema) if schema else generate()
    is_kept = depth < 254 and schema != SCHEMA
    for result in ({"response": deep}, chat(deep)):
        if is_kept:
            assert orjson.loads(parsed(adapter, result)["response"]) == deep
        else:
            with pytest.raises(UnreadableAnswer):
                parsed(adapter, result)
    text = chat(written := '{"x":' * depth + "1" + "}" * depth)
    if is_kept or schema is None:
        assert parsed(adapter, text)["response"] == written
    else:
        with pytest.raises(UnreadableAnswer):
            parsed(adapter, text)


@pytest.mark.parametrize("reason", [None, 5, True, [], {"a": [1]}, ""])
def test_a_reason_that_is_no_word_is_none(reason):
    """The column holds what services say, not what a parser made of it."""
    assert parsed(generate(), chat("x", finish=reason))["finish_reason"] == "stop"
    assert len(parsed(generate(), chat("x", finish="long " * 1_000))["finish_reason"]) < 100


def test_what_does_not_match_is_not_quoted_at_length():
    """A failure row is a line, not the answer."""
    with pytest.raises(UnreadableAnswer, match="does not match") as caught:
        parsed(generate(json_schema=SCHEMA), {"response": {"mood": "x" * 1_000_000}})
    assert len(str(caught.value)) < 500


def test_an_answer_cut_in_the_middle_of_its_json_says_so():
    """Raise max_tokens."""
    with pytest.raises(UnreadableAnswer, match=r"was cut at params\.max_tokens"):
        parsed(generate(json_schema=SCHEMA), chat('{"mood":', finish="length"))


def test_counted_tokens_have_their_prices():
    """Input, cached input and output each at its own."""
    adapter = generate()
    info = resolve_model("generate", OLD)
    usage = Usage(input_tokens=1000, output_tokens=100)
    assert adapter.price(usage) == pytest.approx(
        (1000 * info.input_per_m_tokens + 100 * info.output_per_m_tokens) / 1e6
    )
    assert adapter.input_price(usage, 99.0) == pytest.approx(1000 * info.input_per_m_tokens / 1e6)
    assert adapter.price(Usage(input_tokens=5)) is None
    assert adapter.input_price(Usage(), 99.0) == 99.0
    cached = generate("@cf/zai-org/glm-5.2")
    facts = resolve_model("generate", "@cf/zai-org/glm-5.2")
    if facts.cached_input_per_m_tokens is not None:
        all_cached = Usage(input_tokens=1000, output_tokens=0, cached_tokens=5000)
        assert cached.price(all_cached) == pytest.approx(facts.cached_input_per_m_tokens / 1000)


# -- thoughts and tools -----------------------------------------------------------------------------------------

OSS = "@cf/openai/gpt-oss-20b"
QWQ = "@cf/qwen/qwq-32b"
CALL = {"name": "look", "arguments": {"at": "sky"}}


@pytest.mark.parametrize(
    ("result", "thoughts", "text"),
    [
        (chat("Hi", reasoning_content="hm"), "hm", "Hi"),
        (chat("Hi", reasoning="hm"), "hm", "Hi"),
        (chat("Hi", reasoning_content=" "), None, "Hi"),
        (chat("Hi", reasoning_content=5), None, "Hi"),
        (RESPONSES, "hm", "Hi you"),
        (
            {"output": [{"type": "reasoning", "summary": [{"text": "a"}, {"text": "b"}]}], "output_text": "Hi"},
            "a\nb",
            "Hi",
        ),
        ({"output": [{"type": "reasoning", "content": "x"}, 5], "output_text": "Hi"}, None, "Hi"),
        ({"response": "<think>\nhm\n</think>\n\nHi"}, "hm", "Hi"),
        ({"response": "hm</think>Hi"}, "hm", "Hi"),
        ({"response": "Hi"}, None, "Hi"),
    ],
)
def test_thoughts_are_kept_where_that_is_wished(result, thoughts, text):
    """From wherever a model writes them; the answer is the same, but for thoughts that stood in it."""
    adapter = generate(QWQ, keep_reasoning=True)
    assert [column.name for column in adapter.columns][:2] == ["response", "reasoning"]
    values = parsed(adapter, result)
    assert (values["reasoning"], values["response"]) == (thoughts, text)
    assert "reasoning" not in parsed(generate(QWQ), result)


def test_effort_has_two_spellings():
    """gpt-oss knows `reasoning: {effort}`; with messages it goes as reasoning_effort."""
    for params in ({"reasoning": {"effort": "low"}}, {"reasoning_effort": "low"}):
        adapter = generate(OSS, **params)
        payload = adapter.payload(ask(adapter))
        assert payload["reasoning_effort"] == "low"
        assert "reasoning" not in payload
        assert check_input(OSS, payload, "text-generation") == []
    wrong = generate(OSS, reasoning={"effort": "huge"})
    assert check_input(OSS, wrong.payload(ask(wrong)), "text-generation") != []
    with pytest.raises(PlanError, match="remove one"):
        generate(OSS, reasoning={"effort": "low"}, reasoning_effort="low")


@pytest.mark.parametrize(
    ("model", "mend"),
    [
        (OLD, r"raise params\.max_tokens$"),
        (NEW, r"enable_thinking: false"),
        (OSS, r"params\.reasoning_effort"),
    ],
)
def test_nothing_but_thoughts_says_how_to_mend_it_on_this_model(model, mend):
    """Each in its own parameters."""
    with pytest.raises(UnreadableAnswer, match=mend):
        parsed(generate(model), chat(None, reasoning_content="hm"))


@pytest.mark.parametrize(
    "result", [chat(None, tool_calls=[CALL]), {"response": None, "tool_calls": [CALL]}, chat("", tool_calls=[CALL])]
)
def test_a_tool_call_is_an_answer_where_tools_were_given(result):
    """And says so where none were."""
    tools = [{"type": "function", "function": {"name": "look", "parameters": {}}}]
    adapter = generate(NEW, tools=tools, json_schema=SCHEMA)
    values = parsed(adapter, result)
    assert values["response"] is None
    assert values["mood"] is None
    assert orjson.loads(values["tool_calls"]) == [CALL]
    assert set(values) == {column.name for column in adapter.columns}
    assert asked_next(adapter, ask(adapter).pieces[0], result) is None
    assert ask(adapter).pieces[0].ceiling > ask(generate(NEW, json_schema=SCHEMA)).pieces[0].ceiling
    with pytest.raises(UnreadableAnswer, match=r"called a tool .* params\.tools is not given"):
        parsed(generate(NEW), result)
    with pytest.raises(UnreadableAnswer, match="gave no text"):
        parsed(adapter, chat(None, tool_calls=[]))


CHATS = sorted(model.name for model in Catalog.load().models("generate") if model.prices)


@pytest.mark.parametrize("name", [name for name in CHATS if "guard" not in name])  # which takes no schema at all
def test_a_json_schema_is_asked_for_in_the_spelling_of_every_model(name):
    """Bare, wrapped, or in words; never in two of them, and always as the model's published schema has it."""
    adapter = generate(name, json_schema=SCHEMA)
    payload = adapter.payload(ask(adapter))
    form, words = payload.get("response_format"), str(payload["messages"])
    assert ("JSON Schema" in words) == (form is None)
    if form is not None:
        is_wrapped = "max_completion_tokens" in payload
        wanted = {"name": "answer", "schema": SCHEMA, "strict": True} if is_wrapped else SCHEMA
        assert form == {"type": "json_schema", "json_schema": wanted}
    assert check_input(name, payload, "text-generation") == []
