"""`summarize`."""

from hypothesis import strategies as st

from pipeline.emulator.tokens import chat_tokens
from tests.contract.cases.base import TaskCase
from tests.contract.cases.texts import most_tokens

TEXTS = st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=300).filter(str.strip)
LONG = st.builds(lambda text, n: f"{text}. " * n, TEXTS, st.integers(200, 2_000))


def answers(request, payload, model):
    message = {"role": "assistant", "content": "In short.", "reasoning_content": None}
    return [
        {"response": "In short.", "usage": {}},
        {"choices": [{"index": 0, "message": message, "finish_reason": "stop"}]},
        {"output": [{"type": "message", "content": [{"type": "output_text", "text": "In short."}]}]},
    ]


def charge(model, params, request, payload):
    read = most_tokens(chat_tokens, [message["content"] for message in payload["messages"]]) * model.input_per_m_tokens
    cap = payload.get("max_tokens", payload.get("max_completion_tokens"))
    return (read + cap * model.output_per_m_tokens) / 1e6


CASE = TaskCase(
    task="summarize",
    columns=[("summary", "string"), ("finish_reason", "string"), ("n_pieces", "int32")],
    params=[{}, {"max_tokens": 64, "language": "日本語", "instructions": "Drei Punkte."}],
    records=lambda _: st.fixed_dictionaries({"text": TEXTS | LONG}),
    answers=answers,
    charge=charge,
    takes=lambda model, _: "llama-guard" not in model.name,  # takes no system message
)
