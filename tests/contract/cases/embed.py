"""The task `embed` as the contract suite tries it."""

from hypothesis import strategies as st

from pipeline.emulator.tokens import count_tokens, embedding_tokens
from pipeline.schemas import input_fields
from pipeline.tasks.longtext import PARAMS, cautious_tokens
from tests.contract.cases.base import TaskCase
from tests.contract.cases.texts import TEXTS, most_tokens


def records(folder):
    """One text each, some long enough to be cut where chunks are small, none too long for a model."""
    several = st.lists(TEXTS, min_size=2, max_size=5).map("\n\n".join)
    texts = st.one_of(TEXTS, several).filter(lambda text: cautious_tokens(text) < 400)
    return st.fixed_dictionaries({"text": texts})


def takes(model, params):
    """Only fields that the model's published schema has."""
    return params.keys() - PARAMS <= (input_fields(model.name, model.task) or frozenset())


def answers(request, payload, model):
    """A matrix under `data` or `response`, one row a text, of the model's length."""
    n, length = len(request.pieces), model.dimensions or 8
    vectors = [[0.5] * length for _ in range(n)]
    return [
        {"shape": [n, length], "data": vectors},
        {"shape": [n, length], "data": vectors, "pooling": payload.get("pooling", "mean")},
        {"response": vectors, "shape": [n, length], "pooling": "cls"},
    ]


def charge(model, params, request, payload):
    """Tokens of each text, an instruction put before each, cut at what the model takes; input alone is paid."""
    texts = payload.get("queries", payload.get("text"))
    before = count_tokens(f"Instruct: {params['instruction']}\nQuery: ") if "instruction" in params else 0
    counts = [most_tokens(embedding_tokens, [text]) + before for text in texts]
    most = model.max_input_tokens
    return sum(min(count, most) if most else count for count in counts) * model.input_per_m_tokens / 1e6


CASE = TaskCase(
    task="embed",
    columns=[
        ("embedding", "vector"),
        ("chunk", "int32"),
        ("n_chunks", "int32"),
        ("chunk_start", "int64"),
        ("chunk_end", "int64"),
    ],
    params=[
        {},
        {"pooling": "cls"},
        {"truncate_inputs": True},
        {"instruction": "Find passages that answer 質問."},
        {"chunk_tokens": 32},
        {"long_text": "mean", "chunk_tokens": 32},
        {"long_text": "truncate"},
        {"long_text": "error"},
    ],
    records=records,
    answers=answers,
    charge=charge,
    takes=takes,
)
