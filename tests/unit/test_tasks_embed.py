"""`embed`: texts to vectors, each with its own, or an error that says why not."""

import numpy as np
import pytest

from pipeline.catalog import Catalog, resolve_model
from pipeline.errors import RecordUnusable, UnreadableAnswer
from pipeline.records import Answer, Column, Request, Usage, digest
from pipeline.schemas import input_fields
from pipeline.tasks import TaskContext
from pipeline.tasks.embed import Embed
from pipeline.template import TextTemplate
from tests.support.fakes import record


def embed(model="@cf/baai/bge-m3", batch_size=None, **params):
    info = resolve_model("embed", model)
    fields = input_fields(info.name, info.task)
    return Embed(
        TaskContext(model=info, params=params, text=TextTemplate.parse("text"), fields=fields, batch_size=batch_size)
    )


def request(adapter, *texts):
    return Request(tuple(adapter.pieces(record(i, text))[0] for i, text in enumerate(texts)))


def parsed(adapter, n, result):
    return adapter.parse(request(adapter, *"abcdefghij"[:n]), Answer(result, Usage(), 1.0))


def vectors(n, dim=1024):
    return [[float(i)] * dim for i in range(n)]


def test_a_text_is_one_piece_with_its_price():
    """Bytes bound tokens, and two are added for begin and end."""
    adapter = embed()
    (piece,) = adapter.pieces(record(0, "grüße"))
    price = Catalog.load().get("@cf/baai/bge-m3").input_per_m_tokens / 1e6
    assert (piece.size, piece.content, piece.payload_key) == (7, "grüße", digest("grüße".encode()))
    assert piece.ceiling == pytest.approx((7 + 2) * price)
    assert 0 < piece.expected < piece.ceiling
    assert adapter.cost(request(adapter, "grüße", "grüße")).ceiling == pytest.approx(2 * piece.ceiling)


def test_a_model_that_takes_only_so_many_tokens_charges_no_more():
    """What is longer is cut or refused, not billed."""
    adapter = embed("@cf/baai/bge-base-en-v1.5")
    (long,), (longer,) = adapter.pieces(record(0, "a" * 2000)), adapter.pieces(record(1, "a" * 4000))
    assert long.ceiling == longer.ceiling


def test_the_payload_is_the_list_of_texts_and_the_parameters():
    """Nothing else: models refuse what they do not know."""
    adapter = embed(truncate_inputs=True)
    assert adapter.payload(request(adapter, "a", "b")) == {"text": ["a", "b"], "truncate_inputs": True}


def test_an_instruction_goes_with_queries_and_is_paid_for():
    """qwen3 puts it before every text, so every ceiling covers it."""
    instruction = "Find the passage that answers the question. " * 20
    adapter = embed("@cf/qwen/qwen3-embedding-0.6b", instruction=instruction)
    assert adapter.payload(request(adapter, "a")) == {"queries": ["a"], "instruction": instruction}
    plain = embed("@cf/qwen/qwen3-embedding-0.6b")
    price = Catalog.load().get("@cf/qwen/qwen3-embedding-0.6b").input_per_m_tokens / 1e6
    (with_it,), (without,) = adapter.pieces(record(0, "a")), plain.pieces(record(0, "a"))
    assert with_it.ceiling - without.ceiling >= len(instruction) * price


@pytest.mark.parametrize(
    ("model", "batch_size", "most"),
    [
        ("@cf/baai/bge-m3", None, 100),
        ("@cf/baai/bge-m3", 5, 5),
        ("@cf/baai/bge-m3", 500, 100),
        ("@cf/qwen/qwen3-embedding-0.6b", None, 32),
        ("@cf/qwen/qwen3-embedding-0.6b", 50, 32),
    ],
)
def test_a_request_is_never_larger_than_the_model_takes(model, batch_size, most):
    """The user may ask for less, not for more."""
    assert embed(model, batch_size).max_pieces == most


def test_a_context_window_bounds_the_request():
    """qwen3: 8,192 tokens for the whole request; 20,000 characters are known to pass, 50,000 not to."""
    assert 15_000 <= embed("@cf/qwen/qwen3-embedding-0.6b").max_request_bytes <= 20_000


@pytest.mark.parametrize(
    "result", [{"shape": [2, 1024], "data": vectors(2)}, {"response": vectors(2), "pooling": "cls"}]
)
def test_each_text_gets_its_vector(result):
    """In the order of the request, as float32."""
    adapter = embed()
    first, second = parsed(adapter, 2, result)
    assert first.dtype == np.float32
    assert (first[0], second[0]) == (0.0, 1.0)
    assert adapter.row(record(0), [second]) == {"embedding": second}


@pytest.mark.parametrize(
    ("result", "said"),
    [
        (None, "no vectors"),
        ({}, "no vectors"),
        ({"data": None}, "no vectors"),
        ({"data": []}, "2 texts were sent and 0 vectors"),
        ({"data": vectors(1)}, "2 texts were sent and 1 vectors"),
        ({"data": vectors(3)}, "2 texts were sent and 3 vectors"),
        ({"data": vectors(2, 1023)}, "vectors of 1023 numbers"),
        ({"data": [[0.0] * 1024, [0.0] * 1023]}, "differ in length"),
        ({"data": [[0.0] * 1024, None]}, "vector"),
        ({"data": [[0.0] * 1024, [None] * 1024]}, "number"),
        ({"data": [["1.0"] * 1024] * 2}, "number"),
        ({"data": [[True] * 1024] * 2}, "number"),
        ({"data": [[{}] * 1024] * 2}, "number"),
        ({"data": [[[0.0]] * 1024] * 2}, "number"),
        ({"data": [0.0, 1.0]}, "none"),
        ({"data": [[], []]}, "empty"),
        ({"data": [[0.0] * 1024, {"0": 1.0}]}, "none"),
        ({"data": [["x" * 1_000_000, *[0.0] * 1023], [0.0] * 1024]}, "number"),
        ({"data": [[1e39] * 1024] * 2}, "not finite"),
        ({"response": [{"id": 0, "score": 0.5}, {"id": 1, "score": 0.5}]}, "vector"),
    ],
)
def test_an_answer_that_does_not_fit_is_refused_whole(result, said):
    """Never shifted by one, never half."""
    with pytest.raises(UnreadableAnswer, match=said):
        parsed(embed(), 2, result)


@pytest.mark.parametrize(
    ("shape", "said"),
    [((2, 1024), None), ((3, 1024), "2 texts were sent and 3 vectors"), ((2, 1023), "vectors of 1023 numbers")],
)
def test_an_array_of_vectors_is_held_to_the_same(shape, said):
    """The dialect makes one of a plain answer; its rows are handed on as they are, without a copy."""
    data = np.ones(shape, dtype=np.float32)
    if said is not None:
        with pytest.raises(UnreadableAnswer, match=said):
            parsed(embed(), 2, {"data": data})
        return
    assert all(vector.base is data for vector in parsed(embed(), 2, {"data": data}))
    data[1, 5] = np.inf
    with pytest.raises(UnreadableAnswer, match="not finite"):
        parsed(embed(), 2, {"data": data})


def test_the_first_answer_tells_the_length_where_the_catalogue_does_not():
    """Later ones of another length are refused, so that a column of vectors has one length."""
    adapter = embed("@cf/pfnet/plamo-embedding-1b")
    assert len(parsed(adapter, 1, {"data": vectors(1, 5)})[0]) == 5
    with pytest.raises(UnreadableAnswer, match="of 4 numbers came back, not of 5"):
        parsed(adapter, 1, {"data": vectors(1, 4)})
    assert len(parsed(adapter, 2, {"data": vectors(2, 5)})) == 2


def test_an_existing_output_tells_the_length():
    """A resumed run refuses what would not fit beside the rows that are there."""
    adapter = embed("@cf/pfnet/plamo-embedding-1b")
    adapter.hold_to([Column("id", "string"), Column("embedding", "vector", dim=5)])
    with pytest.raises(UnreadableAnswer, match="of 4 numbers came back, not of 5"):
        parsed(adapter, 1, {"data": vectors(1, 4)})
    new = embed("@cf/pfnet/plamo-embedding-1b")
    new.hold_to([Column("embedding", "vector")])
    assert len(parsed(new, 1, {"data": vectors(1, 4)})[0]) == 4


@pytest.mark.parametrize("text", ["", "  \n\t", "\u3000"])
def test_a_text_without_text_is_not_sent(text):
    """It would be paid for and mean nothing."""
    with pytest.raises(RecordUnusable, match="empty"):
        embed().pieces(record(0, text))


def test_half_a_character_is_not_sent():
    """JSON cannot carry it."""
    with pytest.raises(RecordUnusable, match="surrogate pair at character 2"):
        embed().pieces(record(0, "ab\ud800"))


def test_counted_tokens_have_a_price():
    """Where the service counts them."""
    adapter = embed()
    assert adapter.price(Usage()) is None
    assert adapter.price(Usage(input_tokens=1_000_000)) == Catalog.load().get("@cf/baai/bge-m3").input_per_m_tokens
    assert adapter.input_price(Usage(), 3.0) == 3.0
