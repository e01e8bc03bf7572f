"""`caption`."""

from tests.contract.cases.base import TaskCase
from tests.support.seeing import picture_records

METRICS = {"input_tokens": 740, "output_tokens": 3, "prefill_time_ms": 1, "decode_time_ms": 1, "ttft_ms": 1}


def answers(request, payload, model):
    if "task" not in payload:
        return [{"description": " A cat."}]
    name = "caption" if payload["task"] == "caption" else "answer"
    return [{name: "A cat.", "finish_reason": "stop", "metrics": METRICS}]


def charge(model, params, request, payload):
    """A picture is 729 tokens to moondream, as its makers say; the question at a token a byte."""
    asked = str(payload.get("question", payload.get("prompt", "")))
    tokens = 729 + 8 + len(asked.encode())
    return (tokens * model.input_per_m_tokens + payload["max_tokens"] * model.output_per_m_tokens) / 1e6


CASE = TaskCase(
    task="caption",
    columns=[
        ("caption", "string"),
        ("finish_reason", "string"),
        ("prompt_tokens", "int64"),
        ("completion_tokens", "int64"),
    ],
    params=[{}, {"question": "Is it a cat?"}, {"max_tokens": 20, "max_pixels": 4096}],
    records=picture_records,
    answers=answers,
    charge=charge,
    text="path",
)
