"""Vectors: one float32 array where an answer is plain, and otherwise exactly what the ordinary way makes of it (P3)."""

import json

import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.dialects.matrix import read_matrix
from pipeline.errors import AttemptError
from pipeline.wire import HttpResponse
from tests.unit.test_dialect_workers_ai import JSON, dialect


def decoded(body, status=200, **options):
    """What a dialect makes of a body: the answer, or the error in words."""
    response = HttpResponse(status=status, headers={"cf-ai-neurons": "2.00"}, body=body, latency_ms=7.0)
    try:
        return dialect(**options).decode(response)
    except AttemptError as error:
        return type(error), str(error), error.neurons, error.http_status, error.maybe_billed


def check_same(fast, slow):
    """The same answer or error, but that there may be a float32 array where there are lists; whether there was one."""
    if isinstance(slow, tuple):
        assert fast == slow
        return False
    assert (fast.usage, fast.latency_ms) == (slow.usage, slow.latency_ms)
    if not isinstance(fast.result, dict):
        assert fast.result == slow.result
        return False
    assert list(fast.result) == list(slow.result)
    n_arrays = 0
    for name, value in fast.result.items():
        if isinstance(value, np.ndarray):
            n_arrays += 1
            assert value.dtype == np.float32
            with np.errstate(over="ignore"):
                np.testing.assert_array_equal(value, np.array(slow.result[name], dtype=np.float64).astype(np.float32))
        else:
            assert value == slow.result[name]
    return n_arrays == 1


def enveloped(result, **more):
    return {"result": result, "success": True, "errors": [], "messages": [], **more}


FLOATS = st.floats(allow_nan=False, allow_infinity=False) | st.floats(-1, 1, width=32)
NUMBERS = FLOATS | st.integers(-(2**63), 2**64 - 1)


@given(
    rows=st.integers(1, 12).flatmap(lambda dim: st.lists(st.lists(NUMBERS, min_size=dim, max_size=dim), min_size=1)),
    wrapped=st.booleans(),
    more=st.dictionaries(st.text(max_size=8), JSON, max_size=3),
)
@settings(max_examples=150, deadline=None)
def test_an_array_holds_the_same_numbers(rows, wrapped, more):
    """Rounded once from the nearest double, as NumPy does with a list; everything beside it stays as it is."""
    result = {"shape": [len(rows), len(rows[0])], **more, "data": rows}
    body = json.dumps(enveloped(result, usage={"prompt_tokens": 3}) if wrapped else result, separators=(",", ":"))
    slow = decoded(body.encode())
    was_array = check_same(decoded(body.encode(), vectors=True), slow)
    assert was_array or isinstance(slow, tuple) or body.count("[[") > 1 or body.count("]]") > 1


PLAIN = b'{"result":{"shape":[2,2],"data":[[0.5,-1e-3],[2,3.25]]},"success":true,"errors":[],"messages":[]}'
ODD = [
    PLAIN.replace(b"0.5", word)
    for word in (
        *(b"NaN", b"Infinity", b"-", b"01", b"+1", b".5", b"1.", b"1e999", b"null", b"true", b'"0.5"', b'"[["'),
        *(b"[0.5]", b"[[0.5]]", b"{}", b'{"a":1}', b'{"a":1,"a":1}', b"", b"0.5,1", b"0.5 1", b"\xff", b"9" * 20),
        *(b'"]]"', b"0.5]],[[1", b'0.5]],"data":[[1', b'0.5]]},"result":{"data":[[1', b'0.5]],"b":[[1'),
        *(b"/*x*/0.5", b"\x00"),
    )
] + [
    PLAIN.replace(b"[[0.5,-1e-3],[2,3.25]]", other)
    for other in (
        *(b"[[]]", b"[[],[]]", b"[[1],[2,3]]", b"[[1],2]", b"[[1],null]", b'[[1],{"a":1}]', b'[[1],"a"]'),
        *(b'"[[1,2]]"', b'"\\"[[1,2]]"', b'"\\\\[[1,2]]"', b'{"a":[[1,2]]}', b'{"a":[[1,2]],"a":1}', b"1,2]]"),
        *(b"[1,2]", b"[[1,2]", b"[[[1]],[2]]", b"[[1],[[2]]]", b"[[1],[2],[[3],[4]]]"),
        *(b'[[1]],"data":[[2]]', b'[[1]],"d\\u0061ta":[[2]]', b'[[1]],"x":[[2]]'),
        *(b'[ [1,2] , [3,4] ]', b'[[ 1 , 2 ],\n[3,4]]'),
    )
] + [
    PLAIN.replace(b"true", b"false"),
    PLAIN.replace(b'"errors":[]', b'"errors":[[1]]'),
    PLAIN.replace(b'"success":true,', b'"success":true,"success":true,'),
    PLAIN.replace(b'"success":true,', b'"success":true,"note":"[[1]]",'),
    PLAIN + b"x",
    PLAIN + b"]]",
    b"x" + PLAIN,
    b"[[1,2],[3,4]]",
    b'"[[1,2],[3,4]]"',
    b"]][[",
    b"[[" * 600 + b"]]" * 600,
    b'{"data":' + b"[[" + b"1," * 3_000_000 + b"1]]}",
]  # fmt: skip


@pytest.mark.parametrize("status", [200, 400])
@pytest.mark.parametrize("body", [*ODD, *(PLAIN[:size] for size in range(len(PLAIN)))])
def test_what_is_not_plain_is_judged_as_ever(body, status):
    """Cut, garbled, said twice, nested: the same refusal in the same words, or the same lists."""
    check_same(decoded(body, status, vectors=True), decoded(body, status))


@given(
    body=st.builds(
        lambda at, size, put: PLAIN[:at] + put + PLAIN[at + size :],
        st.integers(0, len(PLAIN)),
        st.integers(0, 8),
        st.sampled_from(
            [b"", b"[", b"]", b"[[", b"]]", b",", b'"', b"{", b"}", b":", b"1", b"e", b"-", b"null", b"\\"]
        ),
    )
)
@settings(max_examples=300, deadline=None)
def test_an_answer_with_a_slip_is_judged_as_ever(body):
    """Wherever it is."""
    check_same(decoded(body, vectors=True), decoded(body))


def test_only_vectors_become_an_array():
    """A reply that is made of lists stays as it is, whatever the model wrote."""
    body = orjson.dumps(enveloped({"response": [[1, 2], [3, 4]]}))
    assert decoded(body).result == {"response": [[1, 2], [3, 4]]}
    assert decoded(body, vectors=True).result["response"].shape == (2, 2)


def test_the_buffer_view_refuses_what_is_no_number():
    """The parser is relied on for this: a release that converts text, true or null would show here."""
    for word in (b"true", b"null", b'"1"', b"{}", b'{"a":1}'):
        assert read_matrix(b"[[" + word + b"]]") is None
    for rows in ([], [[]], [[], []], [[1], []], [[1] * 8, [1] * 7, [1] * 9], [[1], [[2]]], [1, 2], [[1], 2]):
        assert read_matrix(orjson.dumps(rows)) is None
    assert read_matrix(b"[[1,2.5]]").tolist() == [[1.0, 2.5]]
    assert np.isinf(read_matrix(b"[[1e39]]")).all()
