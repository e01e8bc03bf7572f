"""`classify`."""

import orjson
from hypothesis import strategies as st

from pipeline.emulator.tokens import chat_tokens, embedding_tokens
from tests.contract.cases.base import TaskCase
from tests.contract.cases.texts import most_tokens

LABELS = ["praise", "complaint", "質問"]
TEXTS = st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=200).filter(str.strip)


def answers(request, payload, model):
    if "messages" not in payload:
        return [
            [{"label": "NEGATIVE", "score": 0.25}, {"label": "POSITIVE", "score": 0.75}],
            [{"label": "A", "score": 1}],
        ]
    value = {"labels": [LABELS[1]]} if '{"labels"' in payload["messages"][0]["content"] else {"label": LABELS[1]}
    text = orjson.dumps(value).decode()
    return [
        {"response": value, "usage": {}},
        {"response": text},
        {"choices": [{"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}]},
        {"output_text": text, "output": []},
        {"response": LABELS[0]},
    ]


def charge(model, params, request, payload):
    if "messages" not in payload:
        return most_tokens(embedding_tokens, [payload["text"]]) * model.input_per_m_tokens / 1e6
    read = most_tokens(chat_tokens, [message["content"] for message in payload["messages"]]) * model.input_per_m_tokens
    cap = payload.get("max_tokens", payload.get("max_completion_tokens"))
    return (read + cap * model.output_per_m_tokens) / 1e6


def takes(model, params):
    """Labels are for chat models; llama-guard takes no system message."""
    return ("labels" in params) == (model.task == "text-generation") and "llama-guard" not in model.name


CASE = TaskCase(
    task="classify",
    columns=[("label", "string"), ("score", "float64"), ("scores", "list<struct>")],
    params=[
        {},
        {"labels": LABELS},
        {"labels": LABELS, "multi_label": True, "instructions": "Genau.", "max_tokens": 64},
    ],
    records=lambda _: st.fixed_dictionaries({"text": TEXTS}),
    answers=answers,
    charge=charge,
    takes=takes,
)
