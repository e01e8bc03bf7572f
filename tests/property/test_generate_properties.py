"""`generate` under any answer: understood or refused; what it makes necessary ends, and rows fit their columns."""

import orjson
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import UnreadableAnswer
from pipeline.records import Answer, Request, Row, Usage
from pipeline.storage.columns import Encoder
from tests.support.chatting import NEW, OLD, generate
from tests.support.fakes import record

MEMBERS = {"b": {"enum": [1, 2.5, None]}, "c": {"anyOf": [{"type": "integer"}, {"type": "null"}]}}
SCHEMA = {
    "type": "object",
    "properties": {
        "a": {"type": "array", "items": {"type": "object", "properties": MEMBERS}},
        "d": {"type": ["integer", "number"]},
        "e": {"enum": ["x", 1]},
        "f": {"type": "object", "properties": {"g": {}}},
    },
}
PARAMS = [
    {},
    {"keep_reasoning": True, "retry_truncated": True},
    {"tools": [{"type": "function"}], "keep_reasoning": True},
    {"json_schema": SCHEMA, "retry_truncated": 3},
]
ADAPTERS = [generate(model, **params) for model in (OLD, NEW) for params in PARAMS]
MOST_STAGES = 40
KEYS = (
    *("response", "choices", "message", "content", "output", "output_text", "type", "text", "finish_reason"),
    *("reasoning", "reasoning_content", "summary", "tool_calls", "incomplete_details", *"abcdefg"),
)
WORDS = (
    *("reasoning", "message", "output_text", "length", "<think>x</think>", "<think>", "</think>"),
    *('{"a":[{"b":1,"c":null}],"d":1e400}', '{"a":[null]}', '{"d":99999999999999999999999}'),
)
LEAVES = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8)
    | st.sampled_from(WORDS)
)
ANY = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=4),
    max_leaves=15,
)
ANSWERS = (
    ANY
    | st.builds(lambda said: {"response": said}, ANY)
    | st.builds(lambda item: {"output": [item]}, ANY)
    | st.builds(lambda message: {"choices": [{"message": message}]}, ANY)
    | st.builds(lambda message: {"choices": [{"message": message, "finish_reason": "length"}]}, ANY)
    | st.builds(lambda said, call: {"response": said, "tool_calls": [call]}, ANY, ANY)
)


@given(st.sampled_from(ADAPTERS), ANSWERS, st.sampled_from([None, 0, 5, 256, 10**9]))
@settings(max_examples=600, deadline=None)
def test_any_answer_ends_in_a_row_or_a_refusal(adapter, result, tokens):
    """Whatever is asked again can be sent and stays within its bound, and nothing is asked for ever."""
    (piece,) = adapter.pieces(record(0, "hello"))
    answer = Answer(result, Usage(input_tokens=tokens, output_tokens=tokens), 1.0)
    for _ in range(MOST_STAGES):
        request = Request((piece,))
        orjson.dumps(adapter.payload(request))
        assert adapter.cost(request).ceiling <= piece.ceiling * (1 + 1e-9)
        try:
            values = adapter.parse(request, answer)
            following = adapter.follow_up(piece.record, [(piece, values[0])])
            row = None if following else adapter.row(piece.record, values)
        except UnreadableAnswer:
            return
        if row is not None:
            assert set(row) == {column.name for column in adapter.columns}
            Encoder(adapter.columns).batch([Row(b"", b"", row)])
            return
        (piece,) = following
    raise AssertionError("asked for ever")
