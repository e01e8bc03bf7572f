"""`embed`: texts to vectors, each with its own, or an error that says why not."""

import numpy as np
import orjson
import pytest

from pipeline.catalog import Catalog, resolve_model
from pipeline.errors import InvalidRequest, PlanError, RecordUnusable, RequestTooLarge, ServerFault, UnreadableAnswer
from pipeline.records import Answer, Column, Request, Usage, digest
from pipeline.rows import outline_of
from pipeline.schemas import input_fields
from pipeline.tasks import TaskContext
from pipeline.tasks.base import token_bound
from pipeline.tasks.embed import Embed
from pipeline.tasks.longtext import cautious_tokens
from pipeline.tasks.vectors import as_text
from pipeline.template import TextTemplate
from tests.support.cli import sentences
from tests.support.fakes import record

M3, BGE = "@cf/baai/bge-m3", "@cf/baai/bge-base-en-v1.5"


def embed(model=M3, batch_size=None, *, stored_as="float32", **params):
    info = resolve_model("embed", model, allow_unpriced=True)
    return Embed(
        TaskContext(
            model=info,
            params=params,
            text=TextTemplate.parse("text"),
            fields=input_fields(info.name, info.task),
            batch_size=batch_size,
            vectors=stored_as,
        )
    )


def rows(adapter, item, vectors=None):
    """The rows of a record, and what was sent for it."""
    pieces = adapter.pieces(item)
    vectors = np.ones((len(pieces), 1024), np.float32) if vectors is None else np.asarray(vectors, np.float32)
    adapter._dim = vectors.shape[1]
    values = adapter.parse(Request(tuple(pieces)), Answer({"data": vectors}, Usage(), 1.0))
    values = [orjson.loads(orjson.dumps(value)) if isinstance(value, str) else value for value in values]
    placed = [adapter.placed(piece, value) for piece, value in zip(pieces, values, strict=True)]
    return adapter.rows(item, placed), pieces


def request(adapter, *texts):
    return Request(tuple(adapter.pieces(record(i, text))[0] for i, text in enumerate(texts)))


def parsed(adapter, n, result):
    return adapter.parse(request(adapter, *"abcdefghij"[:n]), Answer(result, Usage(), 1.0))


def vectors(n, dim=1024):
    return [[float(i + 1)] * dim for i in range(n)]


def test_a_text_is_one_piece_with_its_price():
    """Bytes bound tokens, and two are added for begin and end."""
    adapter = embed()
    (piece,) = adapter.pieces(record(0, "grüße"))
    price = Catalog.load().get(M3).input_per_m_tokens / 1e6
    assert (piece.size, piece.content, piece.payload_key) == (7, "grüße", digest("grüße".encode()))
    assert piece.ceiling == pytest.approx((7 + 2) * price)
    assert 0 < piece.expected < piece.ceiling
    assert adapter.cost(request(adapter, "grüße", "grüße")).ceiling == pytest.approx(2 * piece.ceiling)


def test_a_model_that_takes_only_so_many_tokens_charges_no_more():
    """What is longer is cut or refused, not billed."""
    adapter = embed(BGE)
    (long,), (longer,) = adapter.pieces(record(0, "a" * 1200)), adapter.pieces(record(1, "a" * 1500))
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
        (M3, None, 100),
        (M3, 5, 5),
        (M3, 500, 100),
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
    assert (first[0], second[0]) == (1.0, 2.0)


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
        ({"data": [[1.0] * 1024, [1.0] * 1023]}, "differ in length"),
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
        ({"data": [[0.5] * 1024, [0.0] * 1024]}, "nothing but zeros"),
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
    assert adapter.price(Usage(input_tokens=1_000_000)) == Catalog.load().get(M3).input_per_m_tokens
    assert adapter.input_price(Usage(), 3.0) == 3.0


# -- long texts -----------------------------------------------------------------------------------------------------

REFUSED = InvalidRequest(400, 5006, "too many tokens")
PROSE = "\n\n".join(" ".join(sentences()[n : n + 9]) for n in range(0, 90, 9))


def test_a_text_that_fits_is_chunk_0_of_1():
    """Whole as it is, white space around it included."""
    ((row,), (piece,)) = rows(embed(), record(0, " Grüße.\n"))
    assert piece.content == " Grüße.\n"
    assert {name: row[name] for name in row if name != "embedding"} == {
        "chunk": 0,
        "n_chunks": 1,
        "chunk_start": 0,
        "chunk_end": 8,
        "input": " Grüße.\n",
    }


def test_chunks_are_rows_with_their_places():
    """Every character but the white space between them is in one chunk, and each fits the window."""
    adapter = embed(BGE)
    found, pieces = rows(adapter, record(0, PROSE), np.eye(40, 768)[: len(adapter.pieces(record(0, PROSE)))] * 3)
    assert len(found) == len(pieces) > 3
    assert [(row["chunk"], row["n_chunks"]) for row in found] == [(n, len(found)) for n in range(len(found))]
    assert [PROSE[row["chunk_start"] : row["chunk_end"]] for row in found] == [row["input"] for row in found]
    assert "".join("".join(row["input"].split()) for row in found) == "".join(PROSE.split())
    assert all(cautious_tokens(row["input"]) + 2 <= 512 for row in found)
    assert [row["embedding"][n] for n, row in enumerate(found)] == [3.0] * len(found)
    assert max(len(row["input"]) for row in found) > 1_200, "prose is cut by words, not by bytes"


@pytest.mark.parametrize("mode", ["chunk", "mean", "truncate"])
@pytest.mark.parametrize("model", [BGE, M3, "@cf/qwen/qwen3-embedding-0.6b", "@cf/google/embeddinggemma-300m"])
def test_the_outline_is_the_sum_of_the_pieces(model, mode):
    """Whatever is done with a long text; none of its pieces may be longer than a request."""
    adapter = embed(model, long_text=mode)
    for text in ("short", PROSE, PROSE * 9, "1" * 20_000, "日本語の文章。" * 3_000):
        pieces = adapter.pieces(record(0, text))
        outline, sums = adapter.outline(record(0, text)), outline_of(pieces)
        assert outline.payload_key == sums.payload_key
        assert tuple(outline) == pytest.approx((*sums[:3], outline.payload_key, len(pieces)))
        assert all(piece.size <= adapter.max_request_bytes for piece in pieces)


def test_two_texts_that_are_cut_alike_are_still_two():
    """Chunks that are equal stand elsewhere; a beginning is not the whole."""
    other = PROSE.replace("\n\n", "\n\n\n")
    adapter = embed(BGE)
    one, two = adapter.pieces(record(0, PROSE)), adapter.pieces(record(1, other))
    assert [piece.payload_key for piece in one] == [piece.payload_key for piece in two]
    assert one[0].record_key != two[0].record_key
    adapter = embed(BGE, long_text="truncate")
    (cut,) = adapter.pieces(record(0, PROSE))
    assert adapter.outline(record(0, str(cut.content))).payload_key != adapter.outline(record(0, PROSE)).payload_key


def test_truncate_sends_the_beginning_and_says_so():
    """`sent` shows what was sent, not what was not."""
    adapter = embed(BGE, long_text="truncate")
    ((row,), (piece,)) = rows(adapter, record(0, PROSE))
    assert row["truncated"] is True
    assert PROSE.startswith(row["input"])
    assert row["input"] == str(piece.content) == adapter.sent(record(0, PROSE))
    assert 400 < cautious_tokens(row["input"]) <= 510
    ((row,), _) = rows(adapter, record(0, "short"))
    assert (row["truncated"], row["input"]) == (False, "short")
    ((row,), _) = rows(adapter, record(0, " " * 90_000 + PROSE))
    assert PROSE.startswith(row["input"])


def test_mean_is_weighted_by_size_and_of_length_1():
    """So that a record of one chunk and one of several can be compared."""
    adapter = embed(BGE, long_text="mean")
    text = "a" * 1_500 + "\n\n" + "b" * 750
    ((row,), pieces) = rows(adapter, record(0, text), [[4.0, 0.0], [0.0, 4.0]])
    assert [piece.size for piece in pieces] == [1_500, 750]
    assert row["n_chunks"] == 2
    assert row["embedding"] == pytest.approx(np.array([2, 1]) / 5**0.5)
    ((row,), _) = rows(adapter, record(0, "short"), [[3.0, 4.0]])
    assert row["embedding"] == pytest.approx([0.6, 0.8])
    with pytest.raises(UnreadableAnswer, match="cancel out"):
        rows(adapter, record(0, "a" * 1_500 + "\n\n" + "b" * 1_500), [[1.0, 2.0], [-1.0, -2.0]])


def test_error_says_how_long_and_how_long_it_may_be():
    """Before anything is sent."""
    adapter = embed(BGE, long_text="error")
    for ask in (adapter.pieces, adapter.outline):
        with pytest.raises(RecordUnusable, match=r"may be 4,\d{3} tokens long .* reads 510 of it"):
            ask(record(0, PROSE))
    assert rows(adapter, record(0, "short"))[0][0].keys() == {"embedding"}


def test_a_chunk_may_be_smaller_than_the_window():
    """`chunk_tokens` cuts texts that would fit, and is not sent."""
    adapter = embed(chunk_tokens=64)
    _, pieces = rows(adapter, record(0, PROSE))
    assert all(cautious_tokens(str(piece.content)) <= 64 for piece in pieces)
    assert adapter.payload(Request(tuple(pieces[:1]))) == {"text": [str(pieces[0].content)]}


@pytest.mark.parametrize(
    ("params", "key"),
    [
        ({"long_text": "cut"}, "params.long_text"),
        ({"long_text": None}, "params.long_text"),
        ({"chunk_tokens": 31}, "params.chunk_tokens"),
        ({"chunk_tokens": 511}, "params.chunk_tokens"),
        ({"chunk_tokens": "64"}, "params.chunk_tokens"),
        ({"chunk_tokens": 64, "long_text": "truncate"}, "params.chunk_tokens"),
    ],
)
def test_parameters_out_of_bounds_are_refused(params, key):
    with pytest.raises(PlanError) as caught:
        embed(BGE, **params)
    assert caught.value.key == key


def test_an_instruction_that_leaves_no_room_is_refused():
    with pytest.raises(PlanError, match="no room") as caught:
        embed("@cf/qwen/qwen3-embedding-0.6b", instruction="x" * 8_200)
    assert caught.value.key == "params.instruction"


def test_a_window_that_nobody_knows_cuts_nothing():
    (piece,) = embed("@cf/pfnet/plamo-embedding-1b").pieces(record(0, PROSE * 50))
    assert piece.content == PROSE * 50


@pytest.mark.parametrize("mode", ["chunk", "mean"])
def test_a_text_that_is_refused_is_cut_on_the_way(mode):
    """Letters that are no words have more tokens than was guessed: halves, until what is sent surely fits."""
    adapter = embed(BGE, long_text=mode)
    text = "acgt" * 370
    (piece,) = adapter.pieces(record(0, text))
    waiting, done = [piece], []
    while waiting:
        one = waiting.pop(0)
        parts = adapter.instead(one, REFUSED)
        assert all(part.part[:-1] == one.part and part.record_key == one.record_key for part in parts)
        (waiting.extend if parts else done.append)(parts or one)
    done.sort(key=lambda one: one.part)
    assert all(200 < one.size <= 510 for one in done)
    values = adapter.parse(Request(tuple(done)), Answer({"data": np.ones((len(done), 768))}, Usage(), 1.0))
    found = adapter.rows(record(0, text), [adapter.placed(*pair) for pair in zip(done, values, strict=True)])
    assert found[0]["n_chunks"] == len(done)
    if mode == "chunk":
        assert "".join(text[row["chunk_start"] : row["chunk_end"]] for row in found) == text


def test_what_is_halved_and_what_is_not():
    """A refusal of what surely fits has another reason, and so has a server's fault."""
    long, short = "acgt" * 370, "acgt" * 100
    adapter = embed(BGE)
    (piece,), (small,) = adapter.pieces(record(0, long)), adapter.pieces(record(1, short))
    assert token_bound(long) > 510 > token_bound(short)
    assert len(adapter.instead(piece, REFUSED)) == len(adapter.instead(small, RequestTooLarge(413, None, "x"))) == 2
    assert not adapter.instead(small, REFUSED)
    assert not adapter.instead(piece, ServerFault(500, None, "x"))
    (first,) = embed(BGE, long_text="truncate").instead(piece, REFUSED)
    assert long.startswith(str(first.content))
    assert not embed(BGE, long_text="error").instead(piece, REFUSED)


def test_what_is_kept_of_an_answer_that_is_none_fails_the_record():
    """A file that somebody has edited must not end the run."""
    adapter = embed(BGE)
    (piece,) = adapter.pieces(record(0, "x"))
    for value in ("!", {"reason": "x"}, None, "AAA="):
        with pytest.raises(UnreadableAnswer):
            adapter.placed(piece, value)


# -- numbers --------------------------------------------------------------------------------------------------------


def test_a_kept_vector_of_another_length_fails_the_record():
    """The model has changed between two runs: its vectors cannot stand in one row."""
    adapter = embed(long_text="mean")
    (piece,) = adapter.pieces(record(0, "a text"))
    with pytest.raises(UnreadableAnswer, match="a kept vector has 8 numbers, not 1024"):
        adapter.placed(piece, as_text(np.ones(8, np.float32)))


def test_int8_comes_back_within_half_a_step():
    """The largest number of a vector is 127 steps."""
    given = np.random.default_rng(1).standard_normal((1, 1024))
    ((row,), _) = rows(embed(stored_as="int8"), record(0, "x"), given)
    assert row["embedding"].dtype == np.int8
    assert np.abs(row["embedding"]).max() == 127
    assert np.abs(row["embedding"] * row["embedding_scale"] - given).max() <= row["embedding_scale"] / 2 * (1 + 1e-5)


def test_float16_refuses_what_it_cannot_hold():
    adapter = embed(stored_as="float16")
    assert [column.kind for column in adapter.columns[:1]] == ["vector<float16>"]
    rows(adapter, record(0, "x"), [[65_504.0] * 8])
    with pytest.raises(UnreadableAnswer, match="float16"):
        rows(adapter, record(0, "x"), [[65_600.0] * 8])


@pytest.mark.parametrize(
    ("model", "params", "pooling"),
    [(BGE, {}, "mean"), (BGE, {"pooling": "cls"}, "cls"), (M3, {}, None)],
)
def test_pooling_is_told_where_it_is_known(model, params, pooling):
    assert embed(model, **params).about().get("pooling") == pooling
