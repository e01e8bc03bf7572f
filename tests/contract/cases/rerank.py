"""`rerank`."""

from hypothesis import strategies as st

from pipeline.emulator.tokens import count_tokens
from tests.contract.cases.base import TaskCase

TEXTS = st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=80).filter(str.strip)


def answers(request, payload, model):
    n = len(payload["contexts"])
    items = [{"id": at, "score": -1.5 * at} for at in range(n)][: payload.get("top_k", n)]
    return [{"response": items}, {"response": items[::-1]}]


def charge(model, params, request, payload):
    """A query that is read again with every context."""
    pairs = [count_tokens(payload["query"]) + count_tokens(context["text"]) + 4 for context in payload["contexts"]]
    return sum(pairs) * model.input_per_m_tokens / 1e6


CASE = TaskCase(
    task="rerank",
    columns=[("ranking", "list<struct>")],
    params=[{}, {"top_k": 2}],
    records=lambda _: st.fixed_dictionaries(
        {"query": TEXTS, "contexts": st.lists(TEXTS | TEXTS.map(lambda text: {"text": text}), min_size=1, max_size=120)}
    ),
    answers=answers,
    charge=charge,
    text="query",
)
